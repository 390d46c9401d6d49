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

/* Moves what was copied out on to where it belongs, unless the copy failed, and frees what was pinned for it. */
static void end_bounces(lh_context *context, ticket_slot *slot, bool has_succeeded, bool may_free) {
  while (slot->bounces != NULL) {
    bounce *ended = slot->bounces;
    slot->bounces = ended->next;
    if (has_succeeded && ended->destination != NULL) {
      memcpy(ended->destination, ended->pinned, ended->byte_count);
    }
    if (may_free) {
      driver_outcome(context, context->driver->mem_free_host(ended->pinned), CALL_OTHER);
    }
    free(ended);
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
static outcome ask(lh_context *context, const ticket_slot *slot) {
  const cuda_driver *driver = context->driver;
  cu_result code =
      context->setup.lanes_overlap ? driver->event_query(slot->event) : driver->stream_query(slot->stream);
  if (code == CU_ERROR_NOT_READY) {
    return failure(LH_NOT_READY, "");
  }
  return driver_outcome(context, code, slot->is_launch ? CALL_LAUNCH : CALL_TRANSFER);
}

outcome ticket_poll(lh_context *context, double ticket) {
  ticket_slot *slot = find_slot(&context->tickets, ticket);
  if (slot == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The ticket is unknown, or its end was told already.");
  }
  outcome begun = driver_begin(context);
  outcome ended = begun.status == LH_OK ? ask(context, slot) : begun;
  if (ended.status != LH_NOT_READY) {
    end_bounces(context, slot, ended.status == LH_OK, ended.status != LH_DEVICE_LOST);
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
    if (slot->event != NULL) {
      driver_outcome(context, driver->event_destroy(slot->event), CALL_OTHER);
      slot->event = NULL;
    }
  }
}

void tickets_dispose(ticket_table *table) {
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    while (table->slots[index].bounces != NULL) {
      bounce *left = table->slots[index].bounces;
      table->slots[index].bounces = left->next;
      free(left);
    }
  }
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
  added->next = slot->bounces;
  slot->bounces = added;
  *pinned_out = added->pinned;
  return success();
}
