#include "cuda/failures.h"

/*
 * The codes after which the context is lost. Source: the CUDA Driver API reference, section "Data types used by CUDA driver",
 * enum CUresult: those whose description says that the process has to be terminated and relaunched, or that the context cannot
 * be used any more, or that the device has to be reset.
 */
static const cu_result sticky_codes[] = {
    4,   /* CUDA_ERROR_DEINITIALIZED: the driver is shutting down */
    46,  /* CUDA_ERROR_DEVICE_UNAVAILABLE */
    201, /* CUDA_ERROR_INVALID_CONTEXT: the context is none, or was destroyed */
    214, /* CUDA_ERROR_ECC_UNCORRECTABLE */
    220, /* CUDA_ERROR_NVLINK_UNCORRECTABLE */
    226, /* CUDA_ERROR_CONTAINED */
    700, /* CUDA_ERROR_ILLEGAL_ADDRESS */
    702, /* CUDA_ERROR_LAUNCH_TIMEOUT */
    708, /* CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE: somebody else set the primary context up anew */
    709, /* CUDA_ERROR_CONTEXT_IS_DESTROYED */
    710, /* CUDA_ERROR_ASSERT */
    714, /* CUDA_ERROR_HARDWARE_STACK_ERROR */
    715, /* CUDA_ERROR_ILLEGAL_INSTRUCTION */
    716, /* CUDA_ERROR_MISALIGNED_ADDRESS */
    717, /* CUDA_ERROR_INVALID_ADDRESS_SPACE */
    718, /* CUDA_ERROR_INVALID_PC */
    719, /* CUDA_ERROR_LAUNCH_FAILED */
    721, /* CUDA_ERROR_TENSOR_MEMORY_LEAK */
    999, /* CUDA_ERROR_UNKNOWN */
};

/* The codes after which the context goes on. What is in neither list is not known, and not trusted. */
typedef struct plain_code {
  cu_result code;
  lh_status status;
  const char *detail;
} plain_code;

static const plain_code plain_codes[] = {
    {1, LH_INVALID_ARGUMENT, "The driver refuses an argument."},
    {2, LH_OUT_OF_MEMORY, "The device has no room for the bytes in one piece."},
    {3, LH_NO_DEVICE, "The driver is not initialised."},
    {100, LH_NO_DEVICE, "The driver shows no device."},
    {101, LH_NO_DEVICE, "The driver shows no device of that index."},
    {200, LH_LIBRARY_NOT_LOADED, "The module is no image that the driver can read."},
    {209, LH_LIBRARY_NOT_LOADED, "The module has no code for this device."},
    {218, LH_LIBRARY_NOT_LOADED, "The driver cannot compile the module."},
    {221, LH_LIBRARY_NOT_LOADED, "The driver's compiler is not there."},
    {222, LH_LIBRARY_NOT_LOADED, "The module is written for a newer driver."},
    {223, LH_LIBRARY_NOT_LOADED, "The driver is set up not to compile modules."},
    {300, LH_LIBRARY_NOT_LOADED, "The module has an invalid source."},
    {301, LH_LIBRARY_NOT_LOADED, "The module's file is not there."},
    {304, LH_HOST_OUT_OF_MEMORY, "The operating system refused the driver a call."},
    {400, LH_UNKNOWN_HANDLE, "The driver does not know a handle."},
    {500, LH_SYMBOL_NOT_FOUND, "The module has no such kernel."},
    {701, LH_LAUNCH_FAILED, "The kernel needs more registers or shared memory than a block can have."},
    {712, LH_INVALID_ARGUMENT, "The host memory is pinned already."},
    {713, LH_INVALID_ARGUMENT, "The host memory is not pinned."},
    {800, LH_UNSUPPORTED, "The driver does not permit the operation."},
    {801, LH_UNSUPPORTED, "The driver does not offer the operation."},
};

/* From here on the loopback driver of the tests tells of kernels that have returned a code, which none of a GPU can. */
enum { KERNEL_RESULT = 1000000 };

static bool is_sticky(cu_result code) {
  for (size_t index = 0; index < sizeof sticky_codes / sizeof *sticky_codes; index += 1) {
    if (sticky_codes[index] == code) {
      return true;
    }
  }
  return false;
}

/* One code stands for several things, and the call tells which. */
static lh_status status_for(const plain_code *known, call_purpose purpose) {
  switch (purpose) {
  case CALL_HOST_ALLOCATION:
    return known->status == LH_OUT_OF_MEMORY ? LH_HOST_OUT_OF_MEMORY : known->status;
  case CALL_TRANSFER:
    return LH_TRANSFER_FAILED;
  case CALL_MODULE:
    return known->status == LH_OUT_OF_MEMORY ? LH_OUT_OF_MEMORY : LH_LIBRARY_NOT_LOADED;
  case CALL_LAUNCH:
    return known->status == LH_OUT_OF_MEMORY ? LH_OUT_OF_MEMORY : LH_LAUNCH_FAILED;
  default:
    return known->status;
  }
}

outcome failure_of(const cuda_driver *driver, cu_result code, call_purpose purpose) {
  if (code == CU_SUCCESS) {
    return success();
  }
  outcome failed = failure(LH_DEVICE_LOST, is_sticky(code) ? "The device's context is lost; only a new process helps."
                                                           : "The driver answered a code that is not known.");
  failed.device_code = code;
  if (driver->kernel_code != NULL && code >= KERNEL_RESULT) {
    failed = failure(LH_LAUNCH_FAILED, "The kernel reported a failure.");
    failed.device_code = driver->kernel_code(code);
    return failed;
  }
  for (size_t index = 0; index < sizeof plain_codes / sizeof *plain_codes; index += 1) {
    if (plain_codes[index].code == code) {
      failed.status = status_for(&plain_codes[index], purpose);
      failed.detail = plain_codes[index].detail;
    }
  }
  return failed;
}
