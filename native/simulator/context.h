/*
 * context.h: one open device: what it is made of, and how calls enter and leave it.
 *
 * One mutex guards everything but the bytes of device and host memory. Whoever moves bytes, runs a kernel or sleeps
 * does so without it, and is on the list of works meanwhile, so that memory is not freed under it.
 *
 * A context is counted: by its owner, by every call inside it, and by every thread of the device. Whoever leaves last
 * ends it. So a context can be abandoned while a kernel hangs in it.
 */
#ifndef LEASEHOLD_SIMULATOR_CONTEXT_H
#define LEASEHOLD_SIMULATOR_CONTEXT_H

#include "arena.h"
#include "cost.h"
#include "host_memory.h"
#include "lanes.h"
#include "common/modules.h"
#include "common/outcome.h"
#include "settings.h"
#include "work.h"

#include <pthread.h>

struct lh_context {
  settings setup; /* never changes once the context is open */
  pthread_mutex_t mutex;
  pthread_cond_t changed; /* some work ended, the device was lost, or a call left */
  uint32_t reference_count;
  bool is_closing;
  bool is_lost;
  bool is_abandoned;
  bool kernel_is_running;
  lh_statistics counters; /* the counts; what can be read off elsewhere is filled in when it is asked for */
  lh_error last_error;
  arena device;
  host_memory host;
  device_clock clock;
  work_list works;
  lane_set lanes;
  module_table modules;
};

lh_status context_open(const settings *setup, lh_context **context_out);

/* Waits for all work, frees all memory, and ends the context. */
void context_close(lh_context *context);

/* Ends the owner's hold. Memory stays mapped for ever; threads end by themselves, or hang where they hang. */
void context_abandon(lh_context *context);

/* Locks the context for a call. Whatever comes out, one leave follows. */
outcome context_enter(lh_context *context);

/* Enters for a call that a lost context answers too. */
void context_enter_lost(lh_context *context);

/* Records a failure for lh_last_error, unlocks the context, and returns the status. */
lh_status context_leave(lh_context *context, outcome result);

/* Leaves, and on failure says which entry failed. */
lh_status context_leave_table(lh_context *context, outcome result, uint32_t *failed_index_out);

/* Drops a reference, with the mutex held; gives the mutex back, and ends the context where nobody is left. */
void context_release(lh_context *context);

/* Marks the device as lost, for good, and wakes whoever waits. The record of it is kept, whatever fails later. */
void context_lose(lh_context *context, outcome failed);

#endif
