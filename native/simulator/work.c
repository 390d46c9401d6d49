#include "work.h"

#include "common/arguments.h"
#include "context.h"
#include "grants.h"
#include "memory_lab.h"
#include "common/transfers.h"

#include <assert.h>

work work_of_transfers(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count) {
  return (work){
      .lane = lane,
      .count = count,
      .transfers = transfers,
      .cost_nanos = transfers_cost_nanos(&context->setup, transfers, count),
  };
}

work work_of_launch(lh_context *context, uint32_t lane, lh_kernel_function kernel, const lh_argument *arguments,
                    uint32_t count) {
  return (work){
      .lane = lane,
      .count = count,
      .arguments = arguments,
      .kernel = kernel,
      .cost_nanos = context->setup.launch_nanos,
  };
}

/* The list ----------------------------------------------------------------------------------------------------- */

void work_accept(lh_context *context, work *accepted) {
  work_list *works = &context->works;
  works->accepted_count += 1;
  accepted->number = works->accepted_count;
  accepted->previous = works->last;
  accepted->next = NULL;
  if (works->last == NULL) {
    works->first = accepted;
  } else {
    works->last->next = accepted;
  }
  works->last = accepted;
  /* Virtual time is charged here, where the caller's order rules, and not when some thread comes to the work. */
  if (context->clock.is_virtual && accepted->lane != NO_LANE) {
    accepted->end_nanos = clock_charge(&context->clock, accepted->lane, accepted->cost_nanos);
  }
}

static void end_work(lh_context *context, work *ended, outcome result) {
  work_list *works = &context->works;
  if (ended->previous == NULL) {
    works->first = ended->next;
  } else {
    ended->previous->next = ended->next;
  }
  if (ended->next == NULL) {
    works->last = ended->previous;
  } else {
    ended->next->previous = ended->previous;
  }
  ended->result = result;
  pthread_cond_broadcast(&context->changed);
}

void work_drop(lh_context *context, work *dropped, outcome result) { end_work(context, dropped, result); }

/* Doing --------------------------------------------------------------------------------------------------------- */

static void count_transfers(lh_statistics *counters, const work *done) {
  for (uint32_t index = 0; index < done->count; index += 1) {
    const lh_transfer *transfer = &done->transfers[index];
    switch ((int)transfer->kind) {
    case LH_TRANSFER_COPY_IN:
      counters->copy_in_count += 1;
      counters->copied_in_bytes += (uint64_t)transfer->byte_count;
      break;
    case LH_TRANSFER_COPY_OUT:
      counters->copy_out_count += 1;
      counters->copied_out_bytes += (uint64_t)transfer->byte_count;
      break;
    case LH_TRANSFER_FILL:
      counters->fill_count += 1;
      break;
    default:
      break;
    }
  }
}

static outcome kernel_outcome(int32_t code) {
  if (code == LH_OK) {
    return success();
  }
  outcome failed = code == LH_DEVICE_LOST ? failure(LH_DEVICE_LOST, "A kernel has lost the device.")
                                          : failure(LH_LAUNCH_FAILED, "The kernel reported a failure.");
  failed.device_code = code;
  return failed;
}

/* The part without the mutex. */
static outcome do_work(const work *performed) {
  if (performed->kernel != NULL) {
    outcome examined = performed->lab_detail == NULL
                           ? success()
                           : memory_lab_examine(performed->kernel, performed->arguments, performed->count,
                                                performed->lab_detail);
    return examined.status != LH_OK ? examined
                                    : kernel_outcome(performed->kernel(performed->arguments, performed->count));
  }
  transfers_perform(performed->transfers, performed->count);
  return success();
}

static outcome perform_unlocked(lh_context *context, work *performed) {
  bool sleeps = !context->clock.is_virtual && performed->cost_nanos > 0;
  if (sleeps) {
    performed->end_nanos = clock_charge(&context->clock, performed->lane, performed->cost_nanos);
  }
  grant_begin(performed);
  pthread_mutex_unlock(&context->mutex);
  outcome result = do_work(performed);
  if (sleeps) {
    clock_sleep_until(&context->clock, performed->end_nanos);
  }
  pthread_mutex_lock(&context->mutex);
  grant_end(&context->works, performed);
  return result;
}

/* A kernel may use the device as its own: there is one at a time. */
static outcome perform_kernel(lh_context *context, work *performed) {
  while (context->kernel_is_running && !context->is_lost) {
    pthread_cond_wait(&context->changed, &context->mutex);
  }
  if (context->is_lost) {
    return failure(LH_DEVICE_LOST, "The device was lost before the work began.");
  }
  context->kernel_is_running = true;
  outcome result = perform_unlocked(context, performed);
  context->kernel_is_running = false;
  if (result.status == LH_OK) {
    context->counters.launch_count += 1;
  }
  if (result.status == LH_DEVICE_LOST) {
    context_lose(context, result);
  }
  return result;
}

static outcome perform_transfers(lh_context *context, work *performed) {
  if (context->is_lost) {
    return failure(LH_DEVICE_LOST, "The device was lost before the work began.");
  }
  outcome result = perform_unlocked(context, performed);
  count_transfers(&context->counters, performed);
  return result;
}

outcome work_perform(lh_context *context, work *performed) {
  assert(performed->number > 0);
  outcome result =
      performed->kernel != NULL ? perform_kernel(context, performed) : perform_transfers(context, performed);
  end_work(context, performed, result);
  return result;
}

/* Waiting ------------------------------------------------------------------------------------------------------- */

static bool work_touches(const work *other, range touched) {
  return other->kernel != NULL ? arguments_touch(other->arguments, other->count, touched)
                               : transfers_touch(other->transfers, other->count, touched);
}

/* Whether any work up to the number stands in the way of freeing the range. The list is sorted by number. */
static bool is_in_use(const lh_context *context, range touched, uint64_t last_number) {
  for (const work *other = context->works.first; other != NULL && other->number <= last_number;
       other = other->next) {
    if (context->setup.completes_late || work_touches(other, touched)) {
      return true;
    }
  }
  return false;
}

lh_status work_drain(lh_context *context, range touched) {
  uint64_t last_number = context->works.accepted_count;
  while (!context->is_lost && is_in_use(context, touched, last_number)) {
    pthread_cond_wait(&context->changed, &context->mutex);
  }
  return context->is_lost ? LH_DEVICE_LOST : LH_OK;
}
