#include "common/ranges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

void ranges_dispose(ranges *table) {
  free(table->live);
  table->live = NULL;
  table->live_count = 0;
  table->live_capacity = 0;
  table->live_bytes = 0;
}

bool ranges_reserve(ranges *table) {
  if (table->live_count < table->live_capacity) {
    return true;
  }
  size_t capacity = table->live_capacity == 0 ? FIRST_CAPACITY : table->live_capacity * 2;
  range *live = realloc(table->live, capacity * sizeof *live);
  if (live == NULL) {
    return false;
  }
  table->live = live;
  table->live_capacity = capacity;
  return true;
}

/* The number of live ranges that start at or below the address: the last of them is the only one that can hold it. */
static size_t count_up_to(const ranges *table, uint64_t address) {
  size_t low = 0;
  size_t high = table->live_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (table->live[middle].address <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void ranges_add(ranges *table, range added) {
  assert(table->live_count < table->live_capacity);
  assert(added.byte_count <= added.reserved_bytes);
  assert(!ranges_overlap(table, added.address, added.reserved_bytes));
  size_t index = count_up_to(table, added.address);
  memmove(&table->live[index + 1], &table->live[index], (table->live_count - index) * sizeof *table->live);
  table->live[index] = added;
  table->live_count += 1;
  table->live_bytes += added.byte_count;
}

const range *ranges_find(const ranges *table, uint64_t address) {
  size_t count = count_up_to(table, address);
  if (count == 0) {
    return NULL;
  }
  const range *candidate = &table->live[count - 1];
  return address - candidate->address < candidate->reserved_bytes ? candidate : NULL;
}

bool ranges_overlap(const ranges *table, uint64_t address, uint64_t byte_count) {
  if (ranges_find(table, address) != NULL) {
    return true;
  }
  size_t next = count_up_to(table, address);
  return next < table->live_count && table->live[next].address - address < byte_count;
}

/* The latest ended range that holds the address, or null. Linear, because only a call that fails anyway asks. */
static const range *find_ended(const ranges *table, uint64_t address) {
  uint64_t kept_count = table->ended_count < RANGES_ENDED_MAX_COUNT ? table->ended_count : RANGES_ENDED_MAX_COUNT;
  for (uint64_t age = 1; age <= kept_count; age += 1) {
    const range *ended = &table->ended[(table->ended_count - age) % RANGES_ENDED_MAX_COUNT];
    if (address >= ended->address && address - ended->address < ended->reserved_bytes) {
      return ended;
    }
  }
  return NULL;
}

lh_status ranges_check(const ranges *table, uint64_t address, uint64_t byte_count) {
  const range *live = ranges_find(table, address);
  if (live == NULL) {
    return find_ended(table, address) != NULL ? LH_USE_AFTER_FREE : LH_FOREIGN_POINTER;
  }
  uint64_t offset_bytes = address - live->address;
  bool fits = offset_bytes <= live->byte_count && byte_count <= live->byte_count - offset_bytes;
  return fits ? LH_OK : LH_OUT_OF_RANGE;
}

lh_status ranges_end(ranges *table, uint64_t address, range *ended_out) {
  size_t count = count_up_to(table, address);
  if (count == 0 || table->live[count - 1].address != address) {
    const range *ended = find_ended(table, address);
    if (ended != NULL && ended->address == address) {
      return LH_DOUBLE_FREE;
    }
    bool is_stale = ended != NULL && ranges_find(table, address) == NULL;
    return is_stale ? LH_USE_AFTER_FREE : LH_FOREIGN_POINTER;
  }
  range ended = table->live[count - 1];
  memmove(&table->live[count - 1], &table->live[count], (table->live_count - count) * sizeof *table->live);
  table->live_count -= 1;
  table->live_bytes -= ended.byte_count;
  table->ended[table->ended_count % RANGES_ENDED_MAX_COUNT] = ended;
  table->ended_count += 1;
  *ended_out = ended;
  return LH_OK;
}
