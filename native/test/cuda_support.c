#include "cuda_support.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT_BYTES = PATH_MAX + 256 };

static void give_up(const char *sentence) {
  printf("%s\n0 passed, 1 failed\n", sentence);
  exit(EXIT_FAILURE);
}

/* The loopback driver --------------------------------------------------------------------------------------------- */

/* A file that lies beside the test kernels. */
static void find_beside(const char *name, char *path_out, size_t path_bytes) {
  const char *kernels = kernels_path();
  const char *slash = strrchr(kernels, '/');
  int folder_bytes = slash == NULL ? 0 : (int)(slash - kernels);
  snprintf(path_out, path_bytes, "%.*s/%s%s", folder_bytes, kernels, name, LIBRARY_SUFFIX);
}

static loopback_controls controls;
static char driver_path[TEXT_BYTES];

static void find_control(void *library, const char *name, void *function_out, size_t function_bytes) {
  void *symbol = dlsym(library, name);
  if (symbol == NULL) {
    give_up("The loopback driver has too few controls.");
  }
  memcpy(function_out, &symbol, function_bytes);
}

#define FIND(field) find_control(library, "loopback_" #field, &controls.field, sizeof controls.field)

const loopback_controls *loopback(void) {
  if (controls.calls != NULL) {
    return &controls;
  }
  find_beside("libleasehold_test_cuda_driver", driver_path, sizeof driver_path);
  void *library = dlopen(driver_path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == NULL) {
    give_up("The loopback driver is missing.");
  }
  FIND(calls);
  FIND(reset);
  FIND(fail);
  FIND(pending_failures);
  FIND(violations);
  FIND(calls_after_loss);
  FIND(context_depth);
  FIND(live);
  FIND(is_lost);
  FIND(set_memory);
  FIND(set_delay);
  FIND(set_version);
  FIND(set_address_bits);
  return &controls;
}

const char *loopback_path(void) {
  loopback();
  return driver_path;
}

void check_driver_is_content(void) {
  char text[4096] = "";
  if (!CHECK_NUMBER(loopback()->violations(text, sizeof text), 0)) {
    printf("%s", text);
  }
  CHECK_NUMBER(loopback()->calls_after_loss(), 0);
  CHECK_NUMBER(loopback()->context_depth(), 0);
}

void check_driver_is_empty(void) {
  check_driver_is_content();
  for (int32_t kind = LOOPBACK_ALLOCATIONS; kind <= LOOPBACK_CONTEXTS; kind += 1) {
    CHECK_NUMBER(loopback()->live(kind), 0);
  }
}

/* Devices --------------------------------------------------------------------------------------------------------- */

uint32_t new_device(void) {
  static uint32_t used_count = 1;
  if (used_count == LOOPBACK_DEVICE_COUNT) {
    give_up("The loopback driver has too few devices.");
  }
  used_count += 1;
  return used_count - 1;
}

lh_status open_loopback(uint32_t device_index, const char *settings, lh_error *error, lh_context **context_out) {
  char text[2 * TEXT_BYTES];
  loopback();
  snprintf(text, sizeof text, "driver=%s%s%s", driver_path, settings[0] == '\0' ? "" : " ", settings);
  lh_open_options options = {.struct_bytes = sizeof options, .device_index = device_index, .settings = text};
  return lh_context_open(&options, error, context_out);
}

lh_context *open_cuda(uint32_t device_index, const char *settings) {
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *context = NULL;
  if (open_loopback(device_index, settings, &error, &context) != LH_OK) {
    give_up(error.detail);
  }
  return context;
}

lh_address take_host(lh_context *context, uint64_t byte_count) {
  lh_address address = 0;
  CHECK_STATUS(lh_host_malloc(context, byte_count, &address), LH_OK);
  return address;
}

/* Modules --------------------------------------------------------------------------------------------------------- */

char *write_module(const char *text) {
  const char *folder = getenv("TMPDIR");
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/leasehold-module-XXXXXX", folder == NULL ? "/tmp" : folder);
  int descriptor = mkstemp(path);
  if (descriptor < 0 || write(descriptor, text, strlen(text)) != (ssize_t)strlen(text)) {
    give_up("A module could not be written.");
  }
  close(descriptor);
  return strdup(path);
}

static char *write_library_module(const char *library, const char *abi) {
  char text[2 * TEXT_BYTES];
  snprintf(text, sizeof text, "leasehold loopback module\nlibrary=%s\n%s", library, abi);
  return write_module(text);
}

char *write_cuda_kernels(void) {
  char library[TEXT_BYTES];
  find_beside("libleasehold_test_cuda_kernels", library, sizeof library);
  return write_library_module(library, "");
}

/* Loads a module, whose file is gone afterwards. */
static lh_module load_once(lh_context *context, char *path) {
  lh_module module = 0;
  lh_status status = lh_module_load(context, path, &module);
  unlink(path);
  free(path);
  if (status != LH_OK) {
    give_up("The test kernels are missing.");
  }
  return module;
}

lh_module load_cuda_kernels(lh_context *context) { return load_once(context, write_cuda_kernels()); }

lh_module load_table_kernels(lh_context *context) {
  return load_once(context, write_library_module(kernels_path(), "abi=kernel\n"));
}

lh_kernel kernel_in(lh_context *context, lh_module module, const char *symbol) {
  lh_kernel kernel = 0;
  if (lh_kernel_find(context, module, symbol, &kernel) != LH_OK) {
    give_up("A test kernel is missing.");
  }
  return kernel;
}

/* Tables ---------------------------------------------------------------------------------------------------------- */

lh_parameter argument_parameter(double argument) { return (lh_parameter){.argument = argument}; }

lh_parameter constant(const void *value, double byte_count) {
  lh_parameter parameter = {.argument = -1, .byte_count = byte_count};
  memcpy(parameter.constant, value, (size_t)byte_count);
  return parameter;
}

lh_parameter constant_uint8(uint8_t value) { return constant(&value, sizeof value); }
lh_parameter constant_uint32(uint32_t value) { return constant(&value, sizeof value); }
lh_parameter constant_uint64(uint64_t value) { return constant(&value, sizeof value); }

lh_launch_step step_of(lh_kernel kernel, uint32_t first_parameter, uint32_t parameter_count) {
  return (lh_launch_step){
      .kernel = kernel,
      .grid = {1, 1, 1},
      .block = {1, 1, 1},
      .first_parameter = first_parameter,
      .parameter_count = parameter_count,
  };
}

lh_status launch_plan(lh_context *context, uint32_t lane, const lh_launch_plan *plan, const lh_argument *arguments,
                      uint32_t count, lh_ticket *ticket_out) {
  lh_geometry geometry = {.struct_bytes = sizeof geometry, .plan = plan};
  uint32_t failed_index = 0;
  return lh_launch(context, lane, 0, &geometry, arguments, count, 0, ticket_out, &failed_index);
}

lh_ticket block_lane(lh_context *context, uint32_t lane) {
  lh_kernel kernel = kernel_in(context, load_table_kernels(context), "test_gate");
  const lh_parameter parameters[] = {constant_uint32(0)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 1)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 1, .steps = steps, .parameters = parameters};
  lh_ticket ticket = 0;
  gate_close();
  CHECK_STATUS(launch_plan(context, lane, &plan, NULL, 0, &ticket), LH_OK);
  await_gate(1);
  return ticket;
}

void read_device(lh_context *context, void *destination, lh_address source, uint64_t byte_count) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_transfer transfer = copy_out(destination, source, (double)byte_count);
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, &transfer, 1, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
}

void write_device(lh_context *context, lh_address destination, const void *source, uint64_t byte_count) {
  lh_ticket ticket = 0;
  const lh_transfer transfer = copy_in(destination, source, (double)byte_count);
  CHECK_STATUS(submit(context, &transfer, 1, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
}
