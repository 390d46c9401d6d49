/*
 * allocator_test.c: long random programs against a plain model of the device's memory.
 *
 * The model owns one cell for each granule and looks for room by trying every place from the bottom. It must agree
 * with the allocator on every answer, address for address. Each program prints its seed, and `allocator_test SEED` runs
 * that one.
 */
#include "support.h"

#include "simulator/arena.h"
#include "simulator/numbers.h"

#include <stdio.h>
#include <stdlib.h>

enum { GRANULE_BYTES = 64, CELL_COUNT = 2048, LIVE_MAX_COUNT = 400, OPERATION_COUNT = 40000, SEED_COUNT = 4 };

typedef struct model {
  uint64_t random_state;
  uint32_t cells[CELL_COUNT]; /* the owner of each granule; 0: free */
  range live[LIVE_MAX_COUNT];
  uint32_t owners[LIVE_MAX_COUNT];
  size_t live_count;
  uint32_t owner_count;
  uint64_t full_count; /* how often there was no room */
} model;

/* A linear congruential generator, of which the upper half is used. */
static uint32_t random_below(model *shadow, uint32_t bound) {
  shadow->random_state = shadow->random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((shadow->random_state >> 32) % bound);
}

static bool has_room_at(const model *shadow, size_t first_cell, size_t cell_count) {
  for (size_t index = 0; index < cell_count; index += 1) {
    if (first_cell + index >= CELL_COUNT || shadow->cells[first_cell + index] != 0) {
      return false;
    }
  }
  return true;
}

/* The first cell at an aligned address with room behind it, or CELL_COUNT. */
static size_t first_room(const model *shadow, uint64_t base_address, size_t cell_count, uint64_t alignment_bytes) {
  for (size_t cell = 0; cell < CELL_COUNT; cell += 1) {
    bool is_aligned = (base_address + cell * GRANULE_BYTES) % alignment_bytes == 0;
    if (is_aligned && has_room_at(shadow, cell, cell_count)) {
      return cell;
    }
  }
  return CELL_COUNT;
}

static void mark(model *shadow, const arena *memory, range marked, uint32_t owner) {
  size_t first_cell = (size_t)(marked.address - memory->base_address) / GRANULE_BYTES;
  for (size_t index = 0; index < marked.reserved_bytes / GRANULE_BYTES; index += 1) {
    shadow->cells[first_cell + index] = owner;
  }
}

static void take_one(model *shadow, arena *memory) {
  uint64_t byte_count = 1 + random_below(shadow, random_below(shadow, 16) == 0 ? 20000 : 1000);
  uint64_t alignment_bytes = 1ull << random_below(shadow, 13);
  uint64_t reserved_bytes = 0;
  CHECK(round_up(byte_count, GRANULE_BYTES, &reserved_bytes));
  size_t cell = first_room(shadow, memory->base_address, reserved_bytes / GRANULE_BYTES, alignment_bytes);
  range taken = {0};
  lh_status status = arena_take(memory, byte_count, alignment_bytes, &taken);
  CHECK_STATUS(status, cell == CELL_COUNT ? LH_OUT_OF_MEMORY : LH_OK);
  if (status != LH_OK) {
    shadow->full_count += 1;
    return;
  }
  CHECK_NUMBER(taken.address, memory->base_address + cell * GRANULE_BYTES);
  CHECK_NUMBER(taken.reserved_bytes, reserved_bytes);
  shadow->owner_count += 1;
  mark(shadow, memory, taken, shadow->owner_count);
  arena_poison_taken(taken);
  memset((void *)(uintptr_t)taken.address, (int)(shadow->owner_count % 251), byte_count);
  shadow->live[shadow->live_count] = taken;
  shadow->owners[shadow->live_count] = shadow->owner_count;
  shadow->live_count += 1;
}

/* Nobody else may have written where a range lies. */
static bool has_own_bytes(range owned, uint32_t owner) {
  const uint8_t *bytes = (const uint8_t *)(uintptr_t)owned.address;
  for (uint64_t index = 0; index < owned.byte_count; index += 1) {
    if (bytes[index] != owner % 251) {
      return false;
    }
  }
  return true;
}

static void free_one(model *shadow, arena *memory) {
  size_t index = random_below(shadow, (uint32_t)shadow->live_count);
  range owned = shadow->live[index];
  CHECK(has_own_bytes(owned, shadow->owners[index]));
  range retired = {0};
  CHECK_STATUS(arena_retire(memory, owned.address, &retired), LH_OK);
  CHECK_NUMBER(retired.byte_count, owned.byte_count);
  arena_poison_retired(retired);
  arena_give_back(memory, retired);
  mark(shadow, memory, owned, 0);
  shadow->live_count -= 1;
  shadow->live[index] = shadow->live[shadow->live_count];
  shadow->owners[index] = shadow->owners[shadow->live_count];
}

/* An address anywhere in the arena must be judged as the cells say. */
static void look_up_one(model *shadow, const arena *memory) {
  uint64_t offset_bytes = random_below(shadow, CELL_COUNT * GRANULE_BYTES);
  uint32_t owner = shadow->cells[offset_bytes / GRANULE_BYTES];
  lh_status status = ranges_check(&memory->allocations, memory->base_address + offset_bytes, 1);
  if (owner == 0) {
    CHECK(status == LH_USE_AFTER_FREE || status == LH_FOREIGN_POINTER);
  } else {
    /* Behind the bytes that were asked for, the last granule is out of range. */
    CHECK(status == LH_OK || status == LH_OUT_OF_RANGE);
  }
}

static void step(model *shadow, arena *memory, uint32_t take_percent) {
  uint32_t dice = random_below(shadow, 100);
  if (dice < 10) {
    look_up_one(shadow, memory);
  } else if (shadow->live_count < LIVE_MAX_COUNT && (shadow->live_count == 0 || dice < 10 + take_percent)) {
    take_one(shadow, memory);
  } else {
    free_one(shadow, memory);
  }
}

static void run_program(uint64_t seed) {
  printf("     allocator: seed %llu\n", (unsigned long long)seed);
  model *shadow = calloc(1, sizeof *shadow);
  arena *memory = calloc(1, sizeof *memory);
  if (!CHECK(shadow != NULL) || !CHECK(memory != NULL)) {
    return;
  }
  shadow->random_state = seed;
  CHECK_STATUS(arena_open(memory, CELL_COUNT * GRANULE_BYTES, GRANULE_BYTES, GRANULE_BYTES), LH_OK);
  for (uint32_t count = 0; count < OPERATION_COUNT; count += 1) {
    /* Tides: memory fills up until it is full, and empties again. */
    step(shadow, memory, count / 500 % 2 == 0 ? 60 : 30);
    if (count % 64 == 0) {
      CHECK(arena_is_sound(memory));
    }
  }
  CHECK(shadow->full_count > 100);
  while (shadow->live_count > 0) {
    free_one(shadow, memory);
  }
  CHECK(arena_is_sound(memory));
  CHECK_NUMBER(memory->free_bytes, CELL_COUNT * GRANULE_BYTES);
  CHECK_NUMBER(memory->free_piece_count, 1);
  arena_close(memory);
  free(memory);
  free(shadow);
}

static uint64_t only_seed = 0;

static void agrees_with_a_plain_model(void) {
  if (only_seed != 0) {
    run_program(only_seed);
    return;
  }
  for (uint64_t seed = 1; seed <= SEED_COUNT; seed += 1) {
    run_program(seed);
  }
}

static void balances_its_books_while_ranges_are_retired(void) {
  arena *memory = calloc(1, sizeof *memory);
  range ranges_taken[64];
  range retired = {0};
  if (!CHECK(memory != NULL)) {
    return;
  }
  CHECK_STATUS(arena_open(memory, 64 * GRANULE_BYTES, GRANULE_BYTES, 1), LH_OK);
  for (size_t index = 0; index < 64; index += 1) {
    CHECK_STATUS(arena_take(memory, GRANULE_BYTES, 1, &ranges_taken[index]), LH_OK);
  }
  /* Every other range goes, so that the free pieces are as many as they can be. */
  for (size_t index = 0; index < 64; index += 2) {
    CHECK_STATUS(arena_retire(memory, ranges_taken[index].address, &retired), LH_OK);
    CHECK_NUMBER(memory->free_bytes, index / 2 * GRANULE_BYTES);
    CHECK_STATUS(arena_take(memory, 2 * GRANULE_BYTES, 1, &retired), LH_OUT_OF_MEMORY);
    arena_give_back(memory, ranges_taken[index]);
    CHECK(arena_is_sound(memory));
  }
  CHECK_NUMBER(memory->free_piece_count, 32);
  arena_close(memory);
  free(memory);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"allocator: agrees with a plain model, address for address", agrees_with_a_plain_model},
      {"allocator: balances its books while ranges are retired", balances_its_books_while_ranges_are_retired},
  };
  only_seed = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 0;
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
