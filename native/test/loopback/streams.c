/*
 * streams.c: streams, each with a thread that carries out what is put on it in order, and events.
 */
#include "test/loopback/state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT LOOPBACK_EXPORT

/* Work in flight -------------------------------------------------------------------------------------------------- */

static bool overlaps(const touched_range *touched, uint64_t address, uint64_t byte_count) {
  return touched->address < address + byte_count && address < touched->address + touched->byte_count;
}

bool streams_touch(cu_context context, uint64_t address, uint64_t byte_count) {
  for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
    const struct cu_stream_object *stream = &state.streams[index];
    if (!stream->is_live || stream->context != context) {
      continue;
    }
    for (const operation *put = stream->first; put != NULL; put = put->next) {
      for (uint32_t place = 0; place < put->touched_count; place += 1) {
        if (overlaps(&put->touched[place], address, byte_count)) {
          return true;
        }
      }
    }
  }
  return false;
}

/* Work on different streams is in no order, so no two may be at the same bytes where one of them writes. */
void streams_check_order(cu_stream stream, const touched_range *touched, uint32_t count) {
  for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
    const struct cu_stream_object *other = &state.streams[index];
    if (!other->is_live || other == stream || other->context != stream->context) {
      continue;
    }
    for (const operation *put = other->first; put != NULL; put = put->next) {
      for (uint32_t place = 0; place < put->touched_count; place += 1) {
        for (uint32_t own = 0; own < count; own += 1) {
          bool conflicts = put->touched[place].is_written || touched[own].is_written;
          if (conflicts && overlaps(&put->touched[place], touched[own].address, touched[own].byte_count)) {
            violate("work on two streams is at the same bytes at once");
            return;
          }
        }
      }
    }
  }
}

void streams_drain(cu_context context) {
  for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
    struct cu_stream_object *stream = &state.streams[index];
    while (stream->is_live && stream->context == context && stream->first != NULL && context->lost == CU_SUCCESS) {
      pthread_cond_wait(&state.changed, &state.mutex);
    }
  }
}

static void dispose(operation *ended) {
  free(ended->parameters);
  free(ended->touched);
  free(ended);
}

static void sleep_for(uint64_t nanos) {
  struct timespec left = {.tv_sec = (time_t)(nanos / 1000000000ull), .tv_nsec = (long)(nanos % 1000000000ull)};
  if (nanos > 0) {
    nanosleep(&left, NULL);
  }
}

/* Carries one operation out, without the mutex. */
static cu_result perform(const operation *performed) {
  switch (performed->kind) {
  case OPERATION_COPY:
    memcpy(performed->destination, performed->source, performed->byte_count);
    return CU_SUCCESS;
  case OPERATION_FILL:
    memset(performed->destination, performed->value, performed->byte_count);
    return CU_SUCCESS;
  case OPERATION_LAUNCH:
    return launch_perform(performed);
  default:
    return CU_SUCCESS;
  }
}

static void end_operation(cu_stream stream, cu_result code) {
  operation *ended = stream->first;
  if (code != CU_SUCCESS && ends_context(code)) {
    lose(stream->context, code);
  } else if (code != CU_SUCCESS) {
    stream->pending = code;
  }
  if (ended->kind == OPERATION_EVENT && ended->event->ended_count < ended->event_record) {
    ended->event->ended_count = ended->event_record;
    ended->event->failure = stream->pending;
    stream->pending = CU_SUCCESS;
  }
  stream->first = ended->next;
  stream->last = stream->first == NULL ? NULL : stream->last;
  dispose(ended);
  pthread_cond_broadcast(&state.changed);
}

static void *work(void *argument) {
  cu_stream stream = argument;
  pthread_mutex_lock(&state.mutex);
  for (;;) {
    while (stream->first == NULL && !stream->is_ending) {
      pthread_cond_wait(&state.changed, &state.mutex);
    }
    if (stream->first == NULL) {
      break;
    }
    /* What a lost context was asked for never happens, but is forgotten in order. */
    cu_result code = stream->context->lost == CU_SUCCESS ? stream->first->failure : CU_SUCCESS;
    if (stream->context->lost == CU_SUCCESS && code == CU_SUCCESS) {
      uint64_t delay_nanos = state.delay_nanos;
      const operation *performed = stream->first;
      pthread_mutex_unlock(&state.mutex);
      sleep_for(delay_nanos);
      code = perform(performed);
      pthread_mutex_lock(&state.mutex);
    }
    end_operation(stream, code);
  }
  pthread_mutex_unlock(&state.mutex);
  return NULL;
}

/* Streams --------------------------------------------------------------------------------------------------------- */

bool stream_is_live(cu_stream stream, const call *begun) {
  bool is_live = stream != NULL && stream->is_live && !stream->is_ending && stream->context == begun->context;
  if (!is_live) {
    violate(stream == NULL ? "work for the legacy stream, which is everybody's"
                           : "work for a stream of another context, or one that was destroyed");
  }
  return is_live;
}

void stream_put(cu_stream stream, operation put) {
  operation *added = malloc(sizeof *added);
  *added = put;
  added->next = NULL;
  if (added->kind != OPERATION_EVENT) {
    streams_check_order(stream, added->touched, added->touched_count);
  }
  if (stream->last == NULL) {
    stream->first = added;
  } else {
    stream->last->next = added;
  }
  stream->last = added;
  pthread_cond_broadcast(&state.changed);
}

EXPORT cu_result cuStreamCreate(cu_stream *stream_out, unsigned int flags) {
  call begun = call_begin(ENTRY_stream_create, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  if (flags != CU_STREAM_FLAG_NON_BLOCKING) {
    violate("a stream that waits for the legacy stream");
  }
  for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
    cu_stream stream = &state.streams[index];
    if (!stream->is_live) {
      *stream = (struct cu_stream_object){.is_live = true, .context = begun.context};
      if (pthread_create(&stream->thread, NULL, work, stream) != 0) {
        stream->is_live = false;
        break;
      }
      *stream_out = stream;
      return call_end(&begun, CU_SUCCESS);
    }
  }
  return call_end(&begun, CU_ERROR_OUT_OF_MEMORY);
}

EXPORT cu_result cuStreamDestroy_v2(cu_stream stream) {
  call begun = call_begin(ENTRY_stream_destroy, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS || !stream_is_live(stream, &begun)) {
    return call_end(&begun, begun.result == CU_SUCCESS ? 400 : begun.result);
  }
  stream->is_ending = true;
  pthread_cond_broadcast(&state.changed);
  pthread_t thread = stream->thread;
  pthread_mutex_unlock(&state.mutex);
  pthread_join(thread, NULL);
  pthread_mutex_lock(&state.mutex);
  stream->is_live = false;
  return call_end(&begun, CU_SUCCESS);
}

EXPORT cu_result cuStreamQuery(cu_stream stream) {
  call begun = call_begin(ENTRY_stream_query, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS || !stream_is_live(stream, &begun)) {
    return call_end(&begun, begun.result == CU_SUCCESS ? 400 : begun.result);
  }
  if (stream->first != NULL) {
    return call_end(&begun, CU_ERROR_NOT_READY);
  }
  cu_result pending = stream->pending;
  stream->pending = CU_SUCCESS;
  return call_end(&begun, pending);
}

/* Events ---------------------------------------------------------------------------------------------------------- */

static bool event_is_live(cu_event event, const call *begun) {
  bool is_live = event != NULL && event->is_live && event->context == begun->context;
  if (!is_live) {
    violate("an event of another context, or one that was destroyed");
  }
  return is_live;
}

EXPORT cu_result cuEventCreate(cu_event *event_out, unsigned int flags) {
  call begun = call_begin(ENTRY_event_create, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  if ((flags & CU_EVENT_FLAG_DISABLE_TIMING) == 0) {
    violate("an event that takes the time, which nobody asks for");
  }
  for (uint32_t index = 0; index < EVENT_MAX_COUNT; index += 1) {
    cu_event event = &state.events[index];
    if (!event->is_live) {
      *event = (struct cu_event_object){.is_live = true, .context = begun.context};
      *event_out = event;
      return call_end(&begun, CU_SUCCESS);
    }
  }
  return call_end(&begun, CU_ERROR_OUT_OF_MEMORY);
}

EXPORT cu_result cuEventDestroy_v2(cu_event event) {
  call begun = call_begin(ENTRY_event_destroy, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS || !event_is_live(event, &begun)) {
    return call_end(&begun, begun.result == CU_SUCCESS ? 400 : begun.result);
  }
  if (event->ended_count < event->record_count) {
    violate("an event is destroyed that has not come to pass");
    streams_drain(begun.context);
  }
  event->is_live = false;
  return call_end(&begun, CU_SUCCESS);
}

EXPORT cu_result cuEventRecord(cu_event event, cu_stream stream) {
  call begun = call_begin(ENTRY_event_record, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS || !event_is_live(event, &begun) || !stream_is_live(stream, &begun)) {
    return call_end(&begun, begun.result == CU_SUCCESS ? 400 : begun.result);
  }
  event->record_count += 1;
  event->failure = CU_SUCCESS;
  stream_put(stream, (operation){.kind = OPERATION_EVENT,
                                 .event = event,
                                 .event_record = event->record_count,
                                 .failure = begun.asynchronous});
  return call_end(&begun, CU_SUCCESS);
}

EXPORT cu_result cuEventQuery(cu_event event) {
  call begun = call_begin(ENTRY_event_query, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS || !event_is_live(event, &begun)) {
    return call_end(&begun, begun.result == CU_SUCCESS ? 400 : begun.result);
  }
  return call_end(&begun, event->ended_count < event->record_count ? CU_ERROR_NOT_READY : event->failure);
}
