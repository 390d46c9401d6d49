/*
 * ranges.h: which address ranges are live, and which were until lately.
 *
 * Live ranges lie in one array sorted by address and never overlap, so that one binary search finds the range that an
 * address belongs to. Ranges that ended are remembered in a ring of bounded length, so that a stale address can be told
 * from one that never was. The ring is only looked at once an address has turned out not to be live: memory that was
 * handed out again is therefore live again, whatever the ring says.
 */
#ifndef LEASEHOLD_COMMON_RANGES_H
#define LEASEHOLD_COMMON_RANGES_H

#include "leasehold_host_api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_ENDED_MAX_COUNT 4096u

typedef struct range {
  uint64_t address;
  uint64_t byte_count;     /* as asked for: what may be read and written */
  uint64_t reserved_bytes; /* with what rounding added behind it */
} range;

typedef struct ranges {
  range *live;
  size_t live_count;
  size_t live_capacity;
  uint64_t live_bytes; /* the sum of byte_count */
  range ended[RANGES_ENDED_MAX_COUNT];
  uint64_t ended_count; /* since the beginning; the ring holds the latest of them */
} ranges;

/* A zeroed struct is an empty table. Frees what the table allocated, not what the ranges describe. */
void ranges_dispose(ranges *table);

/* Makes room for one more live range, so that the following ranges_add cannot fail. */
bool ranges_reserve(ranges *table);

/* Adds a range that overlaps no other, after ranges_reserve. */
void ranges_add(ranges *table, range added);

/* The live range that holds the address, or null. It moves with the next change of the table. */
const range *ranges_find(const ranges *table, uint64_t address);

/* Whether any byte from `address` on lies in a live range. */
bool ranges_overlap(const ranges *table, uint64_t address, uint64_t byte_count);

/* LH_OK where all bytes lie inside one live range; otherwise what is wrong with the address. */
lh_status ranges_check(const ranges *table, uint64_t address, uint64_t byte_count);

/* Ends the live range that starts at the address and remembers it; otherwise says what is wrong with the address. */
lh_status ranges_end(ranges *table, uint64_t address, range *ended_out);

#endif
