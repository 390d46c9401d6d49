/*
 * control.c: counters, failures and violations, and what every entry point begins and ends with.
 */
#include "test/loopback/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FAILURE_MAX_COUNT = 64, VIOLATION_TEXT_BYTES = 8192 };

#define DEFAULT_MEMORY_BYTES (64ull << 20)

loopback_state state = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .memory_bytes = DEFAULT_MEMORY_BYTES,
};

/* A failure that was asked for. */
typedef struct planned_failure {
  entry_point entry;
  uint64_t calls_left;
  cu_result result;
  bool is_asynchronous;
} planned_failure;

static uint64_t call_counts[ENTRY_COUNT];
static planned_failure planned[FAILURE_MAX_COUNT];
static uint32_t planned_count = 0;
static uint64_t violation_count = 0;
static char violation_text[VIOLATION_TEXT_BYTES];

#define ENTRY_NAME(field, name, parameters) #name,
static const char *const entry_names[ENTRY_COUNT] = {CU_DRIVER_CALLS(ENTRY_NAME) LOOPBACK_OTHER_CALLS(ENTRY_NAME)};

void violate(const char *format, ...) {
  size_t used = strlen(violation_text);
  violation_count += 1;
  if (used + 2 < sizeof violation_text) {
    va_list values;
    va_start(values, format);
    vsnprintf(violation_text + used, sizeof violation_text - used - 1, format, values);
    va_end(values);
    strcat(violation_text, "\n");
  }
}

bool ends_context(cu_result code) {
  /* Beside what the driver's manual lists, what nobody knows: the backend trusts neither. */
  bool is_plain = code == CU_SUCCESS || code <= 3 || (code >= 100 && code <= 101) || (code >= 200 && code <= 223 && code != 201 && code != 214 && code != 220) ||
                  (code >= 300 && code <= 304) || code == 400 || code == CU_ERROR_NOT_FOUND ||
                  code == CU_ERROR_NOT_READY || code == 701 || code == 712 || code == 713 || code == 800 ||
                  code == 801 || code >= LOOPBACK_KERNEL_RESULT;
  return !is_plain;
}

void lose(cu_context context, cu_result code) {
  if (context != NULL && context->lost == CU_SUCCESS) {
    context->lost = code;
  }
  pthread_cond_broadcast(&state.changed);
}

/* The names of codes can be asked for, and a thread can put its stack in order, whatever has happened. */
static bool is_harmless(entry_point entry) {
  return entry == ENTRY_get_error_name || entry == ENTRY_get_error_string || entry == ENTRY_ctx_pop_current;
}

static void take_planned(call *begun) {
  for (uint32_t index = 0; index < planned_count; index += 1) {
    planned_failure *failure = &planned[index];
    if (failure->entry != begun->entry) {
      continue;
    }
    failure->calls_left -= 1;
    if (failure->calls_left > 0) {
      continue;
    }
    if (failure->is_asynchronous) {
      begun->asynchronous = failure->result;
    } else {
      begun->result = failure->result;
    }
    planned_count -= 1;
    planned[index] = planned[planned_count];
    index -= 1;
  }
}

call call_begin(entry_point entry, call_scope scope) {
  pthread_mutex_lock(&state.mutex);
  call begun = {.entry = entry, .context = current_context()};
  call_counts[entry] += 1;
  take_planned(&begun);
  if (is_harmless(entry)) {
    return begun;
  }
  if (!state.is_initialised && entry != ENTRY_init) {
    violate("%s before cuInit", entry_names[entry]);
    begun.result = CU_ERROR_NOT_INITIALIZED;
  }
  if (begun.context != NULL && begun.context->lost != CU_SUCCESS) {
    state.calls_after_loss += begun.context->loss_was_told ? 1 : 0;
    begun.result = begun.context->lost;
  } else if (scope == SCOPE_CONTEXT && (begun.context == NULL || !begun.context->is_open)) {
    violate("%s without a context that is current and open", entry_names[entry]);
    begun.result = 201;
  }
  if (begun.result != CU_SUCCESS && ends_context(begun.result)) {
    lose(begun.context, begun.result);
  }
  return begun;
}

cu_result call_end(const call *begun, cu_result result) {
  if (begun->context != NULL && begun->context->lost != CU_SUCCESS && result == begun->context->lost) {
    begun->context->loss_was_told = true;
  }
  pthread_mutex_unlock(&state.mutex);
  return result;
}

/* Exported -------------------------------------------------------------------------------------------------------- */

int32_t loopback_is_lost(int32_t device) {
  pthread_mutex_lock(&state.mutex);
  bool is_lost = state.contexts[device].lost != CU_SUCCESS;
  pthread_mutex_unlock(&state.mutex);
  return is_lost ? 1 : 0;
}

uint64_t loopback_calls(const char *name) {
  uint64_t count = 0;
  pthread_mutex_lock(&state.mutex);
  for (uint32_t entry = 0; entry < ENTRY_COUNT; entry += 1) {
    count += name[0] == '\0' || strcmp(name, entry_names[entry]) == 0 ? call_counts[entry] : 0;
  }
  pthread_mutex_unlock(&state.mutex);
  return count;
}

void loopback_reset(void) {
  pthread_mutex_lock(&state.mutex);
  memset(call_counts, 0, sizeof call_counts);
  planned_count = 0;
  violation_count = 0;
  violation_text[0] = '\0';
  state.calls_after_loss = 0;
  state.delay_nanos = 0;
  state.driver_version = 0;
  state.address_bits = 0;
  state.memory_bytes = DEFAULT_MEMORY_BYTES;
  pthread_mutex_unlock(&state.mutex);
}

void loopback_fail(const char *name, uint64_t nth, int32_t result, int32_t asynchronous) {
  pthread_mutex_lock(&state.mutex);
  for (uint32_t entry = 0; entry < ENTRY_COUNT && planned_count < FAILURE_MAX_COUNT; entry += 1) {
    if (strcmp(name, entry_names[entry]) == 0) {
      planned[planned_count] = (planned_failure){
          .entry = (entry_point)entry,
          .calls_left = nth,
          .result = result,
          .is_asynchronous = asynchronous != 0,
      };
      planned_count += 1;
    }
  }
  pthread_mutex_unlock(&state.mutex);
}

uint64_t loopback_pending_failures(void) {
  pthread_mutex_lock(&state.mutex);
  uint64_t count = planned_count;
  pthread_mutex_unlock(&state.mutex);
  return count;
}

uint64_t loopback_violations(char *text_out, uint64_t byte_count) {
  pthread_mutex_lock(&state.mutex);
  uint64_t count = violation_count;
  if (byte_count > 0) {
    snprintf(text_out, byte_count, "%s", violation_text);
  }
  pthread_mutex_unlock(&state.mutex);
  return count;
}

uint64_t loopback_calls_after_loss(void) {
  pthread_mutex_lock(&state.mutex);
  uint64_t count = state.calls_after_loss;
  pthread_mutex_unlock(&state.mutex);
  return count;
}

void loopback_set_memory(uint64_t byte_count) {
  pthread_mutex_lock(&state.mutex);
  state.memory_bytes = byte_count;
  pthread_mutex_unlock(&state.mutex);
}

void loopback_set_version(int32_t version) {
  pthread_mutex_lock(&state.mutex);
  state.driver_version = version;
  pthread_mutex_unlock(&state.mutex);
}

void loopback_set_address_bits(uint64_t bits) {
  pthread_mutex_lock(&state.mutex);
  state.address_bits = bits;
  pthread_mutex_unlock(&state.mutex);
}

void loopback_set_delay(uint64_t nanos) {
  pthread_mutex_lock(&state.mutex);
  state.delay_nanos = nanos;
  pthread_mutex_unlock(&state.mutex);
}

static uint64_t count_live(int32_t kind) {
  uint64_t count = 0;
  switch (kind) {
  case LOOPBACK_STREAMS:
    for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
      count += state.streams[index].is_live ? 1 : 0;
    }
    return count;
  case LOOPBACK_EVENTS:
    for (uint32_t index = 0; index < EVENT_MAX_COUNT; index += 1) {
      count += state.events[index].is_live ? 1 : 0;
    }
    return count;
  case LOOPBACK_MODULES:
    for (uint32_t index = 0; index < MODULE_COUNT_MAX; index += 1) {
      count += state.modules[index].is_live ? 1 : 0;
    }
    return count;
  default:
    for (uint32_t index = 0; index < LOOPBACK_DEVICE_COUNT; index += 1) {
      const struct cu_context_object *context = &state.contexts[index];
      count += !context->is_open                ? 0
               : kind == LOOPBACK_CONTEXTS      ? 1
               : kind == LOOPBACK_ALLOCATIONS   ? context->memory.allocations.live_count
                                                : context->pinned.live_count;
    }
    return count;
  }
}

uint64_t loopback_live(int32_t kind) {
  pthread_mutex_lock(&state.mutex);
  uint64_t count = count_live(kind);
  pthread_mutex_unlock(&state.mutex);
  return count;
}
