/*
 * loopback.h: a CUDA driver over host memory, for tests.
 *
 * It exports the names of the driver that the CUDA backend calls, works on threads as a GPU does, and watches the caller: what
 * no caller should do is a violation, counted and told. It tests how the backend calls a driver. It is no model of CUDA, and
 * says nothing about what a GPU does.
 *
 * Addresses of its device memory lie LOOPBACK_BIAS above the host memory behind them, so that code which takes one for a host
 * address is stopped at once.
 *
 * A module is a text: the line `leasehold loopback module`, then `library=` and the absolute path of a shared library, and for
 * the kernels of leasehold_kernel.h `abi=kernel`. Two kinds of functions can be launched:
 *
 * - By default a function of type loopback_kernel, beside which the library exports `NAME_parameters`, the bytes of each of its
 *   parameters, ended by a zero. It is called once for a launch, with pointers to the parameters.
 * - With `abi=kernel` a function of type lh_kernel_function. Its argument table is made from what it is launched with: a
 *   uint32_t with the number of arguments, and for each a uint32_t kind, a uint32_t dtype, a uint64_t byte_count, eight bytes
 *   with its address or scalar, a uint32_t rank, and a uint64_t for each dim. A code that it returns, other than
 *   LH_DEVICE_LOST, is reported by a result from LOOPBACK_KERNEL_RESULT on, which ends no context, as no real kernel can;
 *   loopback_kernel_code tells the kernel's own.
 */
#ifndef LEASEHOLD_TEST_LOOPBACK_H
#define LEASEHOLD_TEST_LOOPBACK_H

#include "cuda/driver.h"
#include "leasehold_kernel.h"

#define LOOPBACK_EXPORT __attribute__((visibility("default")))

#define LOOPBACK_BIAS (1ull << 44)
#define LOOPBACK_DEVICE_COUNT 32
#define LOOPBACK_KERNEL_RESULT 1000000

/* What is counted of objects that live. */
enum {
  LOOPBACK_ALLOCATIONS = 0,
  LOOPBACK_PINNED = 1,
  LOOPBACK_STREAMS = 2,
  LOOPBACK_EVENTS = 3,
  LOOPBACK_MODULES = 4,
  LOOPBACK_CONTEXTS = 5
};

typedef struct loopback_geometry {
  unsigned int grid[3];
  unsigned int block[3];
  unsigned int shared_bytes;
} loopback_geometry;

typedef void (*loopback_kernel)(void **parameters, const loopback_geometry *geometry);

/* What the backend does not call, or not where a driver is too old for it; and what programs call that it is compared with. */
#define LOOPBACK_OTHER_CALLS(CALL)                                                                                         \
  CALL(func_get_param_info, cuFuncGetParamInfo,                                                                            \
       (cu_function function, size_t index, size_t * offset_out, size_t * byte_count_out))                                 \
  CALL(ctx_synchronize, cuCtxSynchronize, (void))                                                                          \
  CALL(memcpy_in, cuMemcpyHtoD_v2, (cu_device_address destination, const void *source, size_t byte_count))                 \
  CALL(memcpy_out, cuMemcpyDtoH_v2, (void *destination, cu_device_address source, size_t byte_count))                      \
  CALL(stream_synchronize, cuStreamSynchronize, (cu_stream stream))                                                        \
  CALL(mem_alloc_async, cuMemAllocAsync, (cu_device_address * address_out, size_t byte_count, cu_stream stream))           \
  CALL(mem_free_async, cuMemFreeAsync, (cu_device_address address, cu_stream stream))                                      \
  CALL(default_mem_pool, cuDeviceGetDefaultMemPool, (void **pool_out, cu_device device))                                   \
  CALL(mem_pool_set_attribute, cuMemPoolSetAttribute, (void *pool, int attribute, void *value))

/* The host memory behind a device address. */
static inline void *loopback_memory(cu_device_address address) { return (void *)(uintptr_t)(address - LOOPBACK_BIAS); }

/* The code that a kernel returned. The backend knows by this name that the driver is no GPU's. */
LOOPBACK_EXPORT int32_t loopback_kernel_code(int32_t result);

/* Whether a device was lost. It stays so as long as the process lives. */
LOOPBACK_EXPORT int32_t loopback_is_lost(int32_t device);

/* How often an entry point was called since the last reset; of all together for an empty name. */
LOOPBACK_EXPORT uint64_t loopback_calls(const char *name);

/* Sets counters, violations, failures and delays back. Contexts that are open stay. */
LOOPBACK_EXPORT void loopback_reset(void);

/*
 * Lets the nth call from now of an entry point answer `result`; 1 is the next. With `asynchronous`, the call succeeds and what
 * it puts on its stream fails.
 */
LOOPBACK_EXPORT void loopback_fail(const char *name, uint64_t nth, int32_t result, int32_t asynchronous);

/* How many of those failures have not come to pass yet. */
LOOPBACK_EXPORT uint64_t loopback_pending_failures(void);

/* The number of violations; the text tells of the first ones, a line each. */
LOOPBACK_EXPORT uint64_t loopback_violations(char *text_out, uint64_t byte_count);

/* Calls that were made for a context after it was lost and the caller was told so. */
LOOPBACK_EXPORT uint64_t loopback_calls_after_loss(void);

/* How many contexts are current on this thread, one above the other. */
LOOPBACK_EXPORT uint32_t loopback_context_depth(void);

/* What lives now, of LOOPBACK_*. */
LOOPBACK_EXPORT uint64_t loopback_live(int32_t kind);

/* Device memory of contexts that are opened from now on. */
LOOPBACK_EXPORT void loopback_set_memory(uint64_t byte_count);

/* How long everything on a stream takes from now on, at least. */
LOOPBACK_EXPORT void loopback_set_delay(uint64_t nanos);

/* What the driver's version is from now on, as cuDriverGetVersion tells it. A reset makes it 12.4 again. */
LOOPBACK_EXPORT void loopback_set_version(int32_t version);

/* Bits that stand in each device address that cuMemAlloc hands out from now on, until a reset. Nothing but cuMemFree takes it. */
LOOPBACK_EXPORT void loopback_set_address_bits(uint64_t bits);

#endif
