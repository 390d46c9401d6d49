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
    slot->has_begun = false;
    slot->is_recorded = false;
    slot->failed = success();
    table->opened_count += 1;
    table->in_flight_count += 1;
    *slot_out = slot;
    return success();
  }
  return failure(LH_BUSY, "No more work can be in flight before some has ended.");
}

outcome ticket_put(lh_context *context, ticket_slot *slot, cu_result code) {
  /* A call that fails has put nothing there, unless the device is lost. */
  slot->has_begun = slot->has_begun || code == CU_SUCCESS;
  return driver_outcome(context, code, slot->is_launch ? CALL_LAUNCH : CALL_TRANSFER);
}

static outcome record_event(lh_context *context, ticket_slot *slot) {
  const cuda_driver *driver = context->driver;
  if (slot->event == NULL) {
    outcome created =
        driver_outcome(context, driver->event_create(&slot->event, CU_EVENT_FLAG_DISABLE_TIMING), CALL_OTHER);
    if (created.status != LH_OK) {
      slot->event = NULL;
      return created;
    }
  }
  outcome recorded = driver_outcome(context, driver->event_record(slot->event, slot->stream), CALL_OTHER);
  slot->is_recorded = recorded.status == LH_OK;
  return recorded;
}

outcome ticket_record(lh_context *context, ticket_slot *slot, outcome put) {
  if (put.status == LH_DEVICE_LOST || !slot->has_begun || !context->setup.lanes_overlap) {
    return put;
  }
  outcome recorded = record_event(context, slot);
  return put.status == LH_OK || recorded.status == LH_DEVICE_LOST ? recorded : put;
}

/* Moves what was copied out on to where it belongs, unless the copy failed. What was pinned for it lies idle then. */
static void end_bounces(ticket_table *table, ticket_slot *slot, bool has_succeeded) {
  while (slot->bounces != NULL) {
    bounce *ended = slot->bounces;
    slot->bounces = ended->next;
    if (has_succeeded && ended->destination != NULL) {
      memcpy(ended->destination, ended->pinned, ended->byte_count);
    }
    ended->next = table->idle;
    table->idle = ended;
  }
}

/*
 * The driver waits for all work of the device before it frees pinned memory, so that is done when there is none; and what it
 * refuses to free stays for the next time. Called between begin and end.
 */
static void free_idle_bounces(lh_context *context) {
  bounce **link = &context->tickets.idle;
  while (*link != NULL && !context_is_lost(context)) {
    bounce *idle = *link;
    if (driver_outcome(context, context->driver->mem_free_host(idle->pinned), CALL_OTHER).status == LH_OK) {
      *link = idle->next;
      free(idle);
    } else {
      link = &idle->next;
    }
  }
}

/* Between begin and end where `may_call` says so. */
static void end_slot(lh_context *context, ticket_slot *slot, bool has_succeeded, bool may_call) {
  end_bounces(&context->tickets, slot, has_succeeded);
  slot->ticket = 0;
  context->tickets.in_flight_count -= 1;
  if (may_call && context->tickets.in_flight_count == 0) {
    free_idle_bounces(context);
  }
}

outcome ticket_refuse(lh_context *context, ticket_slot *slot, outcome refused) {
  if (!slot->has_begun || refused.status == LH_DEVICE_LOST) {
    outcome begun = slot->bounces == NULL ? refused : driver_begin(context);
    end_slot(context, slot, false, begun.status == LH_OK);
    if (begun.status == LH_OK) {
      driver_end(context);
    }
    return refused;
  }
  slot->failed = refused;
  return success();
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
  return slot->is_recorded ? driver->event_query(slot->event) : driver->stream_query(slot->stream);
}

static bool is_failure(cu_result code) { return code != CU_SUCCESS && code != CU_ERROR_NOT_READY; }

/* The work has failed, or perhaps only the question; from here on the stream tells when the work has ended. */
static cu_result query_after_failure(lh_context *context, ticket_slot *slot, cu_result code) {
  bool is_of_stream = !slot->is_recorded;
  slot->failed = failure_of_slot(context, slot, code);
  slot->is_recorded = false;
  if (slot->failed.status == LH_DEVICE_LOST) {
    return code;
  }
  if (is_of_stream) {
    tickets_fail(context, slot->stream, code);
  }
  return query(context, slot);
}

static outcome ask(lh_context *context, ticket_slot *slot) {
  cu_result code = query(context, slot);
  if (is_failure(code) && slot->failed.status == LH_OK) {
    code = query_after_failure(context, slot, code);
  }
  if (slot->failed.status == LH_DEVICE_LOST) {
    return slot->failed;
  }
  if (is_failure(code)) {
    slot->is_recorded = false;
    return refuse(context, tickets_fail(context, slot->stream, code));
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
    end_slot(context, slot, ended.status == LH_OK, begun.status == LH_OK);
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
    if (slot->ticket != 0) {
      end_slot(context, slot, false, false);
    }
    if (slot->event != NULL && !context_is_lost(context)) {
      driver_outcome(context, driver->event_destroy(slot->event), CALL_OTHER);
      slot->event = NULL;
    }
  }
  free_idle_bounces(context);
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
  forget_bounces(table->idle);
}

/* Takes idle memory that is large enough, or nothing. */
static bounce *take_idle(lh_context *context, size_t byte_count) {
  pthread_mutex_lock(&context->mutex);
  bounce **link = &context->tickets.idle;
  while (*link != NULL && (*link)->pinned_bytes < byte_count) {
    link = &(*link)->next;
  }
  bounce *taken = *link;
  if (taken != NULL) {
    *link = taken->next;
  }
  pthread_mutex_unlock(&context->mutex);
  return taken;
}

static outcome pin_bounce(lh_context *context, size_t byte_count, bounce **pinned_out) {
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
  added->pinned_bytes = byte_count;
  *pinned_out = added;
  return pinned;
}

outcome bounce_add(lh_context *context, ticket_slot *slot, size_t byte_count, void *destination, void **pinned_out) {
  bounce *added = take_idle(context, byte_count);
  outcome pinned = added == NULL ? pin_bounce(context, byte_count, &added) : success();
  if (pinned.status != LH_OK) {
    return pinned;
  }
  added->next = NULL;
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
