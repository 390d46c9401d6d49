#include "cuda/devices.h"

#include "cuda/failures.h"

#include <pthread.h>
#include <stdio.h>

/* More than a machine has, times the drivers of a test. */
enum { GPU_MAX_COUNT = 64 };

struct cuda_gpu {
  const cuda_driver *driver;
  uint32_t ordinal;
  cu_device device;
  bool is_lost;
  outcome lost;
  char code_name[CODE_NAME_BYTES];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static cuda_gpu gpus[GPU_MAX_COUNT];
static size_t gpu_count = 0;

static outcome find(const cuda_driver *driver, uint32_t ordinal, cuda_gpu **gpu_out) {
  /* The driver counts its devices once, and is not asked about one that may be lost. */
  for (size_t index = 0; index < gpu_count; index += 1) {
    if (gpus[index].driver == driver && gpus[index].ordinal == ordinal) {
      *gpu_out = &gpus[index];
      return success();
    }
  }
  cu_device device = 0;
  outcome asked = ordinal > INT32_MAX ? failure(LH_NO_DEVICE, "The driver shows no device of that index.")
                                      : failure_of(driver, driver->device_get(&device, (int)ordinal), CALL_OTHER);
  if (asked.status != LH_OK) {
    return asked;
  }
  if (gpu_count == GPU_MAX_COUNT) {
    return failure(LH_BUSY, "The process has used as many devices as it may.");
  }
  gpus[gpu_count] = (cuda_gpu){.driver = driver, .ordinal = ordinal, .device = device};
  *gpu_out = &gpus[gpu_count];
  gpu_count += 1;
  return success();
}

outcome gpu_find(const cuda_driver *driver, uint32_t ordinal, cuda_gpu **gpu_out) {
  pthread_mutex_lock(&mutex);
  outcome found = find(driver, ordinal, gpu_out);
  pthread_mutex_unlock(&mutex);
  return found;
}

cu_device gpu_device(const cuda_gpu *gpu) { return gpu->device; }

const cuda_driver *gpu_driver(const cuda_gpu *gpu) { return gpu->driver; }

bool gpu_is_lost(cuda_gpu *gpu, outcome *lost_out, char *name_out) {
  pthread_mutex_lock(&mutex);
  bool is_lost = gpu->is_lost;
  if (is_lost) {
    *lost_out = gpu->lost;
    snprintf(name_out, CODE_NAME_BYTES, "%s", gpu->code_name);
  }
  pthread_mutex_unlock(&mutex);
  return is_lost;
}

void gpu_lose(cuda_gpu *gpu, outcome lost, const char *name) {
  pthread_mutex_lock(&mutex);
  if (!gpu->is_lost) {
    gpu->is_lost = true;
    gpu->lost = lost;
    gpu->lost.entry_index = NO_ENTRY;
    snprintf(gpu->code_name, sizeof gpu->code_name, "%s", name);
  }
  pthread_mutex_unlock(&mutex);
}
