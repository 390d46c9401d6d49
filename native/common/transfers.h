/*
 * transfers.h: checking and carrying out tables of transfers.
 */
#ifndef LEASEHOLD_COMMON_TRANSFERS_H
#define LEASEHOLD_COMMON_TRANSFERS_H

#include "common/outcome.h"
#include "common/ranges.h"

/* Which kinds of entries a table may hold, and where. */
typedef enum transfer_order {
  TRANSFERS_IN_ANY_ORDER,
  TRANSFERS_HOST_ENTRIES_FIRST,
  TRANSFERS_HOST_ENTRIES_ONLY
} transfer_order;

/* What is known of the memory that a table may name. */
typedef struct memory_map {
  const ranges *allocations; /* on the device */
  const ranges *host_blocks; /* handed out by the backend */
  /* Addresses that belong to the device, live or not, and so are no host memory. No bytes where only live ones are known. */
  uint64_t device_address;
  uint64_t device_bytes;
} memory_map;

/* Checks the whole table and moves nothing. */
outcome transfers_check(const lh_transfer *transfers, uint32_t count, transfer_order order, const memory_map *memory);

/* How many HOST_COPY and HOST_FILL entries a checked table begins with. */
uint32_t transfers_host_count(const lh_transfer *transfers, uint32_t count);

/* Carries out a checked table, in order. */
void transfers_perform(const lh_transfer *transfers, uint32_t count);

/* Whether a checked table reads or writes any byte of the range. */
bool transfers_touch(const lh_transfer *transfers, uint32_t count, range touched);

#endif
