#include "arena.h"

#include "common/numbers.h"
#include "sanitizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST_CAPACITY = 64, TAKEN_POISON = 0xFF, RETIRED_POISON = 0xDB };

/*
 * The arena starts at a multiple of this, so that where ranges lie inside it, and what alignment wastes, is the same in
 * every run. Wider alignments than this one are honoured too, at places that differ.
 */
#define BASE_ALIGNMENT_BYTES (2u << 20)

/* Pieces of free memory ----------------------------------------------------------------------------------------- */

static void insert_piece(arena *memory, size_t index, free_piece piece) {
  assert(memory->free_piece_count < memory->free_piece_capacity);
  memmove(&memory->free_pieces[index + 1], &memory->free_pieces[index],
          (memory->free_piece_count - index) * sizeof *memory->free_pieces);
  memory->free_pieces[index] = piece;
  memory->free_piece_count += 1;
}

static void remove_piece(arena *memory, size_t index) {
  assert(index < memory->free_piece_count);
  memory->free_piece_count -= 1;
  memmove(&memory->free_pieces[index], &memory->free_pieces[index + 1],
          (memory->free_piece_count - index) * sizeof *memory->free_pieces);
}

/*
 * Free pieces are parted by ranges that are live or retired, so there is at most one more of them than of those. Room
 * for all is made before a range is taken; giving one back can then never fail.
 */
static bool reserve_pieces(arena *memory) {
  size_t needed = memory->allocations.live_count + memory->retired_count + 2;
  if (needed <= memory->free_piece_capacity) {
    return true;
  }
  size_t capacity = needed < FIRST_CAPACITY ? FIRST_CAPACITY : needed * 2;
  free_piece *pieces = realloc(memory->free_pieces, capacity * sizeof *pieces);
  if (pieces == NULL) {
    return false;
  }
  memory->free_pieces = pieces;
  memory->free_piece_capacity = capacity;
  return true;
}

/* Opening and closing ------------------------------------------------------------------------------------------- */

lh_status arena_open(arena *memory, uint64_t total_bytes, uint64_t alignment_bytes, uint64_t size_granularity_bytes) {
  assert(total_bytes >= 1);
  assert(is_power_of_two(alignment_bytes));
  assert(size_granularity_bytes >= 1);
  memset(memory, 0, sizeof *memory);
  memory->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t rounded_bytes = 0;
  if (!round_up(total_bytes, memory->page_bytes, &rounded_bytes) ||
      __builtin_add_overflow(rounded_bytes, BASE_ALIGNMENT_BYTES, &memory->mapping_bytes)) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  void *mapping =
      mmap(NULL, memory->mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  memory->mapping_address = (uint64_t)(uintptr_t)mapping;
  bool has_base = round_up(memory->mapping_address, BASE_ALIGNMENT_BYTES, &memory->base_address);
  if (!has_base || memory->base_address > SAFE_INTEGER_MAX - total_bytes) {
    munmap(mapping, memory->mapping_bytes);
    return LH_ADDRESS_TOO_LARGE;
  }
  if (!reserve_pieces(memory)) {
    munmap(mapping, memory->mapping_bytes);
    return LH_HOST_OUT_OF_MEMORY;
  }
  memory->total_bytes = total_bytes;
  memory->free_bytes = total_bytes;
  memory->alignment_bytes = alignment_bytes;
  memory->size_granularity_bytes = size_granularity_bytes;
  insert_piece(memory, 0, (free_piece){.address = memory->base_address, .byte_count = total_bytes});
  return LH_OK;
}

void arena_forget(arena *memory) {
  ranges_dispose(&memory->allocations);
  free(memory->free_pieces);
  memory->free_pieces = NULL;
  memory->free_piece_count = 0;
  memory->free_piece_capacity = 0;
}

void arena_close(arena *memory) {
  allow_bytes(memory->base_address, memory->opened_bytes);
  munmap((void *)(uintptr_t)memory->mapping_address, memory->mapping_bytes);
  arena_forget(memory);
}

/* Taking -------------------------------------------------------------------------------------------------------- */

/*
 * Makes the pages up to the address usable. Where a sanitizer watches they are forbidden at once, and stay so, live or
 * free, for everybody but work that holds a grant.
 */
static bool open_pages(arena *memory, uint64_t end_address) {
  uint64_t needed_bytes = end_address - memory->base_address;
  if (needed_bytes <= memory->opened_bytes) {
    return true;
  }
  uint64_t opened_bytes = 0;
  bool has_room = round_up(needed_bytes, memory->page_bytes, &opened_bytes);
  assert(has_room);
  uint64_t first_address = memory->base_address + memory->opened_bytes;
  uint64_t added_bytes = opened_bytes - memory->opened_bytes;
  if (mprotect((void *)(uintptr_t)first_address, added_bytes, PROT_READ | PROT_WRITE) != 0) {
    return false;
  }
  forbid_bytes(first_address, added_bytes);
  memory->opened_bytes = opened_bytes;
  return true;
}

/* The first free piece with room for the bytes at an aligned address. */
static bool find_room(const arena *memory, uint64_t byte_count, uint64_t alignment_bytes, size_t *index_out,
                      uint64_t *address_out) {
  for (size_t index = 0; index < memory->free_piece_count; index += 1) {
    free_piece piece = memory->free_pieces[index];
    uint64_t address = 0;
    if (!round_up(piece.address, alignment_bytes, &address)) {
      continue;
    }
    uint64_t skipped_bytes = address - piece.address;
    if (skipped_bytes <= piece.byte_count && byte_count <= piece.byte_count - skipped_bytes) {
      *index_out = index;
      *address_out = address;
      return true;
    }
  }
  return false;
}

/* Cuts a range out of a free piece; what is left before and behind it stays free. */
static void cut_piece(arena *memory, size_t index, uint64_t address, uint64_t byte_count) {
  free_piece piece = memory->free_pieces[index];
  uint64_t before_bytes = address - piece.address;
  uint64_t behind_bytes = piece.byte_count - before_bytes - byte_count;
  free_piece behind = {.address = address + byte_count, .byte_count = behind_bytes};
  if (before_bytes > 0) {
    memory->free_pieces[index].byte_count = before_bytes;
    if (behind_bytes > 0) {
      insert_piece(memory, index + 1, behind);
    }
  } else if (behind_bytes > 0) {
    memory->free_pieces[index] = behind;
  } else {
    remove_piece(memory, index);
  }
  memory->free_bytes -= byte_count;
}

lh_status arena_take(arena *memory, uint64_t byte_count, uint64_t alignment_bytes, range *taken_out) {
  assert(byte_count >= 1);
  assert(is_power_of_two(alignment_bytes));
  uint64_t reserved_bytes = 0;
  size_t index = 0;
  uint64_t address = 0;
  if (!round_up(byte_count, memory->size_granularity_bytes, &reserved_bytes) ||
      !find_room(memory, reserved_bytes, uint64_max(alignment_bytes, memory->alignment_bytes), &index, &address)) {
    return LH_OUT_OF_MEMORY;
  }
  if (!ranges_reserve(&memory->allocations) || !reserve_pieces(memory) ||
      !open_pages(memory, address + reserved_bytes)) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  range taken = {.address = address, .byte_count = byte_count, .reserved_bytes = reserved_bytes};
  cut_piece(memory, index, address, reserved_bytes);
  ranges_add(&memory->allocations, taken);
  *taken_out = taken;
  return LH_OK;
}

/* Giving back --------------------------------------------------------------------------------------------------- */

lh_status arena_retire(arena *memory, uint64_t address, range *retired_out) {
  lh_status status = ranges_end(&memory->allocations, address, retired_out);
  if (status == LH_OK) {
    memory->retired_count += 1;
  }
  return status;
}

void arena_give_back(arena *memory, range retired) {
  assert(memory->retired_count > 0);
  size_t low = 0;
  size_t high = memory->free_piece_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (memory->free_pieces[middle].address < retired.address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  free_piece *pieces = memory->free_pieces;
  uint64_t end_address = retired.address + retired.reserved_bytes;
  bool touches_before = low > 0 && pieces[low - 1].address + pieces[low - 1].byte_count == retired.address;
  bool touches_behind = low < memory->free_piece_count && pieces[low].address == end_address;
  if (touches_before && touches_behind) {
    pieces[low - 1].byte_count += retired.reserved_bytes + pieces[low].byte_count;
    remove_piece(memory, low);
  } else if (touches_before) {
    pieces[low - 1].byte_count += retired.reserved_bytes;
  } else if (touches_behind) {
    pieces[low].address = retired.address;
    pieces[low].byte_count += retired.reserved_bytes;
  } else {
    insert_piece(memory, low, (free_piece){.address = retired.address, .byte_count = retired.reserved_bytes});
  }
  memory->free_bytes += retired.reserved_bytes;
  memory->retired_count -= 1;
}

void arena_poison_taken(range taken) { fill_forbidden_bytes(taken.address, TAKEN_POISON, taken.reserved_bytes); }

void arena_poison_retired(range retired) {
  fill_forbidden_bytes(retired.address, RETIRED_POISON, retired.reserved_bytes);
}

bool arena_overlaps(const arena *memory, uint64_t address, uint64_t byte_count) {
  uint64_t end_address = uint64_add_saturated(address, byte_count);
  return address < memory->mapping_address + memory->mapping_bytes && end_address > memory->mapping_address;
}

bool arena_is_sound(const arena *memory) {
  uint64_t free_bytes = 0;
  uint64_t last_end_address = 0;
  for (size_t index = 0; index < memory->free_piece_count; index += 1) {
    free_piece piece = memory->free_pieces[index];
    if (piece.byte_count == 0 || piece.address <= last_end_address ||
        ranges_overlap(&memory->allocations, piece.address, piece.byte_count)) {
      return false;
    }
    free_bytes += piece.byte_count;
    last_end_address = piece.address + piece.byte_count;
  }
  uint64_t live_bytes = 0;
  for (size_t index = 0; index < memory->allocations.live_count; index += 1) {
    live_bytes += memory->allocations.live[index].reserved_bytes;
  }
  bool is_balanced = memory->retired_count > 0 || free_bytes + live_bytes == memory->total_bytes;
  return is_balanced && free_bytes == memory->free_bytes;
}
