/*
 * cuda_support.h: what the tests of the CUDA backend share. They run it over the loopback driver, which it loads as it would
 * load a GPU's, and which they control through its own entry points.
 */
#ifndef LEASEHOLD_TEST_CUDA_SUPPORT_H
#define LEASEHOLD_TEST_CUDA_SUPPORT_H

#include "support.h"
#include "test/loopback/loopback.h"

/* The loopback driver's controls, as loopback.h declares them. */
typedef struct loopback_controls {
  __typeof__(loopback_calls) *calls;
  __typeof__(loopback_reset) *reset;
  __typeof__(loopback_fail) *fail;
  __typeof__(loopback_pending_failures) *pending_failures;
  __typeof__(loopback_violations) *violations;
  __typeof__(loopback_calls_after_loss) *calls_after_loss;
  __typeof__(loopback_context_depth) *context_depth;
  __typeof__(loopback_live) *live;
  __typeof__(loopback_is_lost) *is_lost;
  __typeof__(loopback_set_memory) *set_memory;
  __typeof__(loopback_set_delay) *set_delay;
  __typeof__(loopback_set_version) *set_version;
  __typeof__(loopback_set_address_bits) *set_address_bits;
} loopback_controls;

/* Loads the loopback driver, which lies beside the test program, and ends the program where it is not there. */
const loopback_controls *loopback(void);

/* Where it lies. */
const char *loopback_path(void);

/* Makes a test of two runs of it, one with each way of the lanes. */
#define WITH_BOTH_LANES(name)                                                                                          \
  static void name(void) {                                                                                             \
    name##_with("lanes=serial");                                                                                       \
    name##_with("lanes=overlap");                                                                                      \
  }

/* Opens a device of the loopback driver. */
lh_status open_loopback(uint32_t device_index, const char *settings, lh_error *error, lh_context **context_out);

/* The same, or ends the program. */
lh_context *open_cuda(uint32_t device_index, const char *settings);

/* A device that no test has lost yet: one that is stays so as long as the process lives. Device 0 is never handed out. */
uint32_t new_device(void);

/* That nothing was done that no caller of a driver should do, and that this thread's contexts are popped. */
void check_driver_is_content(void);

/* That nothing lives in the driver, beside. */
void check_driver_is_empty(void);

/* A file with a module; the caller unlinks and frees it. */
char *write_module(const char *text);

/* A module of the kernels of cuda_kernels.c, as write_module leaves it. */
char *write_cuda_kernels(void);

/* Loads a module with the kernels of cuda_kernels.c, or with those of test_kernels.c, or ends the program. */
lh_module load_cuda_kernels(lh_context *context);
lh_module load_table_kernels(lh_context *context);

/* Finds a kernel in a module, or ends the program. */
lh_kernel kernel_in(lh_context *context, lh_module module, const char *symbol);

/* Tables --------------------------------------------------------------------------------------------------------- */

lh_parameter argument_parameter(double argument);
lh_parameter constant(const void *value, double byte_count);
lh_parameter constant_uint8(uint8_t value);
lh_parameter constant_uint32(uint32_t value);
lh_parameter constant_uint64(uint64_t value);

/* A step with a grid and a block of one. */
lh_launch_step step_of(lh_kernel kernel, uint32_t first_parameter, uint32_t parameter_count);

/* Launches a plan. */
lh_status launch_plan(lh_context *context, uint32_t lane, const lh_launch_plan *plan, const lh_argument *arguments,
                      uint32_t count, lh_ticket *ticket_out);

/* Puts a kernel on a lane that ends when the gate opens, and waits until it stands there: everything behind it is in flight. */
lh_ticket block_lane(lh_context *context, uint32_t lane);

/* Copies device memory out to plain host memory, and waits for it. */
void read_device(lh_context *context, void *destination, lh_address source, uint64_t byte_count);
void write_device(lh_context *context, lh_address destination, const void *source, uint64_t byte_count);

lh_address take_host(lh_context *context, uint64_t byte_count);

static inline uint8_t *host_bytes(lh_address address) { return (uint8_t *)(uintptr_t)address; }

#endif
