/*
 * abi_work.c: the exported functions of the header's section on work.
 */
#include "common/transfers.h"
#include "cuda/context.h"
#include "cuda/copies.h"
#include "cuda/pause.h"

/* Device and host addresses are of one space, so that device memory is told from host memory by what is live. */
static memory_map context_memory(const lh_context *context) {
  return (memory_map){.allocations = &context->allocations, .host_blocks = &context->host_blocks};
}

static outcome put_on_stream(lh_context *context, ticket_slot *slot, const lh_transfer *transfers, uint32_t count) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = copies_submit(context, slot, transfers, count);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome submit(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count,
                      lh_ticket *ticket_out) {
  if (ticket_out == NULL || (transfers == NULL && count > 0)) {
    return failure(LH_INVALID_ARGUMENT, "The table or the place for the ticket is null.");
  }
  if (lane >= LH_LANE_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "There is no such lane.");
  }
  const memory_map memory = context_memory(context);
  outcome checked = transfers_check(transfers, count, TRANSFERS_HOST_ENTRIES_FIRST, &memory);
  if (checked.status == LH_OK) {
    checked = copies_check(context, transfers, count);
  }
  if (checked.status != LH_OK) {
    return checked;
  }
  if (transfers_host_count(transfers, count) == count) {
    transfers_perform(transfers, count);
    *ticket_out = 0;
    return success();
  }
  ticket_slot *slot = NULL;
  outcome result = ticket_open(context, lane, false, &slot);
  if (result.status != LH_OK) {
    return result;
  }
  result = put_on_stream(context, slot, transfers, count);
  if (result.status == LH_OK) {
    copies_count(context, transfers, count);
  } else {
    result = ticket_refuse(context, slot, result);
  }
  if (result.status == LH_OK) {
    *ticket_out = (double)slot->ticket;
  }
  return result;
}

lh_status lh_submit(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count,
                    lh_ticket *ticket_out, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = submit(context, lane, transfers, count, ticket_out);
  }
  return context_leave_table(context, result, failed_index_out);
}

static outcome collect(lh_context *context, const lh_transfer *transfers, uint32_t count) {
  if (transfers == NULL && count > 0) {
    return failure(LH_INVALID_ARGUMENT, "The table is null.");
  }
  const memory_map memory = context_memory(context);
  outcome checked = transfers_check(transfers, count, TRANSFERS_HOST_ENTRIES_ONLY, &memory);
  if (checked.status == LH_OK) {
    transfers_perform(transfers, count);
  }
  return checked;
}

lh_status lh_collect(lh_context *context, const lh_transfer *transfers, uint32_t count, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = collect(context, transfers, count);
  }
  return context_leave_table(context, result, failed_index_out);
}

lh_status lh_poll(lh_context *context, lh_ticket ticket, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = ticket_poll(context, ticket);
  }
  return context_leave_table(context, result, failed_index_out);
}

/* Asks again and again, with the mutex given up in between. */
static outcome wait_for(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos) {
  patience left = patience_of(timeout_nanos < WAIT_MAX_NANOS ? timeout_nanos : WAIT_MAX_NANOS);
  for (;;) {
    outcome ended = ticket_poll(context, ticket);
    if (ended.status != LH_NOT_READY) {
      return ended;
    }
    pthread_mutex_unlock(&context->mutex);
    bool may_go_on = patience_pause(&left);
    pthread_mutex_lock(&context->mutex);
    if (!may_go_on) {
      return failure(LH_TIMEOUT, "The work has not ended yet.");
    }
  }
}

lh_status lh_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = wait_for(context, ticket, timeout_nanos);
  }
  return context_leave_table(context, result, failed_index_out);
}

lh_status lh_completion_descriptor(lh_context *context, int32_t *descriptor_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = descriptor_out == NULL ? failure(LH_INVALID_ARGUMENT, "The place for the descriptor is null.")
                                    : failure(LH_UNSUPPORTED, "The driver has no descriptor to watch.");
  }
  return context_leave(context, result);
}
