/*
 * host_memory.h: host memory that the simulated device hands out, and host memory of the caller that it knows.
 *
 * Each block is a mapping of its own with a page behind it that nobody may touch: an overrun of more than a page, or a
 * use after the block was freed, stops the process at the mistake instead of corrupting a neighbour.
 */
#ifndef LEASEHOLD_SIMULATOR_HOST_MEMORY_H
#define LEASEHOLD_SIMULATOR_HOST_MEMORY_H

#include "common/ranges.h"

typedef struct host_memory {
  ranges blocks;
  ranges registered;
} host_memory;

/* Maps a zeroed block and adds it to the blocks. */
lh_status host_memory_take(host_memory *memory, uint64_t byte_count, range *taken_out);

/* Unmaps a block that ranges_end has taken out of the blocks. */
void host_memory_unmap(range ended);

/* Unmaps every block that is left. */
void host_memory_close(host_memory *memory);

/* Ends the bookkeeping and leaves the blocks mapped for ever, because somebody may still be using them. */
void host_memory_forget(host_memory *memory);

#endif
