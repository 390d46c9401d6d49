/*
 * context.h: one open device: what it is made of, and how calls enter and leave it.
 *
 * One mutex guards the tables. Calls of the driver that may take long are made without it, so that nobody who only asks
 * whether work has ended waits for somebody who allocates; what is looked at before such a call may have changed after it.
 *
 * A context is counted: by its owner and by every call inside it. Whoever leaves last ends it. So a context can be abandoned
 * while a call hangs in the driver.
 */
#ifndef LEASEHOLD_CUDA_CONTEXT_H
#define LEASEHOLD_CUDA_CONTEXT_H

#include "common/outcome.h"
#include "common/ranges.h"
#include "cuda/devices.h"
#include "cuda/driver_library.h"
#include "cuda/failures.h"
#include "cuda/modules.h"
#include "cuda/settings.h"
#include "cuda/tickets.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* An allocation that was made larger, so that an address in it is aligned. */
typedef struct raised_allocation {
  uint64_t address;        /* as handed out */
  cu_device_address start; /* as the driver knows it */
} raised_allocation;

struct lh_context {
  const cuda_driver *driver;
  cuda_gpu *gpu;
  cu_context primary;
  cuda_settings setup;
  uint64_t argument_max_bytes;
  /* One for each lane; all the same where the lanes are serial. */
  cu_stream streams[LH_LANE_COUNT];
  pthread_mutex_t mutex;
  uint32_t reference_count;
  bool is_abandoned;
  lh_statistics counters;
  lh_error last_error;
  ranges allocations;
  raised_allocation *raised;
  size_t raised_count;
  ranges host_blocks;
  ranges registered;
  ticket_table tickets;
  gpu_module_table modules;
};

/* The longest that a call waits for the device, in nanoseconds. */
#define WAIT_MAX_NANOS 100000000ull

/* Opens the device. On failure, `detail` holds a sentence. */
lh_status context_open(const cuda_settings *setup, uint32_t device_index, lh_error *error, lh_context **context_out);

/* Frees all memory and ends the context; one that does not come to rest in time is abandoned instead. */
void context_close(lh_context *context);

/* Ends the owner's hold without a call of the driver. */
void context_abandon(lh_context *context);

/* Locks the context for a call. Whatever comes out, one leave follows. */
outcome context_enter(lh_context *context);

/* Enters for a call that a lost context answers too. */
void context_enter_lost(lh_context *context);

/* Whether the device is lost: then no call of the driver is made. */
bool context_is_lost(const lh_context *context);

/* Records a failure for lh_last_error, unlocks the context, and returns the status. */
lh_status context_leave(lh_context *context, outcome result);

/* Leaves, and on failure says which entry failed. */
lh_status context_leave_table(lh_context *context, outcome result, uint32_t *failed_index_out);

/* Where the driver knows an allocation by that starts at this address. */
cu_device_address allocation_start(const lh_context *context, uint64_t address);

/* Makes the device's context current on this thread, with the mutex held or not. One end follows where it succeeds. */
outcome driver_begin(lh_context *context);
void driver_end(lh_context *context);

/* How a call of the driver ended. One that lost the device is written down for everybody. */
outcome driver_outcome(lh_context *context, cu_result code, call_purpose purpose);

#endif
