/*
 * abi_work.c: the exported functions of the header's section on work.
 */
#include "context.h"
#include "common/transfers.h"

/* On a real device its own memory is no host memory, whether it is in use or not, so it is not here either. */
static memory_map context_memory(const lh_context *context) {
  const arena *device = &context->device;
  return (memory_map){
      .allocations = &device->allocations,
      .host_blocks = &context->host.blocks,
      .device_address = device->mapping_address,
      .device_bytes = device->mapping_bytes,
  };
}

/* Work that ends within the call. */
static outcome perform_now(lh_context *context, work *performed) {
  work_accept(context, performed);
  outcome result = work_perform(context, performed);
  clock_host_saw(&context->clock, performed->end_nanos);
  return result;
}

/* The entries for the device get a ticket; those for the host, which come first, happen now. */
static outcome submit_late(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count,
                           lh_ticket *ticket_out) {
  uint32_t host_count = transfers_host_count(transfers, count);
  uint32_t device_count = count - host_count;
  ticket_slot *slot = NULL;
  if (device_count > 0) {
    outcome opened = ticket_open(context, transfers + host_count, device_count * sizeof *transfers, &slot);
    if (opened.status != LH_OK) {
      return opened;
    }
    /* Accepted before the host's entries happen, because the mutex is free meanwhile and memory might be freed. */
    slot->task = work_of_transfers(context, lane, slot->table, device_count);
    work_accept(context, &slot->task);
  }
  outcome result = success();
  if (host_count > 0) {
    work on_host = work_of_transfers(context, NO_LANE, transfers, host_count);
    result = perform_now(context, &on_host);
  }
  if (slot == NULL) {
    *ticket_out = 0;
    return result;
  }
  if (result.status != LH_OK || context->is_lost) {
    outcome lost = failure(LH_DEVICE_LOST, "The device was lost before the work began.");
    work_drop(context, &slot->task, lost);
    ticket_discard(context, slot);
    return lost;
  }
  *ticket_out = (double)slot->ticket;
  ticket_queue(context, slot);
  return success();
}

static outcome submit(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count,
                      lh_ticket *ticket_out) {
  if (ticket_out == NULL || (transfers == NULL && count > 0)) {
    return failure(LH_INVALID_ARGUMENT, "The table or the place for the ticket is null.");
  }
  if (lane >= LH_LANE_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "There is no such lane.");
  }
  bool completes_late = context->setup.completes_late;
  const memory_map memory = context_memory(context);
  outcome checked = transfers_check(
      transfers, count, completes_late ? TRANSFERS_HOST_ENTRIES_FIRST : TRANSFERS_IN_ANY_ORDER, &memory);
  if (checked.status != LH_OK) {
    return checked;
  }
  if (completes_late) {
    return submit_late(context, lane, transfers, count, ticket_out);
  }
  work submitted = work_of_transfers(context, lane, transfers, count);
  outcome result = perform_now(context, &submitted);
  if (result.status == LH_OK) {
    *ticket_out = 0;
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
  if (checked.status != LH_OK) {
    return checked;
  }
  work collected = work_of_transfers(context, NO_LANE, transfers, count);
  return perform_now(context, &collected);
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

lh_status lh_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = ticket_wait(context, ticket, timeout_nanos);
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
                                    : failure(LH_UNSUPPORTED, "The simulator has no descriptor to watch.");
  }
  return context_leave(context, result);
}
