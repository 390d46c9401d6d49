#include "context.h"

#include "common/structs.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Waits with a timeout must not follow somebody who sets the wall clock. */
static int init_condition(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  int code = pthread_condattr_init(&attributes);
  if (code != 0) {
    return code;
  }
  code = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  if (code == 0) {
    code = pthread_cond_init(condition, &attributes);
  }
  pthread_condattr_destroy(&attributes);
  return code;
}

static lh_status init_locks(lh_context *context) {
  if (pthread_mutex_init(&context->mutex, NULL) != 0) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  if (init_condition(&context->changed) != 0) {
    pthread_mutex_destroy(&context->mutex);
    return LH_HOST_OUT_OF_MEMORY;
  }
  return LH_OK;
}

static void destroy_locks(lh_context *context) {
  pthread_cond_destroy(&context->changed);
  pthread_mutex_destroy(&context->mutex);
}

lh_status context_open(const settings *setup, lh_context **context_out) {
  lh_context *context = calloc(1, sizeof *context);
  if (context == NULL) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  context->setup = *setup;
  context->reference_count = 1;
  clock_open(&context->clock, setup);
  lh_status status = init_locks(context);
  if (status != LH_OK) {
    free(context);
    return status;
  }
  status = arena_open(&context->device, setup->total_bytes, setup->alignment_bytes, setup->size_granularity_bytes);
  if (status == LH_OK && setup->completes_late) {
    pthread_mutex_lock(&context->mutex);
    status = lanes_ready(context);
    if (status != LH_OK) {
      lanes_stop(context);
    }
    pthread_mutex_unlock(&context->mutex);
    if (status != LH_OK) {
      lanes_dispose(context);
      arena_close(&context->device);
    }
  }
  if (status != LH_OK) {
    destroy_locks(context);
    free(context);
    return status;
  }
  *context_out = context;
  return LH_OK;
}

void context_release(lh_context *context) {
  assert(context->reference_count > 0);
  context->reference_count -= 1;
  bool is_last = context->reference_count == 0;
  if (context->is_closing) {
    pthread_cond_broadcast(&context->changed);
  }
  pthread_mutex_unlock(&context->mutex);
  if (!is_last) {
    return;
  }
  if (context->is_abandoned) {
    arena_forget(&context->device);
    host_memory_forget(&context->host);
  } else {
    arena_close(&context->device);
    host_memory_close(&context->host);
  }
  lanes_dispose(context);
  destroy_locks(context);
  free(context);
}

void context_close(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->is_closing = true;
  /* Once every call has left, nothing is queued any more; then the threads of the lanes do what is left, and end. */
  while (context->reference_count > 1 + context->lanes.thread_count) {
    pthread_cond_wait(&context->changed, &context->mutex);
  }
  lanes_stop(context);
  assert(context->reference_count == 1);
  assert(context->works.first == NULL);
  context_release(context);
}

void context_abandon(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->is_abandoned = true;
  context_lose(context, failure(LH_DEVICE_LOST, "The context was abandoned."));
  lanes_detach(context);
  context_release(context);
}

outcome context_enter(lh_context *context) {
  context_enter_lost(context);
  if (context->is_lost) {
    return failure(LH_DEVICE_LOST, "The device is lost.");
  }
  if (context->is_closing) {
    return failure(LH_INVALID_ARGUMENT, "The context is closing.");
  }
  return success();
}

void context_enter_lost(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->reference_count += 1;
}

static void record(lh_context *context, outcome failed) {
  lh_error *error = &context->last_error;
  memset(error, 0, sizeof *error);
  error->struct_bytes = sizeof *error;
  error->status = failed.status;
  error->device_code = failed.device_code;
  error->entry_index = failed.entry_index;
  snprintf(error->detail, sizeof error->detail, "%s", failed.detail);
}

void context_lose(lh_context *context, outcome failed) {
  if (!context->is_lost) {
    context->is_lost = true;
    record(context, failed);
  }
  pthread_cond_broadcast(&context->changed);
}

/* That work has not ended yet is an answer, not a failure; and a lost device keeps the record of how it was lost. */
static bool is_recorded(const lh_context *context, lh_status status) {
  return status != LH_OK && status != LH_NOT_READY && status != LH_TIMEOUT && !context->is_lost;
}

lh_status context_leave(lh_context *context, outcome result) {
  if (is_recorded(context, result.status)) {
    record(context, result);
  }
  context_release(context);
  return result.status;
}

lh_status context_leave_table(lh_context *context, outcome result, uint32_t *failed_index_out) {
  if (result.status != LH_OK) {
    *failed_index_out = result.entry_index;
  }
  return context_leave(context, result);
}
