#include "cuda/context.h"

#include "common/structs.h"
#include "cuda/pause.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opening --------------------------------------------------------------------------------------------------------- */

/* The largest parameter block of a kernel. Source: CUDA C++ Programming Guide, `__global__` function parameters. */
enum { ARGUMENT_BYTES = 4096, ARGUMENT_BYTES_SINCE_12_1 = 32764, VERSION_12_1 = 12010, VOLTA = 7 };

static outcome open_streams(lh_context *context) {
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    if (lane > 0 && !context->setup.lanes_overlap) {
      context->streams[lane] = context->streams[0];
      continue;
    }
    /* The legacy stream belongs to others, and a blocking one would wait for it. */
    outcome created = driver_outcome(
        context, context->driver->stream_create(&context->streams[lane], CU_STREAM_FLAG_NON_BLOCKING), CALL_OTHER);
    if (created.status != LH_OK) {
      return created;
    }
  }
  return success();
}

static outcome read_limits(lh_context *context) {
  const cuda_driver *driver = context->driver;
  int version = 0;
  int major = 0;
  outcome asked = driver_outcome(context, driver->driver_get_version(&version), CALL_OTHER);
  if (asked.status == LH_OK) {
    asked = driver_outcome(context,
                           driver->device_get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR_ID,
                                                        gpu_device(context->gpu)),
                           CALL_OTHER);
  }
  bool is_recent = version >= VERSION_12_1 && major >= VOLTA;
  context->argument_max_bytes = is_recent ? ARGUMENT_BYTES_SINCE_12_1 : ARGUMENT_BYTES;
  return asked;
}

bool context_is_lost(const lh_context *context) {
  outcome lost;
  char name[CODE_NAME_BYTES];
  return gpu_is_lost(context->gpu, &lost, name);
}

static void close_streams(lh_context *context) {
  for (uint32_t lane = 0; lane < LH_LANE_COUNT && !context_is_lost(context); lane += 1) {
    if (context->streams[lane] != NULL && (lane == 0 || context->setup.lanes_overlap)) {
      driver_outcome(context, context->driver->stream_destroy(context->streams[lane]), CALL_OTHER);
    }
    context->streams[lane] = NULL;
  }
}

static void release_primary(lh_context *context) {
  if (!context_is_lost(context)) {
    driver_outcome(context, context->driver->primary_ctx_release(gpu_device(context->gpu)), CALL_OTHER);
  }
}

static outcome open_device(lh_context *context) {
  outcome retained = driver_outcome(
      context, context->driver->primary_ctx_retain(&context->primary, gpu_device(context->gpu)), CALL_OTHER);
  if (retained.status != LH_OK) {
    return retained;
  }
  outcome opened = driver_begin(context);
  if (opened.status == LH_OK) {
    opened = open_streams(context);
    if (opened.status == LH_OK) {
      opened = read_limits(context);
    }
    if (opened.status != LH_OK) {
      close_streams(context);
    }
    driver_end(context);
  }
  if (opened.status != LH_OK) {
    release_primary(context);
  }
  return opened;
}

static void name_code(const cuda_driver *driver, outcome failed, char *name_out) {
  const char *name = NULL;
  name_out[0] = '\0';
  /* A code of a kernel's own is none of the driver's. */
  bool is_own = driver->kernel_code != NULL && failed.status == LH_LAUNCH_FAILED;
  bool is_code = failed.device_code > 0 && !is_own;
  if (is_code && driver->get_error_name((cu_result)failed.device_code, &name) == CU_SUCCESS && name != NULL) {
    snprintf(name_out, CODE_NAME_BYTES, "%s", name);
  }
}

static lh_status fail_open(const cuda_driver *driver, outcome failed, lh_error *error) {
  error->device_code = failed.device_code;
  name_code(driver, failed, error->device_name);
  snprintf(error->detail, sizeof error->detail, "%s", failed.detail);
  return failed.status;
}

static void dispose(lh_context *context) {
  ranges_dispose(&context->allocations);
  ranges_dispose(&context->host_blocks);
  ranges_dispose(&context->registered);
  tickets_dispose(&context->tickets);
  gpu_modules_forget(&context->modules);
  free(context->raised);
  pthread_mutex_destroy(&context->mutex);
  free(context);
}

lh_status context_open(const cuda_settings *setup, uint32_t device_index, lh_error *error, lh_context **context_out) {
  const cuda_driver *driver = NULL;
  cu_result code = CU_SUCCESS;
  lh_status status = cuda_driver_load(setup->driver[0] == '\0' ? NULL : setup->driver, &driver, &code, error->detail,
                                      sizeof error->detail);
  if (status != LH_OK) {
    error->device_code = code;
    return status;
  }
  cuda_gpu *gpu = NULL;
  outcome found = gpu_find(driver, device_index, &gpu);
  outcome lost;
  if (found.status == LH_OK && gpu_is_lost(gpu, &lost, error->device_name)) {
    error->device_code = lost.device_code;
    snprintf(error->detail, sizeof error->detail, "%s", lost.detail);
    return LH_DEVICE_LOST;
  }
  lh_context *context = found.status == LH_OK ? calloc(1, sizeof *context) : NULL;
  if (context == NULL || pthread_mutex_init(&context->mutex, NULL) != 0) {
    free(context);
    return fail_open(driver, found.status == LH_OK ? failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.") : found, error);
  }
  context->driver = driver;
  context->gpu = gpu;
  context->setup = *setup;
  context->reference_count = 1;
  outcome opened = open_device(context);
  if (opened.status != LH_OK) {
    status = fail_open(driver, opened, error);
    dispose(context);
    return status;
  }
  *context_out = context;
  return LH_OK;
}

/* Ending ---------------------------------------------------------------------------------------------------------- */

/* Whether a stream comes to rest in time. A failure that it tells of says nothing about that, so it is asked again. */
static bool stream_comes_to_rest(lh_context *context, cu_stream stream, patience *left) {
  do {
    cu_result code = context->driver->stream_query(stream);
    if (code == CU_SUCCESS) {
      return true;
    }
    if (code != CU_ERROR_NOT_READY) {
      pthread_mutex_lock(&context->mutex);
      outcome failed = tickets_fail(context, stream, code);
      pthread_mutex_unlock(&context->mutex);
      if (failed.status == LH_DEVICE_LOST) {
        return false;
      }
    }
  } while (patience_pause(left));
  return false;
}

/* Whether all streams do. */
static bool comes_to_rest(lh_context *context) {
  patience left = patience_of(WAIT_MAX_NANOS);
  uint32_t stream_count = context->setup.lanes_overlap ? LH_LANE_COUNT : 1;
  for (uint32_t lane = 0; lane < stream_count; lane += 1) {
    if (!stream_comes_to_rest(context, context->streams[lane], &left)) {
      return false;
    }
  }
  return true;
}

/* Gives everything back, for as long as the device is not lost on the way. */
static void give_back(lh_context *context) {
  const cuda_driver *driver = context->driver;
  tickets_end_all(context);
  for (size_t index = 0; index < context->registered.live_count && !context_is_lost(context); index += 1) {
    void *address = (void *)(uintptr_t)context->registered.live[index].address;
    driver_outcome(context, driver->mem_host_unregister(address), CALL_OTHER);
  }
  for (size_t index = 0; index < context->host_blocks.live_count && !context_is_lost(context); index += 1) {
    void *address = (void *)(uintptr_t)context->host_blocks.live[index].address;
    driver_outcome(context, driver->mem_free_host(address), CALL_OTHER);
  }
  for (size_t index = 0; index < context->allocations.live_count && !context_is_lost(context); index += 1) {
    uint64_t address = context->allocations.live[index].address;
    driver_outcome(context, driver->mem_free(allocation_start(context, address)), CALL_OTHER);
  }
  for (uint32_t index = 0; index < context->modules.module_count && !context_is_lost(context); index += 1) {
    if (context->modules.modules[index] != NULL) {
      driver_outcome(context, driver->module_unload(context->modules.modules[index]), CALL_OTHER);
    }
  }
  close_streams(context);
}

void context_close(lh_context *context) {
  if (!context_is_lost(context) && driver_begin(context).status == LH_OK) {
    bool rests = comes_to_rest(context);
    if (rests) {
      give_back(context);
    }
    driver_end(context);
    if (rests) {
      release_primary(context);
    }
  }
  context_abandon(context);
}

static void release(lh_context *context) {
  assert(context->reference_count > 0);
  context->reference_count -= 1;
  bool is_last = context->reference_count == 0;
  pthread_mutex_unlock(&context->mutex);
  if (is_last) {
    dispose(context);
  }
}

void context_abandon(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->is_abandoned = true;
  release(context);
}

/* Calls ----------------------------------------------------------------------------------------------------------- */

void context_enter_lost(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->reference_count += 1;
}

outcome context_enter(lh_context *context) {
  context_enter_lost(context);
  outcome lost;
  char name[CODE_NAME_BYTES];
  return gpu_is_lost(context->gpu, &lost, name) ? lost : success();
}

lh_status context_leave(lh_context *context, outcome result) {
  if (result.status != LH_OK && result.status != LH_NOT_READY && result.status != LH_TIMEOUT) {
    lh_error *error = &context->last_error;
    *error = (lh_error){
        .struct_bytes = sizeof *error,
        .status = result.status,
        .device_code = result.device_code,
        .entry_index = result.entry_index,
    };
    outcome lost;
    if (!gpu_is_lost(context->gpu, &lost, error->device_name)) {
      name_code(context->driver, result, error->device_name);
    }
    snprintf(error->detail, sizeof error->detail, "%s", result.detail);
  }
  lh_status status = result.status;
  release(context);
  return status;
}

lh_status context_leave_table(lh_context *context, outcome result, uint32_t *failed_index_out) {
  if (result.status != LH_OK) {
    *failed_index_out = result.entry_index;
  }
  return context_leave(context, result);
}

outcome driver_begin(lh_context *context) {
  outcome lost;
  char name[CODE_NAME_BYTES];
  if (gpu_is_lost(context->gpu, &lost, name)) {
    return lost;
  }
  return driver_outcome(context, context->driver->ctx_push_current(context->primary), CALL_OTHER);
}

/* Popping touches this thread alone, so it is done for a device that is lost as well: the thread serves others too. */
void driver_end(lh_context *context) {
  cu_context popped = NULL;
  context->driver->ctx_pop_current(&popped);
}

outcome driver_outcome(lh_context *context, cu_result code, call_purpose purpose) {
  outcome ended = failure_of(context->driver, code, purpose);
  if (ended.status == LH_DEVICE_LOST) {
    char name[CODE_NAME_BYTES];
    name_code(context->driver, ended, name);
    gpu_lose(context->gpu, ended, name);
  }
  return ended;
}
