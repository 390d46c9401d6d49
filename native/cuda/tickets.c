#include "cuda/tickets.h"

#include "common/numbers.h"
#include "cuda/context.h"

#include <stdlib.h>
#include <string.h>

outcome ticket_open(lh_context *context, uint32_t lane, bool is_launch, ticket_slot **slot_out) {
  ticket_table *table = &context->tickets;
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    ticket_slot *slot = &table->slots[index];
    if (slot->ticket != 0) {
      continue;
    }
    /* Tickets tell the slot, and are never given out twice. */
    slot->ticket = table->opened_count * TICKET_MAX_COUNT + index + 1;
    slot->stream = context->streams[lane];
    slot->is_launch = is_launch;
    slot->failed = success();
    table->opened_count += 1;
    table->in_flight_count += 1;
    *slot_out = slot;
    return success();
  }
  return failure(LH_BUSY, "No more work can be in flight before some has ended.");
}

outcome ticket_record(lh_context *context, ticket_slot *slot) {
  if (!context->setup.lanes_overlap) {
    return success();
  }
  const cuda_driver *driver = context->driver;
  if (slot->event == NULL) {
    outcome created =
        driver_outcome(context, driver->event_create(&slot->event, CU_EVENT_FLAG_DISABLE_TIMING), CALL_OTHER);
    if (created.status != LH_OK) {
      slot->event = NULL;
      return created;
    }
  }
  return driver_outcome(context, driver->event_record(slot->event, slot->stream), CALL_OTHER);
}

static void give_slot_back(ticket_table *table, ticket_slot *slot) {
  slot->ticket = 0;
  table->in_flight_count -= 1;
}

/* Frees what was pinned for a bounce. Where the driver refuses that, or is not called, the bounce stays. */
static void end_bounce(lh_context *context, bounce *ended, bool may_call) {
  bool is_freed = may_call && !context_is_lost(context) &&
                  driver_outcome(context, context->driver->mem_free_host(ended->pinned), CALL_OTHER).status == LH_OK;
  if (is_freed) {
    free(ended);
  } else {
    ended->next = context->tickets.unfreed;
    context->tickets.unfreed = ended;
  }
}

/* Moves what was copied out on to where it belongs, unless the copy failed, and frees what was pinned for it. */
static void end_bounces(lh_context *context, ticket_slot *slot, bool has_succeeded, bool may_call) {
  while (slot->bounces != NULL) {
    bounce *ended = slot->bounces;
    slot->bounces = ended->next;
    if (has_succeeded && ended->destination != NULL) {
      memcpy(ended->destination, ended->pinned, ended->byte_count);
    }
    end_bounce(context, ended, may_call);
  }
}

void ticket_discard(lh_context *context, ticket_slot *slot) {
  if (slot->bounces != NULL) {
    outcome begun = driver_begin(context);
    end_bounces(context, slot, false, begun.status == LH_OK);
    if (begun.status == LH_OK) {
      driver_end(context);
    }
  }
  give_slot_back(&context->tickets, slot);
}

static ticket_slot *find_slot(ticket_table *table, double ticket) {
  uint64_t number = 0;
  if (!safe_integer_read(ticket, &number) || number == 0) {
    return NULL;
  }
  ticket_slot *slot = &table->slots[(number - 1) % TICKET_MAX_COUNT];
  return slot->ticket == number ? slot : NULL;
}

/* What a kernel did wrong is told by whoever asks next; that a copy failed is told apart from that. */
static outcome failure_of_slot(lh_context *context, const ticket_slot *slot, cu_result code) {
  return driver_outcome(context, code, slot->is_launch ? CALL_LAUNCH : CALL_TRANSFER);
}

outcome tickets_fail(lh_context *context, cu_stream stream, cu_result code) {
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    ticket_slot *slot = &context->tickets.slots[index];
    if (slot->ticket != 0 && slot->stream == stream && slot->failed.status == LH_OK) {
      slot->failed = failure_of_slot(context, slot, code);
    }
  }
  return driver_outcome(context, code, CALL_OTHER);
}

/* A device whose driver tells again and again neither that work goes on nor that it has ended. Its memory is never safe again. */
enum { REFUSAL_MAX_COUNT = 32 };

static outcome refuse(lh_context *context, outcome refused) {
  if (refused.status == LH_DEVICE_LOST) {
    return refused;
  }
  context->tickets.refusal_count += 1;
  if (context->tickets.refusal_count < REFUSAL_MAX_COUNT) {
    return failure(LH_NOT_READY, "");
  }
  outcome lost = failure(LH_DEVICE_LOST, "The driver does not tell any more whether work has ended.");
  lost.device_code = refused.device_code;
  gpu_lose(context->gpu, lost, "");
  return lost;
}

/* Asks the event, or the stream where there is none. */
static cu_result query(lh_context *context, const ticket_slot *slot) {
  const cuda_driver *driver = context->driver;
  return context->setup.lanes_overlap ? driver->event_query(slot->event) : driver->stream_query(slot->stream);
}

static outcome ask(lh_context *context, ticket_slot *slot) {
  cu_result code = slot->failed.status == LH_OK ? query(context, slot) : CU_ERROR_NOT_READY;
  if (slot->failed.status == LH_OK && code != CU_SUCCESS && code != CU_ERROR_NOT_READY) {
    outcome failed = failure_of_slot(context, slot, code);
    slot->failed = failed;
    if (!context->setup.lanes_overlap && failed.status != LH_DEVICE_LOST) {
      tickets_fail(context, slot->stream, code);
    }
  }
  if (slot->failed.status == LH_DEVICE_LOST) {
    return slot->failed;
  }
  if (slot->failed.status != LH_OK) {
    code = context->driver->stream_query(slot->stream);
    if (code != CU_SUCCESS && code != CU_ERROR_NOT_READY) {
      return refuse(context, tickets_fail(context, slot->stream, code));
    }
  }
  context->tickets.refusal_count = 0;
  return code == CU_SUCCESS ? slot->failed : failure(LH_NOT_READY, "");
}

outcome ticket_poll(lh_context *context, double ticket) {
  ticket_slot *slot = find_slot(&context->tickets, ticket);
  if (slot == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The ticket is unknown, or its end was told already.");
  }
  outcome begun = driver_begin(context);
  outcome ended = begun.status == LH_OK ? ask(context, slot) : refuse(context, begun);
  if (ended.status != LH_NOT_READY) {
    end_bounces(context, slot, ended.status == LH_OK, begun.status == LH_OK);
    give_slot_back(&context->tickets, slot);
  }
  if (begun.status == LH_OK) {
    driver_end(context);
  }
  return ended;
}

void tickets_end_all(lh_context *context) {
  const cuda_driver *driver = context->driver;
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    ticket_slot *slot = &context->tickets.slots[index];
    if (context_is_lost(context)) {
      return;
    }
    if (slot->ticket != 0) {
      end_bounces(context, slot, false, true);
      give_slot_back(&context->tickets, slot);
    }
    if (slot->event != NULL && !context_is_lost(context)) {
      driver_outcome(context, driver->event_destroy(slot->event), CALL_OTHER);
      slot->event = NULL;
    }
  }
  bounce *unfreed = context->tickets.unfreed;
  context->tickets.unfreed = NULL;
  while (unfreed != NULL) {
    bounce *next = unfreed->next;
    end_bounce(context, unfreed, true);
    unfreed = next;
  }
}

static void forget_bounces(bounce *first) {
  while (first != NULL) {
    bounce *next = first->next;
    free(first);
    first = next;
  }
}

void tickets_dispose(ticket_table *table) {
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    forget_bounces(table->slots[index].bounces);
  }
  forget_bounces(table->unfreed);
}

outcome bounce_add(lh_context *context, ticket_slot *slot, size_t byte_count, void *destination, void **pinned_out) {
  bounce *added = calloc(1, sizeof *added);
  if (added == NULL) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.");
  }
  outcome pinned = driver_outcome(
      context, context->driver->mem_host_alloc(&added->pinned, byte_count, CU_MEM_HOST_ALLOC_FLAG_PORTABLE),
      CALL_HOST_ALLOCATION);
  if (pinned.status != LH_OK) {
    free(added);
    return pinned;
  }
  added->destination = destination;
  added->byte_count = byte_count;
  if (slot->bounces == NULL) {
    slot->bounces = added;
  } else {
    slot->last_bounce->next = added;
  }
  slot->last_bounce = added;
  *pinned_out = added->pinned;
  return success();
}
