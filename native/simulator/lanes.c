#include "lanes.h"

#include "context.h"
#include "common/numbers.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MAX_NANOS 100000000u
#define NANOS_PER_SECOND 1000000000u

/*
 * How long a wait looks before it sleeps: longer than it takes to hand a thread a small piece of work, shorter than anybody
 * notices. Looks at the clock, and lets others have the processor, only now and then.
 */
enum { SPIN_NANOS = 50000, SPIN_LOOKS = 64 };

/* Threads -------------------------------------------------------------------------------------------------------- */

static ticket_slot *take_first(lane_thread *lane) {
  ticket_slot *slot = lane->first;
  lane->first = slot->next;
  if (lane->first == NULL) {
    lane->last = NULL;
  }
  slot->next = NULL;
  return slot;
}

static void end_ticket(lh_context *context, ticket_slot *slot) {
  context->lanes.in_flight_count -= 1;
  atomic_store_explicit(&slot->ended_ticket, slot->ticket, memory_order_release);
}

static void *lane_main(void *argument) {
  lane_thread *lane = argument;
  lh_context *context = lane->context;
  pthread_mutex_lock(&context->mutex);
  for (;;) {
    while (lane->first == NULL && !context->lanes.is_stopping) {
      pthread_cond_wait(&lane->arrived, &context->mutex);
    }
    if (lane->first == NULL) {
      break;
    }
    ticket_slot *slot = take_first(lane);
    work_perform(context, &slot->task);
    end_ticket(context, slot);
  }
  context_release(context);
  return NULL;
}

/* The signals of the process are for its own threads. */
static int start_thread(lane_thread *lane) {
  sigset_t all_signals;
  sigset_t previous_signals;
  sigfillset(&all_signals);
  pthread_sigmask(SIG_SETMASK, &all_signals, &previous_signals);
  int code = pthread_create(&lane->thread, NULL, lane_main, lane);
  pthread_sigmask(SIG_SETMASK, &previous_signals, NULL);
  return code;
}

static lh_status add_thread(lh_context *context) {
  lane_set *lanes = &context->lanes;
  lane_thread *lane = &lanes->threads[lanes->thread_count];
  lane->context = context;
  if (pthread_cond_init(&lane->arrived, NULL) != 0) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  context->reference_count += 1;
  if (start_thread(lane) != 0) {
    context->reference_count -= 1;
    pthread_cond_destroy(&lane->arrived);
    return LH_HOST_OUT_OF_MEMORY;
  }
  lanes->thread_count += 1;
  return LH_OK;
}

static lh_status add_slots(lane_set *lanes) {
  lanes->slots = calloc(TICKET_MAX_COUNT, sizeof *lanes->slots);
  if (lanes->slots == NULL) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    lanes->free_slots[index] = TICKET_MAX_COUNT - 1 - index;
  }
  lanes->free_slot_count = TICKET_MAX_COUNT;
  return LH_OK;
}

lh_status lanes_ready(lh_context *context) {
  lane_set *lanes = &context->lanes;
  uint32_t thread_count = context->setup.lanes_overlap ? LH_LANE_COUNT : 1;
  lh_status status = lanes->slots == NULL ? add_slots(lanes) : LH_OK;
  while (status == LH_OK && lanes->thread_count < thread_count) {
    status = add_thread(context);
  }
  return status;
}

static void wake_to_stop(lane_set *lanes) {
  lanes->is_stopping = true;
  for (uint32_t index = 0; index < lanes->thread_count; index += 1) {
    pthread_cond_broadcast(&lanes->threads[index].arrived);
  }
}

void lanes_stop(lh_context *context) {
  lane_set *lanes = &context->lanes;
  wake_to_stop(lanes);
  pthread_mutex_unlock(&context->mutex);
  for (uint32_t index = 0; index < lanes->thread_count; index += 1) {
    pthread_join(lanes->threads[index].thread, NULL);
  }
  pthread_mutex_lock(&context->mutex);
}

void lanes_detach(lh_context *context) {
  lane_set *lanes = &context->lanes;
  wake_to_stop(lanes);
  for (uint32_t index = 0; index < lanes->thread_count; index += 1) {
    pthread_detach(lanes->threads[index].thread);
  }
}

void lanes_dispose(lh_context *context) {
  lane_set *lanes = &context->lanes;
  if (lanes->slots == NULL) {
    return;
  }
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    free(lanes->slots[index].table);
  }
  free(lanes->slots);
  lanes->slots = NULL;
  for (uint32_t index = 0; index < lanes->thread_count; index += 1) {
    pthread_cond_destroy(&lanes->threads[index].arrived);
  }
}

/* Tickets -------------------------------------------------------------------------------------------------------- */

static void *copy_table(const void *table, size_t table_bytes) {
  /* An empty table still gets an address of its own: a kernel may be launched without arguments. */
  void *copy = malloc(table_bytes == 0 ? 1 : table_bytes);
  if (copy != NULL && table_bytes > 0) {
    memcpy(copy, table, table_bytes);
  }
  return copy;
}

outcome ticket_open(lh_context *context, const void *table, size_t table_bytes, ticket_slot **slot_out) {
  lane_set *lanes = &context->lanes;
  if (table_bytes > TICKET_TABLES_MAX_BYTES) {
    return failure(LH_INVALID_ARGUMENT, "The table is larger than all that can be queued.");
  }
  if (lanes->free_slot_count == 0) {
    return failure(LH_BUSY, "All tickets are open: poll or wait for some, and try again.");
  }
  if (table_bytes > TICKET_TABLES_MAX_BYTES - lanes->table_bytes) {
    return failure(LH_BUSY, "The tables of the open tickets leave no room: poll or wait for some, and try again.");
  }
  void *copy = copy_table(table, table_bytes);
  if (copy == NULL) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room for a copy of the table.");
  }
  lanes->free_slot_count -= 1;
  uint32_t index = lanes->free_slots[lanes->free_slot_count];
  lanes->ticket_count += 1;
  ticket_slot *slot = &lanes->slots[index];
  assert(slot->ticket == 0);
  slot->table = copy;
  slot->table_bytes = table_bytes;
  /* Never the same number twice, and the slot can be read off it. */
  slot->ticket = lanes->ticket_count * TICKET_MAX_COUNT + index;
  lanes->table_bytes += table_bytes;
  lanes->in_flight_count += 1;
  *slot_out = slot;
  return success();
}

static void close_ticket(lh_context *context, ticket_slot *slot) {
  lane_set *lanes = &context->lanes;
  free(slot->table);
  lanes->table_bytes -= slot->table_bytes;
  slot->table = NULL;
  slot->table_bytes = 0;
  slot->ticket = 0;
  lanes->free_slots[lanes->free_slot_count] = (uint32_t)(slot - lanes->slots);
  lanes->free_slot_count += 1;
}

void ticket_discard(lh_context *context, ticket_slot *slot) {
  context->lanes.in_flight_count -= 1;
  close_ticket(context, slot);
}

void ticket_queue(lh_context *context, ticket_slot *slot) {
  assert(!context->lanes.is_stopping);
  lane_thread *lane = &context->lanes.threads[context->setup.lanes_overlap ? slot->task.lane : 0];
  if (lane->last == NULL) {
    lane->first = slot;
  } else {
    lane->last->next = slot;
  }
  lane->last = slot;
  pthread_cond_signal(&lane->arrived);
}

/* The slot of an open ticket, or null. */
static ticket_slot *find_ticket(lh_context *context, uint64_t ticket) {
  if (ticket == 0 || context->lanes.slots == NULL) {
    return NULL;
  }
  ticket_slot *slot = &context->lanes.slots[ticket % TICKET_MAX_COUNT];
  return slot->ticket == ticket ? slot : NULL;
}

static bool has_ended(ticket_slot *slot, uint64_t ticket) {
  return atomic_load_explicit(&slot->ended_ticket, memory_order_acquire) == ticket;
}

static outcome look_at(lh_context *context, uint64_t ticket) {
  if (context->is_lost) {
    return failure(LH_DEVICE_LOST, "The device is lost.");
  }
  ticket_slot *slot = find_ticket(context, ticket);
  if (slot == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The ticket is unknown, or its end was told already.");
  }
  if (!has_ended(slot, ticket)) {
    return failure(LH_NOT_READY, "");
  }
  outcome result = slot->task.result;
  clock_host_saw(&context->clock, slot->task.end_nanos);
  close_ticket(context, slot);
  return result;
}

outcome ticket_poll(lh_context *context, lh_ticket ticket) {
  uint64_t number = 0;
  return safe_integer_read(ticket, &number) ? look_at(context, number)
                                            : failure(LH_INVALID_ARGUMENT, "The ticket is no integer.");
}

/*
 * Gives the mutex up and looks again and again for a moment, which is cheaper than sleeping for work that is short. Where
 * somebody else is told of the end first, and the slot goes to another ticket, the moment passes and nothing is seen.
 */
static void spin(lh_context *context, uint64_t ticket, uint64_t deadline_nanos) {
  ticket_slot *slot = find_ticket(context, ticket);
  uint64_t spin_end_nanos = uint64_min(deadline_nanos, monotonic_nanos() + SPIN_NANOS);
  pthread_mutex_unlock(&context->mutex);
  while (!has_ended(slot, ticket) && monotonic_nanos() < spin_end_nanos) {
    for (int look = 0; look < SPIN_LOOKS && !has_ended(slot, ticket); look += 1) {
      /* The load above is all there is to do. */
    }
    /* With a single processor it is the lane's turn. */
    sched_yield();
  }
  pthread_mutex_lock(&context->mutex);
}

outcome ticket_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos) {
  uint64_t deadline_nanos = monotonic_nanos() + uint64_min(timeout_nanos, WAIT_MAX_NANOS);
  outcome result = ticket_poll(context, ticket);
  if (result.status == LH_NOT_READY && timeout_nanos > 0) {
    spin(context, (uint64_t)ticket, deadline_nanos);
    result = look_at(context, (uint64_t)ticket);
  }
  struct timespec deadline = {
      .tv_sec = (time_t)(deadline_nanos / NANOS_PER_SECOND),
      .tv_nsec = (long)(deadline_nanos % NANOS_PER_SECOND),
  };
  int code = timeout_nanos > 0 ? 0 : -1;
  while (result.status == LH_NOT_READY && code == 0) {
    code = pthread_cond_timedwait(&context->changed, &context->mutex, &deadline);
    result = look_at(context, (uint64_t)ticket);
  }
  return result.status == LH_NOT_READY ? failure(LH_TIMEOUT, "") : result;
}
