/*
 * grants_test.c: which bytes of device memory may be touched at which time, where AddressSanitizer watches.
 *
 * What should stop the process is done in a process of its own, whose report is read.
 */
#include "support.h"

#include "simulator/context.h"
#include "simulator/grants.h"
#include "simulator/sanitizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if IS_SANITIZED
static bool is_forbidden(uint64_t address) { return __asan_address_is_poisoned((void *)(uintptr_t)address) != 0; }
#else
/* Nothing watches, so nothing is forbidden: this program is for builds with a sanitizer, and fails in others. */
static bool is_forbidden(uint64_t address) {
  (void)address;
  return false;
}
#endif

/* How many bytes from the address on are forbidden. */
static size_t forbidden_count(lh_address address, size_t byte_count) {
  size_t count = 0;
  for (size_t index = 0; index < byte_count; index += 1) {
    count += is_forbidden((uint64_t)address + index) ? 1 : 0;
  }
  return count;
}

/* Straying -------------------------------------------------------------------------------------------------------- */

enum { SLICE_BYTES = 100, REPORT_MAX_BYTES = 1 << 16, DEADLINE_SECONDS = 60 };

/*
 * One chunk: a slice of 100 bytes with padding up to 128, a neighbour of 64 bytes right behind it with another one
 * right behind that; and a chunk of its own behind all.
 */
enum { CHUNK_BYTES = 1024, SLICE_OFFSET = 256, NEIGHBOUR_OFFSET = 384, LAST_OFFSET = 448, TAIL_BYTES = 32 };

static lh_status touch(lh_context *context, lh_address slice, uint64_t byte_count, int32_t offset_bytes, bool writes) {
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, slice, byte_count),
                                   scalar_int32(offset_bytes), scalar_int32(writes ? 1 : 0)};
  lh_ticket ticket = 0;
  lh_status status = launch(context, find_kernel(context, "test_touch"), arguments, 3, &ticket);
  return status == LH_OK && ticket != 0 ? await(context, ticket) : status;
}

/* What a process of its own does. */
typedef struct straying {
  const char *settings;
  lh_address slice_offset;
  uint64_t byte_count;
  int32_t offset_bytes; /* where the kernel touches memory, seen from the slice */
  bool writes;
} straying;

static void stray(const straying *strays) {
  lh_context *context = open_device(strays->settings);
  lh_address chunk = take(context, CHUNK_BYTES);
  take(context, CHUNK_BYTES);
  touch(context, chunk + strays->slice_offset, strays->byte_count, strays->offset_bytes, strays->writes);
  lh_context_close(context);
}

static void touch_without_work(const straying *unused) {
  (void)unused;
  volatile uint8_t *chunk = (volatile uint8_t *)(uintptr_t)take(open_device("total_bytes=4096"), CHUNK_BYTES);
  chunk[0] = 1;
}

/* Everything that a process writes until it ends; whatever is more than fits is read and dropped. */
static void read_report(int descriptor, char *report) {
  size_t length = 0;
  char dropped[256];
  ssize_t count = 0;
  do {
    bool has_room = length < REPORT_MAX_BYTES - 1;
    count = has_room ? read(descriptor, report + length, REPORT_MAX_BYTES - 1 - length)
                     : read(descriptor, dropped, sizeof dropped);
    length += has_room && count > 0 ? (size_t)count : 0;
  } while (count > 0);
  report[length] = '\0';
}

/* Does something in a process of its own and returns how that ended, with what it wrote. */
static int run_apart(void (*run)(const straying *), const straying *argument, char *report) {
  int ends[2];
  if (!CHECK_NUMBER(pipe(ends), 0)) {
    return 0;
  }
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(DEADLINE_SECONDS);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    run(argument);
    _exit(EXIT_SUCCESS);
  }
  close(ends[1]);
  int status = 0;
  read_report(ends[0], report);
  close(ends[0]);
  CHECK(child > 0);
  CHECK_NUMBER(waitpid(child, &status, 0), child);
  return status;
}

/* The sanitizer must have stopped it, and named the place where it happened. */
static void check_stopped(void (*run)(const straying *), const straying *argument, const char *place) {
  static char report[REPORT_MAX_BYTES];
  int status = run_apart(run, argument, report);
  bool is_stopped = WIFEXITED(status) && WEXITSTATUS(status) != EXIT_SUCCESS;
  if (!CHECK(is_stopped) || !CHECK(strstr(report, "AddressSanitizer: use-after-poison") != NULL) ||
      !CHECK(strstr(report, place) != NULL)) {
    printf("straying to offset %d, writes %d: status %d, %s\n", argument->offset_bytes, argument->writes, status,
           report);
  }
}

static void stops_a_kernel_that_strays(void) {
  static const char *const devices[] = {"total_bytes=65536", "total_bytes=65536 completion=late lanes=overlap"};
  /* Padding from its first byte to its last, the neighbour, the tail, the byte in front, another chunk, free memory. */
  static const int32_t offsets_bytes[] = {SLICE_BYTES,
                                          SLICE_BYTES + TAIL_BYTES - 5,
                                          NEIGHBOUR_OFFSET - SLICE_OFFSET,
                                          -1,
                                          CHUNK_BYTES - SLICE_OFFSET,
                                          2 * CHUNK_BYTES - SLICE_OFFSET};
  for (size_t index = 0; index < 2 * sizeof offsets_bytes / sizeof *offsets_bytes; index += 1) {
    straying strays = {.settings = devices[index % 2],
                       .slice_offset = SLICE_OFFSET,
                       .byte_count = SLICE_BYTES,
                       .offset_bytes = offsets_bytes[index / 2]};
    strays.writes = true;
    check_stopped(stray, &strays, "in test_touch");
    strays.writes = false;
    check_stopped(stray, &strays, "in test_touch");
  }
}

static void stops_a_kernel_one_byte_past_its_slice(void) {
  straying strays = {.settings = "total_bytes=65536",
                     .slice_offset = NEIGHBOUR_OFFSET,
                     .byte_count = LAST_OFFSET - NEIGHBOUR_OFFSET,
                     .offset_bytes = LAST_OFFSET - NEIGHBOUR_OFFSET,
                     .writes = true};
  check_stopped(stray, &strays, "in test_touch");
  /* Where slices lie as close as bytes do, the sanitizer still sees where one ends. */
  for (uint64_t byte_count = 1; byte_count <= 8; byte_count += 1) {
    strays.byte_count = byte_count;
    strays.offset_bytes = (int32_t)byte_count;
    check_stopped(stray, &strays, "in test_touch");
  }
}

static void stops_whoever_is_no_work(void) {
  const straying none = {.writes = true};
  check_stopped(touch_without_work, &none, "in touch_without_work");
}

static void lets_a_kernel_touch_what_is_its_own(void) {
  lh_context *context = open_device("total_bytes=65536");
  lh_address chunk = take(context, CHUNK_BYTES);
  const uint8_t touched = 7;
  for (int32_t byte_count = 1; byte_count <= SLICE_BYTES; byte_count += 1) {
    int32_t last = byte_count - 1;
    CHECK_STATUS(touch(context, chunk + SLICE_OFFSET, (uint64_t)byte_count, 0, true), LH_OK);
    CHECK_STATUS(touch(context, chunk + SLICE_OFFSET, (uint64_t)byte_count, last, true), LH_OK);
    CHECK_STATUS(touch(context, chunk + SLICE_OFFSET, (uint64_t)byte_count, last, false), LH_OK);
    CHECK(device_holds(chunk + SLICE_OFFSET + last, &touched, 1));
    CHECK_NUMBER(forbidden_count(chunk, CHUNK_BYTES), CHUNK_BYTES);
  }
  /* A neighbour that is an argument of the same launch is the kernel's own too. */
  const lh_argument both[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, chunk, 64), scalar_int32(64 + 63),
                              scalar_int32(1), tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, chunk + 64, 64)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_touch"), both, 4, NULL), LH_OK);
  CHECK(device_holds(chunk + 64 + 63, &touched, 1));
  close_device(context);
}

/* At the same time ------------------------------------------------------------------------------------------------ */

static void keeps_what_work_in_flight_holds(void) {
  lh_context *context = open_device("total_bytes=65536 completion=late lanes=overlap");
  lh_address chunk = take(context, CHUNK_BYTES);
  lh_address x = chunk;
  lh_address y = chunk + 512;
  uint8_t host[128];
  lh_ticket gate_ticket = 0;
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_argument copied[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, x, SLICE_BYTES),
                                tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, y, SLICE_BYTES)};
  const lh_transfer before[] = {fill(chunk, 3, CHUNK_BYTES)};
  CHECK_STATUS(submit(context, before, 1, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(forbidden_count(chunk, CHUNK_BYTES), CHUNK_BYTES);
  gate_close();
  CHECK_STATUS(launch(context, find_kernel(context, "test_gate_copy"), copied, 2, &gate_ticket), LH_OK);
  await_gate(1);
  CHECK_NUMBER(forbidden_count(chunk, CHUNK_BYTES), CHUNK_BYTES - 2 * SLICE_BYTES);
  /* Copies come and go beside the kernel, over its bytes, part of them, around them and behind them. */
  for (int round = 0; round < 50; round += 1) {
    const lh_transfer beside[] = {
        copy_out(host, x, SLICE_BYTES),      copy_out(host, x + round, 1),
        copy_out(host, x + 40, 128),         copy_out(host, y - round, (double)round + 8),
        fill(x + SLICE_BYTES, round, 412),   copy_out(host, y + SLICE_BYTES - 1, 16),
    };
    CHECK_STATUS(lh_submit(context, LH_LANE_OUT, beside, 6, &ticket, &failed_index), LH_OK);
    CHECK_STATUS(await(context, ticket), LH_OK);
    CHECK_NUMBER(forbidden_count(x, SLICE_BYTES) + forbidden_count(y, SLICE_BYTES), 0);
    CHECK_NUMBER(forbidden_count(chunk, CHUNK_BYTES), CHUNK_BYTES - 2 * SLICE_BYTES);
  }
  gate_open();
  CHECK_STATUS(await(context, gate_ticket), LH_OK);
  CHECK_NUMBER(forbidden_count(chunk, CHUNK_BYTES), CHUNK_BYTES);
  CHECK_NUMBER(peek(y + SLICE_BYTES - 1), 3);
  close_device(context);
}

#if IS_SANITIZED

enum { FIELD_BYTES = 256, WORK_COUNT = 5, ENTRY_COUNT = 4, STEP_COUNT = 20000 };

static uint32_t random_below(uint64_t *state, uint32_t bound) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*state >> 32) % bound);
}

typedef struct holder {
  work held;
  bool is_on_list;
  lh_transfer transfers[ENTRY_COUNT];
} holder;

static void hold(work_list *works, holder *self, uint8_t *field, uint64_t *state) {
  self->held = (work){.count = 1 + random_below(state, ENTRY_COUNT), .transfers = self->transfers};
  for (uint32_t index = 0; index < self->held.count; index += 1) {
    uint32_t start = random_below(state, FIELD_BYTES);
    uint32_t byte_count = 1 + random_below(state, FIELD_BYTES - start);
    byte_count = random_below(state, 2) == 0 ? byte_count : 1 + byte_count % 12;
    /* A host's entry names nothing on the device, wherever it points. */
    bool is_on_host = random_below(state, 8) == 0;
    self->transfers[index] = is_on_host ? host_fill(field + start, 0, byte_count)
                                        : fill(address_of(field + start), 0, byte_count);
  }
  self->held.next = works->first;
  works->first = &self->held;
  self->is_on_list = true;
  grant_begin(&self->held);
}

static void let_go(work_list *works, holder *self) {
  grant_end(works, &self->held);
  work **link = &works->first;
  while (*link != &self->held) {
    link = &(*link)->next;
  }
  *link = self->held.next;
  self->is_on_list = false;
}

/* 2: a work names the byte; 1: one names a later byte of the same granule from its start on, so it comes along; 0. */
static int expected_access(const holder *holders, const uint8_t *byte) {
  int access = 0;
  uint64_t address = (uint64_t)(uintptr_t)byte;
  for (size_t number = 0; number < WORK_COUNT; number += 1) {
    for (uint32_t index = 0; holders[number].is_on_list && index < holders[number].held.count; index += 1) {
      const lh_transfer *named = &holders[number].transfers[index];
      uint64_t start = (uint64_t)named->destination;
      bool is_named = named->kind == LH_TRANSFER_FILL && address < start + (uint64_t)named->byte_count;
      if (is_named && address >= start) {
        return 2;
      }
      access = is_named && address >= start - start % SANITIZER_GRANULE_BYTES ? 1 : access;
    }
  }
  return access;
}

/* Works begin and end in any order, and name bytes that overlap and lie crooked. */
static void agrees_with_a_plain_model(void) {
  uint64_t state = 12345;
  work_list works = {0};
  holder holders[WORK_COUNT] = {0};
  uint8_t *field = aligned_alloc(64, FIELD_BYTES);
  if (!CHECK(field != NULL)) {
    return;
  }
  printf("     grants: seed %llu\n", (unsigned long long)state);
  forbid_bytes((uint64_t)(uintptr_t)field, FIELD_BYTES);
  size_t wrong_count = 0;
  for (int step = 0; step < STEP_COUNT; step += 1) {
    holder *chosen = &holders[random_below(&state, WORK_COUNT)];
    if (chosen->is_on_list) {
      let_go(&works, chosen);
    } else {
      hold(&works, chosen, field, &state);
    }
    for (size_t index = 0; index < FIELD_BYTES; index += 1) {
      int access = expected_access(holders, field + index);
      bool is_forbidden_now = is_forbidden((uint64_t)(uintptr_t)field + index);
      wrong_count += (access == 2 && is_forbidden_now) || (access == 0 && !is_forbidden_now) ? 1 : 0;
    }
  }
  CHECK_NUMBER(wrong_count, 0);
  allow_bytes((uint64_t)(uintptr_t)field, FIELD_BYTES);
  free(field);
}

#else
static void agrees_with_a_plain_model(void) { CHECK(IS_SANITIZED); }
#endif

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"grants: stop a kernel that strays into padding, tail, neighbour or chunk", stops_a_kernel_that_strays},
      {"grants: stop a kernel one byte past its slice", stops_a_kernel_one_byte_past_its_slice},
      {"grants: stop whoever touches device memory and is no work", stops_whoever_is_no_work},
      {"grants: let a kernel touch what is its own, and forbid it again", lets_a_kernel_touch_what_is_its_own},
      {"grants: keep what work in flight holds while other work ends", keeps_what_work_in_flight_holds},
      {"grants: agree with a plain model", agrees_with_a_plain_model},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
