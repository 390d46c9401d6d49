/*
 * allocator_test.c: long random programs against a plain model of the device's memory.
 *
 * The model owns one cell for each granule and looks for room by trying every place from the bottom, and it holds a
 * copy of every byte. It must agree with the device on every answer: address for address, status for status, byte for
 * byte. Programs take and free, move bytes in tables, launch kernels, and make mistakes. `allocator_test SEED` runs the
 * program of one seed, and `allocator_test SEED COUNT` those of so many seeds from there on.
 */
#include "support.h"

#include "simulator/context.h"
#include "common/numbers.h"

#include <stdio.h>
#include <stdlib.h>

enum { GRANULE_BYTES = 64, CELL_COUNT = 2048, DEVICE_BYTES = CELL_COUNT * GRANULE_BYTES, LIVE_MAX_COUNT = 400 };
enum { HOST_BYTES = 2048, MOVE_MAX_BYTES = 512, TABLE_MAX_COUNT = 6, LARGE_MAX_BYTES = 20000 };
enum { OPERATION_COUNT = 40000, SEED_COUNT = 25 };

typedef struct model {
  uint64_t random_state;
  uint64_t base_address;
  lh_kernel copy_kernel;
  uint32_t cells[CELL_COUNT]; /* the owner of each granule; 0: free */
  range live[LIVE_MAX_COUNT];
  uint32_t owners[LIVE_MAX_COUNT];
  size_t live_count;
  uint32_t owner_count;
  range ended[CELL_COUNT];          /* of each granule the latest range that ended there */
  uint64_t ended_number[CELL_COUNT]; /* counted from 1 */
  uint64_t ended_count;
  uint64_t full_count;    /* how often there was no room */
  uint64_t refused_count; /* how often a table, a launch or a free was refused */
  uint8_t device[DEVICE_BYTES];
  uint8_t host[HOST_BYTES];
  uint8_t real_host[HOST_BYTES];
} model;

/* A linear congruential generator, of which the upper half is used. */
static uint32_t random_below(model *shadow, uint32_t bound) {
  shadow->random_state = shadow->random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((shadow->random_state >> 32) % bound);
}

/* Taking and freeing ---------------------------------------------------------------------------------------------- */

static bool has_room_at(const model *shadow, size_t first_cell, size_t cell_count) {
  for (size_t index = 0; index < cell_count; index += 1) {
    if (first_cell + index >= CELL_COUNT || shadow->cells[first_cell + index] != 0) {
      return false;
    }
  }
  return true;
}

/* The first cell at an aligned address with room behind it, or CELL_COUNT. */
static size_t first_room(const model *shadow, size_t cell_count, uint64_t alignment_bytes) {
  for (size_t cell = 0; cell < CELL_COUNT; cell += 1) {
    bool is_aligned = (shadow->base_address + cell * GRANULE_BYTES) % alignment_bytes == 0;
    if (is_aligned && has_room_at(shadow, cell, cell_count)) {
      return cell;
    }
  }
  return CELL_COUNT;
}

static size_t first_cell_of(const model *shadow, range owned) {
  return (size_t)(owned.address - shadow->base_address) / GRANULE_BYTES;
}

static uint8_t *shadow_of(model *shadow, uint64_t address) { return &shadow->device[address - shadow->base_address]; }

static void mark(model *shadow, range marked, uint32_t owner) {
  for (size_t index = 0; index < marked.reserved_bytes / GRANULE_BYTES; index += 1) {
    shadow->cells[first_cell_of(shadow, marked) + index] = owner;
  }
}

static void take_one(model *shadow, lh_context *context) {
  uint64_t byte_count = 1 + random_below(shadow, random_below(shadow, 16) == 0 ? LARGE_MAX_BYTES : 1000);
  uint64_t alignment_bytes = 1ull << random_below(shadow, 13);
  uint64_t reserved_bytes = 0;
  CHECK(round_up(byte_count, GRANULE_BYTES, &reserved_bytes));
  size_t cell = first_room(shadow, reserved_bytes / GRANULE_BYTES, alignment_bytes);
  lh_address address = 0;
  lh_status status = lh_malloc(context, byte_count, alignment_bytes, &address);
  CHECK_STATUS(status, cell == CELL_COUNT ? LH_OUT_OF_MEMORY : LH_OK);
  if (status != LH_OK) {
    shadow->full_count += 1;
    return;
  }
  CHECK_NUMBER(address, shadow->base_address + cell * GRANULE_BYTES);
  range taken = {.address = (uint64_t)address, .byte_count = byte_count, .reserved_bytes = reserved_bytes};
  shadow->owner_count += 1;
  mark(shadow, taken, shadow->owner_count);
  memset(shadow_of(shadow, taken.address), 0xFF, reserved_bytes);
  shadow->live[shadow->live_count] = taken;
  shadow->owners[shadow->live_count] = shadow->owner_count;
  shadow->live_count += 1;
}

/* Reads the whole range back: nobody else may have written there. */
static void check_bytes(model *shadow, lh_context *context, range owned) {
  static uint8_t seen[LARGE_MAX_BYTES];
  const lh_transfer out[] = {copy_out(seen, (double)owned.address, (double)owned.byte_count)};
  CHECK_STATUS(submit(context, out, 1, NULL), LH_OK);
  CHECK(memcmp(seen, shadow_of(shadow, owned.address), owned.byte_count) == 0);
}

static void free_one(model *shadow, lh_context *context, size_t index) {
  range owned = shadow->live[index];
  check_bytes(shadow, context, owned);
  CHECK_STATUS(lh_free(context, (double)owned.address), LH_OK);
  mark(shadow, owned, 0);
  shadow->ended_count += 1;
  for (size_t cell = 0; cell < owned.reserved_bytes / GRANULE_BYTES; cell += 1) {
    shadow->ended[first_cell_of(shadow, owned) + cell] = owned;
    shadow->ended_number[first_cell_of(shadow, owned) + cell] = shadow->ended_count;
  }
  shadow->live_count -= 1;
  shadow->live[index] = shadow->live[shadow->live_count];
  shadow->owners[index] = shadow->owners[shadow->live_count];
}

/* Addresses ------------------------------------------------------------------------------------------------------- */

/* The index of the live range that holds the offset, or the count of them. */
static size_t live_at(const model *shadow, uint64_t offset_bytes) {
  uint32_t owner = shadow->cells[offset_bytes / GRANULE_BYTES];
  size_t index = 0;
  while (index < shadow->live_count && (owner == 0 || shadow->owners[index] != owner)) {
    index += 1;
  }
  return index;
}

/* The range that ended at the offset last, or null where that was too long ago, or never. */
static const range *remembered_at(const model *shadow, uint64_t offset_bytes) {
  size_t cell = offset_bytes / GRANULE_BYTES;
  bool is_remembered = shadow->ended_number[cell] > 0 &&
                       shadow->ended_count - shadow->ended_number[cell] < RANGES_ENDED_MAX_COUNT;
  return is_remembered ? &shadow->ended[cell] : NULL;
}

/* How bytes from the offset on are judged. */
static lh_status judged(const model *shadow, uint64_t offset_bytes, uint64_t byte_count) {
  size_t index = live_at(shadow, offset_bytes);
  if (index == shadow->live_count) {
    return remembered_at(shadow, offset_bytes) != NULL ? LH_USE_AFTER_FREE : LH_FOREIGN_POINTER;
  }
  const range *owned = &shadow->live[index];
  uint64_t end_offset_bytes = owned->address - shadow->base_address + owned->byte_count;
  return offset_bytes + byte_count <= end_offset_bytes ? LH_OK : LH_OUT_OF_RANGE;
}

/* Any bytes anywhere in the arena, most of them nobody's or more than there are. */
static void look_up_one(model *shadow, lh_context *context) {
  uint8_t seen[64];
  uint64_t offset_bytes = random_below(shadow, DEVICE_BYTES - sizeof seen);
  uint64_t byte_count = 1 + random_below(shadow, sizeof seen);
  const lh_transfer out[] = {copy_out(seen, (double)(shadow->base_address + offset_bytes), (double)byte_count)};
  lh_status status = submit(context, out, 1, NULL);
  CHECK_STATUS(status, judged(shadow, offset_bytes, byte_count));
  CHECK(status != LH_OK || memcmp(seen, &shadow->device[offset_bytes], byte_count) == 0);
}

/* Frees an address that is the start of a live range only by chance. */
static void free_anything(model *shadow, lh_context *context) {
  uint64_t offset_bytes = random_below(shadow, CELL_COUNT) * (uint64_t)GRANULE_BYTES + random_below(shadow, 2);
  uint64_t address = shadow->base_address + offset_bytes;
  size_t index = live_at(shadow, offset_bytes);
  if (index < shadow->live_count && shadow->live[index].address == address) {
    free_one(shadow, context, index);
    return;
  }
  const range *ended = remembered_at(shadow, offset_bytes);
  lh_status expected = ended != NULL && index == shadow->live_count ? LH_USE_AFTER_FREE : LH_FOREIGN_POINTER;
  expected = ended != NULL && ended->address == address ? LH_DOUBLE_FREE : expected;
  CHECK_STATUS(lh_free(context, (double)address), expected);
  shadow->refused_count += 1;
}

/* Moving ---------------------------------------------------------------------------------------------------------- */

typedef struct piece {
  uint64_t address;
  uint64_t byte_count;
} piece;

/* A part of a live range. */
static piece random_piece(model *shadow) {
  range owned = shadow->live[random_below(shadow, (uint32_t)shadow->live_count)];
  uint64_t offset_bytes = random_below(shadow, (uint32_t)owned.byte_count);
  uint64_t most_bytes = uint64_min(owned.byte_count - offset_bytes, MOVE_MAX_BYTES);
  return (piece){.address = owned.address + offset_bytes,
                 .byte_count = 1 + random_below(shadow, (uint32_t)most_bytes)};
}

static lh_transfer random_entry(model *shadow) {
  piece device = random_piece(shadow);
  double address = (double)device.address;
  double byte_count = (double)device.byte_count;
  uint8_t *host = &shadow->real_host[random_below(shadow, HOST_BYTES - MOVE_MAX_BYTES)];
  switch (1 + random_below(shadow, 5)) {
  case LH_TRANSFER_COPY_IN:
    return copy_in(address, host, byte_count);
  case LH_TRANSFER_COPY_OUT:
    return copy_out(host, address, byte_count);
  case LH_TRANSFER_FILL:
    return fill(address, random_below(shadow, 256), byte_count);
  case LH_TRANSFER_HOST_COPY:
    return host_copy(host, &shadow->real_host[random_below(shadow, HOST_BYTES - MOVE_MAX_BYTES)], byte_count);
  default:
    return host_fill(host, random_below(shadow, 256), byte_count);
  }
}

static uint8_t *shadow_of_any(model *shadow, double address) {
  uint64_t offset_bytes = (uint64_t)address - shadow->base_address;
  return offset_bytes < DEVICE_BYTES
             ? &shadow->device[offset_bytes]
             : &shadow->host[(const uint8_t *)(uintptr_t)(uint64_t)address - shadow->real_host];
}

static void move_in_model(model *shadow, lh_transfer moved) {
  uint8_t *destination = shadow_of_any(shadow, moved.destination);
  if (moved.kind == LH_TRANSFER_FILL || moved.kind == LH_TRANSFER_HOST_FILL) {
    memset(destination, (int)moved.source, (size_t)moved.byte_count);
  } else {
    memmove(destination, shadow_of_any(shadow, moved.source), (size_t)moved.byte_count);
  }
}

/* Makes a mistake in an entry, and says what should be answered. */
static lh_status spoil(model *shadow, lh_transfer *spoiled) {
  uint64_t offset_bytes = random_below(shadow, DEVICE_BYTES);
  switch (random_below(shadow, 5)) {
  case 0:
    spoiled->kind = 6 + random_below(shadow, 100);
    return LH_INVALID_ARGUMENT;
  case 1:
    spoiled->byte_count = random_below(shadow, 2) == 0 ? 0 : -1.5;
    return LH_INVALID_ARGUMENT;
  case 2:
    *spoiled = host_copy(shadow->real_host, (void *)(uintptr_t)(shadow->base_address + offset_bytes), 1);
    return LH_INVALID_ARGUMENT;
  case 3:
    *spoiled = fill((double)(shadow->base_address + offset_bytes), 0, DEVICE_BYTES);
    break;
  default:
    *spoiled = copy_out(shadow->real_host, (double)(shadow->base_address + offset_bytes), DEVICE_BYTES);
    break;
  }
  return judged(shadow, offset_bytes, DEVICE_BYTES);
}

static void move_some(model *shadow, lh_context *context) {
  lh_transfer table[TABLE_MAX_COUNT];
  uint32_t count = 1 + random_below(shadow, TABLE_MAX_COUNT);
  for (uint32_t index = 0; index < count; index += 1) {
    table[index] = random_entry(shadow);
  }
  uint32_t spoiled_index = random_below(shadow, 10) == 0 ? random_below(shadow, count) : UINT32_MAX;
  lh_status expected = spoiled_index == UINT32_MAX ? LH_OK : spoil(shadow, &table[spoiled_index]);
  lh_ticket ticket = 0;
  uint32_t failed_index = UINT32_MAX;
  CHECK_STATUS(lh_submit(context, random_below(shadow, LH_LANE_COUNT), table, count, &ticket, &failed_index), expected);
  CHECK_NUMBER(failed_index, spoiled_index);
  for (uint32_t index = 0; index < count && expected == LH_OK; index += 1) {
    move_in_model(shadow, table[index]);
  }
  shadow->refused_count += expected == LH_OK ? 0 : 1;
  CHECK(memcmp(shadow->real_host, shadow->host, HOST_BYTES) == 0);
}

/* Copies one piece to another by a kernel, unless they overlap or the table is wrong. */
static void launch_one(model *shadow, lh_context *context) {
  piece from = random_piece(shadow);
  piece to = random_piece(shadow);
  uint64_t byte_count = uint64_min(from.byte_count, to.byte_count);
  if (from.address < to.address + byte_count && to.address < from.address + byte_count) {
    return;
  }
  uint64_t offset_bytes = to.address - shadow->base_address;
  bool is_wrong = random_below(shadow, 10) == 0;
  byte_count = is_wrong ? DEVICE_BYTES : byte_count;
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, (double)to.address, byte_count),
                                   tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, (double)from.address, byte_count)};
  const lh_argument swapped[] = {arguments[1], arguments[0]};
  lh_ticket ticket = 0;
  uint32_t failed_index = UINT32_MAX;
  lh_status status = lh_launch(context, LH_LANE_COMPUTE, shadow->copy_kernel, NULL, is_wrong ? arguments : swapped, 2,
                               0, &ticket, &failed_index);
  CHECK_STATUS(status, judged(shadow, offset_bytes, byte_count));
  CHECK_NUMBER(failed_index, is_wrong ? 0 : UINT32_MAX);
  if (status == LH_OK) {
    memcpy(shadow_of(shadow, to.address), shadow_of(shadow, from.address), byte_count);
  }
  shadow->refused_count += status == LH_OK ? 0 : 1;
}

/* Programs -------------------------------------------------------------------------------------------------------- */

static void step(model *shadow, lh_context *context, uint32_t take_percent) {
  uint32_t dice = random_below(shadow, 100);
  if (dice < 10) {
    look_up_one(shadow, context);
  } else if (dice < 12) {
    free_anything(shadow, context);
  } else if (dice < 40 && shadow->live_count > 0) {
    move_some(shadow, context);
  } else if (dice < 50 && shadow->live_count > 0) {
    launch_one(shadow, context);
  } else if (shadow->live_count < LIVE_MAX_COUNT && (shadow->live_count == 0 || dice < 50 + take_percent)) {
    take_one(shadow, context);
  } else {
    free_one(shadow, context, random_below(shadow, (uint32_t)shadow->live_count));
  }
}

static void run_program(uint64_t seed) {
  printf("     allocator: seed %llu, %d operations\n", (unsigned long long)seed, OPERATION_COUNT);
  model *shadow = calloc(1, sizeof *shadow);
  char settings_text[128];
  snprintf(settings_text, sizeof settings_text, "total_bytes=%d alignment_bytes=%d size_granularity_bytes=%d",
           DEVICE_BYTES, GRANULE_BYTES, GRANULE_BYTES);
  lh_context *context = open_device(settings_text);
  if (!CHECK(shadow != NULL)) {
    return;
  }
  shadow->random_state = seed;
  shadow->base_address = context->device.base_address;
  shadow->copy_kernel = find_kernel(context, "test_copy");
  for (uint32_t count = 0; count < OPERATION_COUNT; count += 1) {
    /* Tides: memory fills up until it is full, and empties again. */
    step(shadow, context, count / 500 % 2 == 0 ? 35 : 15);
    if (count % 64 == 0) {
      CHECK(arena_is_sound(&context->device));
      CHECK_NUMBER(context->device.allocations.live_count, shadow->live_count);
    }
  }
  CHECK(shadow->full_count > 20);
  CHECK(shadow->refused_count > 100);
  while (shadow->live_count > 0) {
    free_one(shadow, context, 0);
  }
  CHECK(arena_is_sound(&context->device));
  CHECK_NUMBER(context->device.free_bytes, DEVICE_BYTES);
  CHECK_NUMBER(context->device.free_piece_count, 1);
  close_device(context);
  free(shadow);
}

static uint64_t first_seed = 1;
static uint64_t seed_count = SEED_COUNT;

static void agrees_with_a_plain_model(void) {
  for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed += 1) {
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
      {"allocator: agrees with a plain model, answer for answer and byte for byte", agrees_with_a_plain_model},
      {"allocator: balances its books while ranges are retired", balances_its_books_while_ranges_are_retired},
  };
  first_seed = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : first_seed;
  seed_count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : argument_count > 1 ? 1 : seed_count;
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
