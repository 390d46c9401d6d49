/*
 * state.h: what the loopback driver remembers. One mutex guards all of it; whoever moves bytes, runs a kernel or sleeps does
 * so without it.
 */
#ifndef LEASEHOLD_TEST_LOOPBACK_STATE_H
#define LEASEHOLD_TEST_LOOPBACK_STATE_H

#include "simulator/arena.h"
#include "test/loopback/loopback.h"

#include <pthread.h>
#include <stdbool.h>

enum { STREAM_MAX_COUNT = 256, EVENT_MAX_COUNT = 8192, MODULE_COUNT_MAX = 256, FUNCTION_MAX_COUNT = 1024 };

/* What a piece of work touches. */
typedef struct touched_range {
  uint64_t address; /* of device or host memory */
  uint64_t byte_count;
  bool is_written;
} touched_range;

typedef enum operation_kind { OPERATION_COPY, OPERATION_FILL, OPERATION_LAUNCH, OPERATION_EVENT } operation_kind;

typedef struct operation {
  struct operation *next;
  operation_kind kind;
  void *destination;
  const void *source;
  size_t byte_count;
  unsigned char value;
  cu_function function;
  loopback_geometry geometry;
  void *parameters; /* owned: of a launch, as its kind of function takes them */
  uint32_t argument_count;
  cu_event event;
  uint64_t event_record; /* which of its records it is */
  cu_result failure;     /* what it was told to end with */
  touched_range *touched; /* owned */
  uint32_t touched_count;
} operation;

struct cu_context_object {
  bool is_open;
  uint32_t retain_count;
  arena memory;
  ranges pinned;
  cu_result lost; /* the code with which it was lost, or CU_SUCCESS */
  bool loss_was_told;
};

struct cu_stream_object {
  bool is_live;
  bool is_ending;
  cu_context context;
  pthread_t thread;
  operation *first; /* the one that is carried out stays first until it has ended */
  operation *last;
  cu_result pending; /* a failure that ends no context and was not told yet */
};

struct cu_event_object {
  bool is_live;
  cu_context context;
  uint64_t record_count;
  uint64_t ended_count; /* the latest record that has ended */
  cu_result failure;
};

struct cu_module_object {
  bool is_live;
  bool has_kernel_abi;
  cu_context context;
  void *library;
};

struct cu_function_object {
  cu_module module;
  void *symbol;
  const uint8_t *parameter_bytes; /* ended by a zero; null with the ABI of kernels */
};

typedef struct loopback_state {
  pthread_mutex_t mutex;
  pthread_cond_t changed; /* something was put on a stream, or has ended */
  bool is_initialised;
  uint64_t memory_bytes;
  uint64_t delay_nanos;
  int32_t driver_version; /* 0: the default */
  uint64_t address_bits;
  uint64_t calls_after_loss;
  struct cu_context_object contexts[LOOPBACK_DEVICE_COUNT];
  struct cu_stream_object streams[STREAM_MAX_COUNT];
  struct cu_event_object events[EVENT_MAX_COUNT];
  struct cu_module_object modules[MODULE_COUNT_MAX];
  struct cu_function_object functions[FUNCTION_MAX_COUNT];
  uint32_t function_count;
} loopback_state;

extern loopback_state state;

/* Every entry point, by number. */
#define ENTRY_NUMBER(field, name, parameters) ENTRY_##field,
typedef enum entry_point {
  CU_DRIVER_CALLS(ENTRY_NUMBER) LOOPBACK_OTHER_CALLS(ENTRY_NUMBER) ENTRY_COUNT
} entry_point;

/* Whether a call has to be made with the device's context current. */
typedef enum call_scope { SCOPE_ANYWHERE, SCOPE_CONTEXT } call_scope;

/* How a call begins: with the mutex held. */
typedef struct call {
  entry_point entry;
  cu_context context;    /* the current one; null where there is none */
  cu_result result;      /* what the call has to answer at once, or CU_SUCCESS */
  cu_result asynchronous; /* what it puts on a stream has to end with */
} call;

call call_begin(entry_point entry, call_scope scope);

/* Ends a call: gives the mutex back, and notes whether the caller was told of a loss. */
cu_result call_end(const call *begun, cu_result result);

/* Notes what no caller should do. */
void violate(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The context that is current on this thread, or null. */
cu_context current_context(void);

/* Loses a context, for good. */
void lose(cu_context context, cu_result code);

/* Whether a code ends the context that it is answered for. */
bool ends_context(cu_result code);

/* Streams: all with the mutex held. */
bool stream_is_live(cu_stream stream, const call *begun);
void stream_put(cu_stream stream, operation put);
bool streams_touch(cu_context context, uint64_t address, uint64_t byte_count);
void streams_drain(cu_context context);
void streams_check_order(cu_stream stream, const touched_range *touched, uint32_t count);

/* Carries a launch out, without the mutex. */
cu_result launch_perform(const operation *launched);

#endif
