/*
 * transfers.h: checking and carrying out tables of transfers.
 */
#ifndef LEASEHOLD_SIMULATOR_TRANSFERS_H
#define LEASEHOLD_SIMULATOR_TRANSFERS_H

#include "arena.h"
#include "host_memory.h"
#include "outcome.h"

/* Which kinds of entries a table may hold, and where. */
typedef enum transfer_order {
  TRANSFERS_IN_ANY_ORDER,
  TRANSFERS_HOST_ENTRIES_FIRST,
  TRANSFERS_HOST_ENTRIES_ONLY
} transfer_order;

/* Checks the whole table and moves nothing. */
outcome transfers_check(const lh_transfer *transfers, uint32_t count, transfer_order order, const arena *device,
                        const host_memory *host);

/* How many HOST_COPY and HOST_FILL entries a checked table begins with. */
uint32_t transfers_host_count(const lh_transfer *transfers, uint32_t count);

/* Carries out a checked table, in order. */
void transfers_perform(const lh_transfer *transfers, uint32_t count);

/* Whether a checked table reads or writes any byte of the range. */
bool transfers_touch(const lh_transfer *transfers, uint32_t count, range touched);

#endif
