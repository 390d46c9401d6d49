/*
 * driver.h: what the CUDA backend calls in the CUDA driver, declared by us so that building needs no toolkit.
 *
 * Types, numbers and signatures are facts of the driver's public interface. Source: the CUDA Driver API reference manual,
 * https://docs.nvidia.com/cuda/cuda-driver-api/. A name that ends in _v2 is the second version of its function in the
 * driver's binary interface, which is the one that the documentation of today describes.
 *
 * The driver's library is found and loaded at run time, once per process and path, and never unloaded: it has threads of its
 * own. The tests load another library, which exports the same names over host memory.
 */
#ifndef LEASEHOLD_CUDA_DRIVER_H
#define LEASEHOLD_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t cu_result;
typedef int32_t cu_device;
typedef uint64_t cu_device_address;
typedef struct cu_context_object *cu_context;
typedef struct cu_stream_object *cu_stream;
typedef struct cu_event_object *cu_event;
typedef struct cu_module_object *cu_module;
typedef struct cu_function_object *cu_function;

typedef struct cu_uuid {
  uint8_t bytes[16];
} cu_uuid;

/* What the backend tells apart. Every other code is listed with its meaning in failures.c. */
enum {
  CU_SUCCESS = 0,
  CU_ERROR_INVALID_VALUE = 1,
  CU_ERROR_OUT_OF_MEMORY = 2,
  CU_ERROR_NOT_INITIALIZED = 3,
  CU_ERROR_DEINITIALIZED = 4,
  CU_ERROR_NO_DEVICE = 100,
  CU_ERROR_INVALID_DEVICE = 101,
  CU_ERROR_NOT_FOUND = 500,
  CU_ERROR_NOT_READY = 600,
  CU_ERROR_NOT_SUPPORTED = 801
};

enum {
  CU_STREAM_FLAG_NON_BLOCKING = 1,
  CU_EVENT_FLAG_DISABLE_TIMING = 2,
  CU_MEM_HOST_ALLOC_FLAG_PORTABLE = 1,
  CU_MEM_HOST_REGISTER_FLAG_PORTABLE = 1,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR_ID = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR_ID = 76,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES_ID = 8
};

/*
 * Every entry point: CALL(field, exported name, parameters). The backend's table of functions, the loopback driver's counters
 * and the bench's declarations are all made from this one list.
 */
#define CU_DRIVER_CALLS(CALL)                                                                                              \
  CALL(init, cuInit, (unsigned int flags))                                                                                 \
  CALL(driver_get_version, cuDriverGetVersion, (int *version_out))                                                         \
  CALL(get_error_name, cuGetErrorName, (cu_result result, const char **name_out))                                          \
  CALL(get_error_string, cuGetErrorString, (cu_result result, const char **text_out))                                      \
  CALL(device_get_count, cuDeviceGetCount, (int *count_out))                                                               \
  CALL(device_get, cuDeviceGet, (cu_device * device_out, int ordinal))                                                     \
  CALL(device_get_name, cuDeviceGetName, (char *name_out, int byte_count, cu_device device))                               \
  CALL(device_get_uuid, cuDeviceGetUuid_v2, (cu_uuid * uuid_out, cu_device device))                                        \
  CALL(device_total_mem, cuDeviceTotalMem_v2, (size_t *byte_count_out, cu_device device))                                  \
  CALL(device_get_attribute, cuDeviceGetAttribute, (int *value_out, int attribute, cu_device device))                      \
  CALL(primary_ctx_retain, cuDevicePrimaryCtxRetain, (cu_context * context_out, cu_device device))                         \
  CALL(primary_ctx_release, cuDevicePrimaryCtxRelease_v2, (cu_device device))                                              \
  CALL(ctx_push_current, cuCtxPushCurrent_v2, (cu_context context))                                                        \
  CALL(ctx_pop_current, cuCtxPopCurrent_v2, (cu_context * context_out))                                                    \
  CALL(mem_get_info, cuMemGetInfo_v2, (size_t *free_out, size_t *total_out))                                               \
  CALL(mem_alloc, cuMemAlloc_v2, (cu_device_address * address_out, size_t byte_count))                                     \
  CALL(mem_free, cuMemFree_v2, (cu_device_address address))                                                                \
  CALL(mem_host_alloc, cuMemHostAlloc, (void **address_out, size_t byte_count, unsigned int flags))                        \
  CALL(mem_free_host, cuMemFreeHost, (void *address))                                                                      \
  CALL(mem_host_register, cuMemHostRegister_v2, (void *address, size_t byte_count, unsigned int flags))                    \
  CALL(mem_host_unregister, cuMemHostUnregister, (void *address))                                                          \
  CALL(memcpy_in_async, cuMemcpyHtoDAsync_v2,                                                                              \
       (cu_device_address destination, const void *source, size_t byte_count, cu_stream stream))                           \
  CALL(memcpy_out_async, cuMemcpyDtoHAsync_v2,                                                                             \
       (void *destination, cu_device_address source, size_t byte_count, cu_stream stream))                                 \
  CALL(memset_async, cuMemsetD8Async,                                                                                      \
       (cu_device_address destination, unsigned char value, size_t byte_count, cu_stream stream))                          \
  CALL(stream_create, cuStreamCreate, (cu_stream * stream_out, unsigned int flags))                                        \
  CALL(stream_destroy, cuStreamDestroy_v2, (cu_stream stream))                                                             \
  CALL(stream_query, cuStreamQuery, (cu_stream stream))                                                                    \
  CALL(event_create, cuEventCreate, (cu_event * event_out, unsigned int flags))                                            \
  CALL(event_destroy, cuEventDestroy_v2, (cu_event event))                                                                 \
  CALL(event_record, cuEventRecord, (cu_event event, cu_stream stream))                                                    \
  CALL(event_query, cuEventQuery, (cu_event event))                                                                        \
  CALL(module_load_data, cuModuleLoadData, (cu_module * module_out, const void *image))                                    \
  CALL(module_unload, cuModuleUnload, (cu_module module))                                                                  \
  CALL(module_get_function, cuModuleGetFunction, (cu_function * function_out, cu_module module, const char *name))         \
  CALL(func_set_attribute, cuFuncSetAttribute, (cu_function function, int attribute, int value))                           \
  CALL(launch_kernel, cuLaunchKernel,                                                                                      \
       (cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x,         \
        unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, cu_stream stream, void **parameters,        \
        void **extra))

#endif
