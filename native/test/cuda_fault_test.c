/*
 * cuda_fault_test.c: one call of the driver fails, whichever it is, in a program that uses all that the backend offers.
 *
 * A case is an entry point, which of its calls fails, with what code, and whether at the call or when the work ends. Each runs
 * on a device of its own, because one that is lost stays so. So many run in one process as there are devices, in a child that
 * has no threads before it begins; where a child has left off is written in memory that is shared with it.
 */
#include "cuda_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRY_NAME(field, name, parameters) #name,
static const char *const entry_names[] = {CU_DRIVER_CALLS(ENTRY_NAME)};

enum { ENTRY_COUNT = sizeof entry_names / sizeof *entry_names };

enum { OUT_OF_MEMORY_CODE = 2, UNKNOWN_CODE = 4711, ILLEGAL_ADDRESS_CODE = 700 };

static const int32_t codes[] = {OUT_OF_MEMORY_CODE, UNKNOWN_CODE, ILLEGAL_ADDRESS_CODE};

enum { CODE_COUNT = sizeof codes / sizeof *codes };

/* How many calls are made depends on how long the device takes, for what is called to wait. So not all of those have a case. */
enum { NTH_MAX = 40 };

enum { BYTE_COUNT = 4096, PLAIN_BYTES = 100 };

typedef struct fault {
  const char *settings;
  uint32_t entry;
  uint32_t nth;
  uint32_t code;
  uint32_t asynchronous;
} fault;

/* What a child leaves for the next. */
typedef struct progress {
  fault next;
  bool is_done;
  uint32_t case_count;
  uint32_t failed_count;
  /* What the cases came to. */
  uint32_t told_count;   /* a call failed, and was made again */
  uint32_t silent_count; /* nobody was told: the driver was asked again, or the context was ending */
  uint32_t lost_count;
} progress;

/* The program ----------------------------------------------------------------------------------------------------- */

typedef struct program {
  uint32_t device;
  const char *settings;
  lh_context *context;
  lh_address small;
  lh_address aligned;
  lh_address staging;
  uint8_t *registered; /* memory of the program's own */
  lh_module module;
  lh_kernel kernel;
  uint8_t plain[PLAIN_BYTES];
  uint8_t received[PLAIN_BYTES];
  lh_ticket ticket;
  lh_error opened; /* how opening failed */
} program;

static lh_status open_program(program *p) {
  p->opened = (lh_error){.struct_bytes = sizeof p->opened};
  return open_loopback(p->device, p->settings, &p->opened, &p->context);
}

static lh_status ask_info(program *p) {
  lh_device_info info = {.struct_bytes = sizeof info};
  return lh_device_info_get(p->context, &info);
}

static lh_status ask_memory(program *p) {
  lh_memory_info info = {.struct_bytes = sizeof info};
  return lh_memory_info_get(p->context, &info);
}

static lh_status take_small(program *p) { return lh_malloc(p->context, BYTE_COUNT, 1, &p->small); }
static lh_status take_aligned(program *p) { return lh_malloc(p->context, BYTE_COUNT, 4096, &p->aligned); }
static lh_status take_staging(program *p) { return lh_host_malloc(p->context, BYTE_COUNT, &p->staging); }
static lh_status pin(program *p) { return lh_host_register(p->context, address_of(p->registered), BYTE_COUNT); }

/* Written before there are children. */
static char *module_path;

static lh_status load(program *p) { return lh_module_load(p->context, module_path, &p->module); }
static lh_status find(program *p) { return lh_kernel_find(p->context, p->module, "cuda_test_add", &p->kernel); }

/* Ends a ticket, if there is one. */
static lh_status finish(program *p, lh_status begun) { return begun == LH_OK ? await(p->context, p->ticket) : begun; }

static lh_status send(program *p) {
  uint32_t failed_index = 0;
  const lh_transfer transfers[] = {
      host_copy(host_bytes(p->staging), p->plain, PLAIN_BYTES),
      {LH_TRANSFER_COPY_IN, p->small, p->staging, PLAIN_BYTES},
      fill(p->small + PLAIN_BYTES, 9, PLAIN_BYTES),
      copy_in(p->small + 2 * PLAIN_BYTES, p->plain, PLAIN_BYTES),
      copy_in(p->small + 3 * PLAIN_BYTES, p->registered, PLAIN_BYTES),
  };
  return finish(p, lh_submit(p->context, LH_LANE_IN, transfers, 5, &p->ticket, &failed_index));
}

static lh_status compute(program *p) {
  const lh_argument arguments[] = {
      tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, p->small, 4 * PLAIN_BYTES),
      tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, p->aligned, 4 * PLAIN_BYTES),
  };
  const lh_parameter parameters[] = {
      argument_parameter(0), argument_parameter(1), constant_uint64(4 * PLAIN_BYTES), constant_uint8(1),
      argument_parameter(1), argument_parameter(1), constant_uint64(4 * PLAIN_BYTES), constant_uint8(2),
  };
  lh_launch_step steps[] = {step_of(p->kernel, 0, 4), step_of(p->kernel, 4, 4)};
  steps[1].shared_bytes = 64 * 1024;
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 2, .parameter_count = 8, .steps = steps, .parameters = parameters};
  return finish(p, launch_plan(p->context, LH_LANE_COMPUTE, &plan, arguments, 2, &p->ticket));
}

static lh_status receive(program *p) {
  uint32_t failed_index = 0;
  const lh_transfer transfers[] = {
      {LH_TRANSFER_COPY_OUT, p->staging, p->aligned, 4 * PLAIN_BYTES},
      copy_out(p->received, p->aligned, PLAIN_BYTES),
  };
  return finish(p, lh_submit(p->context, LH_LANE_OUT, transfers, 2, &p->ticket, &failed_index));
}

static lh_status unpin(program *p) { return lh_host_unregister(p->context, address_of(p->registered)); }
static lh_status free_staging(program *p) { return lh_host_free(p->context, p->staging); }
static lh_status free_small(program *p) { return lh_free(p->context, p->small); }
static lh_status free_aligned(program *p) { return lh_free(p->context, p->aligned); }

typedef lh_status (*program_step)(program *p);

/* What is taken at the end is left for the context's end to give back. */
static const program_step steps[] = {
    ask_info, ask_memory, take_small, take_aligned, take_staging, pin,          load,         find,
    send,     compute,    receive,    unpin,        free_staging, free_aligned, free_small,   take_staging,
    pin,      take_small, take_aligned,
};

enum { STEP_COUNT = sizeof steps / sizeof *steps };

/* Memory that is pinned, for each device: what a lost one does with it is not known, so it stays. */
static uint8_t pinned[2][LOOPBACK_DEVICE_COUNT][BYTE_COUNT] __attribute__((aligned(4096)));

/* A device sees two programs: the one that is failed, which may leave things behind, and another. */
static void begin_program(program *p, uint32_t device, const char *settings, int which) {
  *p = (program){.device = device, .settings = settings, .registered = pinned[which][device]};
  for (uint32_t index = 0; index < PLAIN_BYTES; index += 1) {
    p->plain[index] = (uint8_t)index;
    p->registered[index] = (uint8_t)(100 + index);
  }
}

/* That the kernels have worked on what was sent, and that it came back. */
static void check_received(const program *p) {
  const uint8_t *staged = host_bytes(p->staging);
  for (uint32_t index = 0; index < PLAIN_BYTES; index += 1) {
    bool is_right = p->received[index] == (uint8_t)(p->plain[index] + 3) && staged[index] == p->received[index] &&
                    staged[PLAIN_BYTES + index] == 9 + 3 && staged[2 * PLAIN_BYTES + index] == p->received[index] &&
                    staged[3 * PLAIN_BYTES + index] == (uint8_t)(p->registered[index] + 3);
    if (!CHECK(is_right)) {
      return;
    }
  }
}

/* The cases ------------------------------------------------------------------------------------------------------- */

static bool is_entry(const fault *f, const char *name) { return strcmp(entry_names[f->entry], name) == 0; }

/* Whether the entry point puts something on a stream that can fail there. */
static bool can_fail_later(uint32_t entry) {
  const fault f = {.entry = entry};
  return is_entry(&f, "cuMemcpyHtoDAsync_v2") || is_entry(&f, "cuMemcpyDtoHAsync_v2") || is_entry(&f, "cuMemsetD8Async") ||
         is_entry(&f, "cuLaunchKernel") || is_entry(&f, "cuEventRecord");
}

/* What goes before there is a device to be lost, and what the driver is asked about a failure that it told of. */
static bool touches_no_device(const fault *f) {
  return is_entry(f, "cuInit") || is_entry(f, "cuDeviceGet") || is_entry(f, "cuCtxPopCurrent_v2") ||
         is_entry(f, "cuGetErrorName") || is_entry(f, "cuGetErrorString") || is_entry(f, "cuDeviceGetCount");
}

static bool ends_device(const fault *f) { return codes[f->code] != OUT_OF_MEMORY_CODE && !touches_no_device(f); }

/* The status of the call that is told of the failure. */
static lh_status expected_status(const fault *f, program_step step) {
  if (is_entry(f, "cuInit")) {
    return LH_LIBRARY_NOT_LOADED;
  }
  if (codes[f->code] != OUT_OF_MEMORY_CODE) {
    return LH_DEVICE_LOST;
  }
  bool is_copy = step == send || step == receive;
  bool is_query = is_entry(f, "cuStreamQuery") || is_entry(f, "cuEventQuery");
  bool is_transfer =
      is_entry(f, "cuMemcpyHtoDAsync_v2") || is_entry(f, "cuMemcpyDtoHAsync_v2") || is_entry(f, "cuMemsetD8Async");
  if (is_transfer || (is_copy && (is_query || f->asynchronous != 0))) {
    return LH_TRANSFER_FAILED;
  }
  bool is_host = is_entry(f, "cuMemHostAlloc") || is_entry(f, "cuMemHostRegister_v2");
  return is_host ? LH_HOST_OUT_OF_MEMORY : LH_OUT_OF_MEMORY;
}

static void plan_fault(const fault *f) {
  loopback()->fail(entry_names[f->entry], f->nth, codes[f->code], (int32_t)f->asynchronous);
}

/* What a program that was failed has seen. */
typedef struct seen {
  uint32_t failed_count;
  bool is_lost;
} seen;

/* A call that fails tells what was asked for, and works when it is made again, unless the device is lost: then none does. */
static void make_call(program *p, const fault *f, program_step step, seen *s) {
  lh_status status = step(p);
  if (s->is_lost) {
    CHECK_STATUS(status, LH_DEVICE_LOST);
    return;
  }
  if (status == LH_OK) {
    return;
  }
  s->failed_count += 1;
  CHECK_NUMBER(loopback()->pending_failures(), 0);
  CHECK_STATUS(status, expected_status(f, step));
  lh_error error = step == open_program ? p->opened : last_error_of(p->context);
  CHECK_STATUS(error.status, status);
  CHECK_NUMBER(error.device_code, codes[f->code]);
  s->is_lost = ends_device(f);
  if (!s->is_lost) {
    CHECK_STATUS(step(p), LH_OK);
  }
}

static void make_calls(program *p, const fault *f, seen *s) {
  make_call(p, f, open_program, s);
  for (uint32_t index = 0; index < STEP_COUNT && p->context != NULL; index += 1) {
    make_call(p, f, steps[index], s);
    if (!s->is_lost && steps[index] == receive) {
      check_received(p);
    }
  }
}

/* A lost device is lost for everybody who comes, and another is not. */
static void check_lost(const fault *f, uint32_t device) {
  program next;
  begin_program(&next, device, f->settings, 1);
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(open_program(&next), LH_DEVICE_LOST);
  CHECK_NUMBER(next.opened.device_code, codes[f->code]);
  CHECK_NUMBER(loopback()->calls(""), call_count);
  if (!CHECK(next.context == NULL)) {
    close_device(next.context);
  }
}

static void check_works(const fault *f, uint32_t device) {
  program next;
  seen nothing = {0};
  begin_program(&next, device, f->settings, 1);
  make_calls(&next, f, &nothing);
  CHECK_NUMBER(nothing.failed_count, 0);
  if (CHECK(next.context != NULL)) {
    close_device(next.context);
  }
}

static void count_live(uint64_t *counts) {
  for (int32_t kind = LOOPBACK_ALLOCATIONS; kind <= LOOPBACK_CONTEXTS; kind += 1) {
    counts[kind] = loopback()->live(kind);
  }
}

/* What is refused while a context ends stays where it is: the driver is not asked twice, and takes it back with its context. */
static void check_only_left_behind(void) {
  char text[4096] = "";
  loopback()->violations(text, sizeof text);
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    if (!CHECK(strncmp(line, "a context goes with", strlen("a context goes with")) == 0)) {
      printf("%s\n", line);
    }
  }
  CHECK_NUMBER(loopback()->calls_after_loss(), 0);
  CHECK_NUMBER(loopback()->context_depth(), 0);
}

/* Whether the failure came to pass. */
static bool run_case(const fault *f, uint32_t device, progress *sum) {
  uint64_t before[LOOPBACK_CONTEXTS + 1];
  uint64_t after[LOOPBACK_CONTEXTS + 1];
  program p;
  seen s = {0};
  loopback()->reset();
  loopback()->set_memory(1u << 20);
  count_live(before);
  begin_program(&p, device, f->settings, 0);
  plan_fault(f);
  make_calls(&p, f, &s);
  bool was_ending = loopback()->pending_failures() > 0;
  if (p.context != NULL) {
    if (!s.is_lost) {
      CHECK_NUMBER(statistics_of(p.context).in_flight_count, 0);
    }
    close_device(p.context);
  }
  CHECK(s.failed_count <= 1);
  bool has_failed = loopback()->pending_failures() == 0;
  if (has_failed && ends_device(f)) {
    check_lost(f, device);
    sum->lost_count += 1;
  } else {
    sum->told_count += s.failed_count;
    sum->silent_count += has_failed && s.failed_count == 0 ? 1 : 0;
    loopback()->reset();
    check_works(f, device);
  }
  if (has_failed && was_ending) {
    check_only_left_behind();
    return true;
  }
  check_driver_is_content();
  if (!has_failed || !ends_device(f)) {
    count_live(after);
    CHECK(memcmp(before, after, sizeof before) == 0);
  }
  return has_failed;
}

/* The case behind this one. A call that is not made for the nth time is not made for the next time either. */
static bool find_next(fault *f, bool has_failed) {
  if (has_failed && f->nth < NTH_MAX) {
    f->nth += 1;
    return true;
  }
  f->nth = 1;
  f->asynchronous += 1;
  if (f->asynchronous == 1 && can_fail_later(f->entry)) {
    return true;
  }
  f->asynchronous = 0;
  f->code += 1;
  if (f->code < CODE_COUNT) {
    return true;
  }
  f->code = 0;
  f->entry += 1;
  return f->entry < ENTRY_COUNT;
}

static void run_cases(progress *sum) {
  for (uint32_t device = 0; device < LOOPBACK_DEVICE_COUNT && !sum->is_done; device += 1) {
    int failed_before = failed_checks();
    const fault f = sum->next;
    bool has_failed = run_case(&f, device, sum);
    if (failed_checks() > failed_before) {
      printf("  with %s: call %u of %s answers %d%s\n", f.settings, f.nth, entry_names[f.entry], codes[f.code],
             f.asynchronous == 0 ? "" : " later");
      sum->failed_count += 1;
    }
    fflush(stdout);
    sum->case_count += has_failed ? 1 : 0;
    sum->is_done = !find_next(&sum->next, has_failed);
  }
}

/* Runs some cases in a child, which ends as a program does, so that a sanitizer looks for leaks. */
static bool run_child(progress *sum) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    run_cases(sum);
    exit(EXIT_SUCCESS);
  }
  int status = 0;
  return CHECK(child > 0) && CHECK_NUMBER(waitpid(child, &status, 0), child) && CHECK_NUMBER(status, 0);
}

static void fail_everywhere_with(const char *settings) {
  progress *sum = mmap(NULL, sizeof *sum, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *sum = (progress){.next = {.settings = settings, .nth = 1}};
  while (!sum->is_done && run_child(sum)) {
  }
  printf("     %s: %u cases: %u told and made again, %u without telling, %u lost the device\n", settings, sum->case_count,
         sum->told_count, sum->silent_count, sum->lost_count);
  CHECK_NUMBER(sum->failed_count, 0);
  CHECK(sum->told_count > 0 && sum->silent_count > 0 && sum->lost_count > 0);
  munmap(sum, sizeof *sum);
}

WITH_BOTH_LANES(fail_everywhere)

static void works_with_every_call_failed(void) {
  module_path = write_cuda_kernels();
  fail_everywhere();
  unlink(module_path);
  free(module_path);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda fault: whichever call of the driver fails, that is told, nothing leaks, and a lost device is left alone",
       works_with_every_call_failed},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
