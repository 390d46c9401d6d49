#include "cuda/driver_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Names for the loader first, then places that it does not know. `Cuda.driverNames` repeats them. */
static const char *const known_names[] = {
    "libcuda.so.1",
    "libcuda.so",
    "/usr/lib/wsl/lib/libcuda.so.1",
    "/usr/local/cuda/compat/libcuda.so.1",
};

/* One driver for a process, and what its tests load. */
enum { DRIVER_MAX_COUNT = 8 };

typedef struct loaded_driver {
  void *library; /* the loader's handle, which is the same for one file however it was named */
  cuda_driver driver;
} loaded_driver;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static loaded_driver loaded[DRIVER_MAX_COUNT];
static size_t loaded_count = 0;

/* A driver has threads of its own, so it is never unloaded. */
static void *open_library(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE); }

static void *open_any(const char *path) {
  if (path != NULL) {
    return open_library(path);
  }
  void *library = NULL;
  for (size_t index = 0; library == NULL && index < sizeof known_names / sizeof *known_names; index += 1) {
    library = open_library(known_names[index]);
  }
  return library;
}

/* ISO C has no cast from an object pointer to a function pointer, but POSIX promises that they look the same. */
static bool find(void *library, const char *name, void *function_out, size_t function_bytes) {
  void *symbol = dlsym(library, name);
  memcpy(function_out, &symbol, function_bytes);
  return symbol != NULL;
}

/* The name of the first entry point that is missing, or null. */
static const char *find_all(void *library, cuda_driver *driver) {
#define FIND(field, name, parameters)                                                                                  \
  if (!find(library, #name, &driver->field, sizeof driver->field)) {                                                   \
    return #name;                                                                                                      \
  }
  CU_DRIVER_CALLS(FIND)
#undef FIND
  find(library, "cuFuncGetParamInfo", &driver->func_get_param_info, sizeof driver->func_get_param_info);
  find(library, "loopback_kernel_code", &driver->kernel_code, sizeof driver->kernel_code);
  return NULL;
}

static lh_status load(const char *path, const cuda_driver **driver_out, cu_result *code_out, char *detail,
                      size_t detail_bytes) {
  void *library = open_any(path);
  if (library == NULL) {
    snprintf(detail, detail_bytes, "There is no CUDA driver.");
    return LH_LIBRARY_NOT_LOADED;
  }
  for (size_t index = 0; index < loaded_count; index += 1) {
    if (loaded[index].library == library) {
      *driver_out = &loaded[index].driver;
      return LH_OK;
    }
  }
  if (loaded_count == DRIVER_MAX_COUNT) {
    snprintf(detail, detail_bytes, "The process has loaded as many drivers as it may.");
    return LH_BUSY;
  }
  loaded_driver *added = &loaded[loaded_count];
  const char *missing = find_all(library, &added->driver);
  if (missing != NULL) {
    snprintf(detail, detail_bytes, "The CUDA driver is too old: it has no %s.", missing);
    return LH_LIBRARY_NOT_LOADED;
  }
  *code_out = added->driver.init(0);
  if (*code_out != CU_SUCCESS) {
    /* It may work the next time, so it is not remembered. */
    snprintf(detail, detail_bytes, "The CUDA driver cannot be initialised: its code is %d.", *code_out);
    return *code_out == CU_ERROR_NO_DEVICE ? LH_NO_DEVICE : LH_LIBRARY_NOT_LOADED;
  }
  added->library = library;
  loaded_count += 1;
  *driver_out = &added->driver;
  return LH_OK;
}

lh_status cuda_driver_load(const char *path, const cuda_driver **driver_out, cu_result *code_out, char *detail,
                           size_t detail_bytes) {
  pthread_mutex_lock(&mutex);
  lh_status status = load(path, driver_out, code_out, detail, detail_bytes);
  pthread_mutex_unlock(&mutex);
  return status;
}
