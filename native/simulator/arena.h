/*
 * arena.h: the simulated device memory.
 *
 * One reservation of address space, of which pages become real when they are first handed out, with a first-fit
 * allocator inside: it splits and coalesces, so it can be full, and it can be fragmented. None of these functions
 * locks; arena_poison_taken and arena_poison_retired alone may run beside the others. Where a sanitizer watches, all of
 * the memory is forbidden until grants.h allows some of it.
 */
#ifndef LEASEHOLD_SIMULATOR_ARENA_H
#define LEASEHOLD_SIMULATOR_ARENA_H

#include "common/ranges.h"

typedef struct free_piece {
  uint64_t address;
  uint64_t byte_count;
} free_piece;

typedef struct arena {
  ranges allocations;
  uint64_t mapping_address; /* of the whole reservation, which is a little larger than the arena */
  uint64_t mapping_bytes;
  uint64_t page_bytes;
  uint64_t base_address;
  uint64_t total_bytes;
  uint64_t opened_bytes; /* from the base on; what lies behind faults when it is touched, because nobody was given it */
  uint64_t alignment_bytes;
  uint64_t size_granularity_bytes;
  uint64_t free_bytes;
  free_piece *free_pieces; /* sorted by address; neighbours never touch each other */
  size_t free_piece_count;
  size_t free_piece_capacity;
  size_t retired_count; /* ranges that are no longer live and not yet free */
} arena;

/* Reserves the memory. On failure the arena holds nothing. */
lh_status arena_open(arena *memory, uint64_t total_bytes, uint64_t alignment_bytes, uint64_t size_granularity_bytes);

/* Returns all memory to the host. */
void arena_close(arena *memory);

/* Ends the bookkeeping and leaves the memory mapped for ever, because somebody may still be using it. */
void arena_forget(arena *memory);

/* Takes a range at a multiple of alignment_bytes (a power of two) or of the arena's own, whichever is larger. */
lh_status arena_take(arena *memory, uint64_t byte_count, uint64_t alignment_bytes, range *taken_out);

/* Ends a live range: no check finds it any more, but its memory stays what it is until arena_give_back. */
lh_status arena_retire(arena *memory, uint64_t address, range *retired_out);

/* Makes the memory of a retired range free for others. */
void arena_give_back(arena *memory, range retired);

/* Fills new memory with 0xFF, which reads as NaN, so that a kernel that trusts it is found out. */
void arena_poison_taken(range taken);

/* Fills memory that ended with 0xDB. */
void arena_poison_retired(range retired);

/* Whether any of the bytes, wherever they are, belong to the arena's reservation. */
bool arena_overlaps(const arena *memory, uint64_t address, uint64_t byte_count);

/* True where the books balance: every byte of the arena is live, retired or free, once. For assertions. */
bool arena_is_sound(const arena *memory);

#endif
