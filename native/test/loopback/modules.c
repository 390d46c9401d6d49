/*
 * modules.c: modules, the functions in them, and launches.
 */
#include "test/loopback/state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT LOOPBACK_EXPORT

static const char first_line[] = "leasehold loopback module\n";
static const char library_key[] = "library=";
static const char abi_line[] = "\nabi=kernel";

enum { PATH_BYTES = 4096, NAME_BYTES = 1024, PARAMETER_BYTES = 8 };

/* Reads the path of a module's library. */
static bool read_image(const char *image, char *path_out, bool *has_kernel_abi_out) {
  if (strncmp(image, first_line, strlen(first_line)) != 0) {
    return false;
  }
  const char *line = image + strlen(first_line);
  if (strncmp(line, library_key, strlen(library_key)) != 0) {
    return false;
  }
  const char *path = line + strlen(library_key);
  size_t length = strcspn(path, "\n");
  if (length == 0 || length >= PATH_BYTES) {
    return false;
  }
  memcpy(path_out, path, length);
  path_out[length] = '\0';
  *has_kernel_abi_out = strstr(image, abi_line) != NULL;
  return true;
}

EXPORT cu_result cuModuleLoadData(cu_module *module_out, const void *image) {
  call begun = call_begin(ENTRY_module_load_data, SCOPE_CONTEXT);
  char path[PATH_BYTES];
  bool has_kernel_abi = false;
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  void *library = read_image(image, path, &has_kernel_abi) ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
  for (uint32_t index = 0; library != NULL && index < MODULE_COUNT_MAX; index += 1) {
    cu_module module = &state.modules[index];
    if (!module->is_live) {
      *module = (struct cu_module_object){
          .is_live = true, .has_kernel_abi = has_kernel_abi, .context = begun.context, .library = library};
      *module_out = module;
      return call_end(&begun, CU_SUCCESS);
    }
  }
  return call_end(&begun, library == NULL ? 200 : CU_ERROR_OUT_OF_MEMORY);
}

static bool module_is_live(cu_module module, const call *begun) {
  bool is_live = module != NULL && module->is_live && module->context == begun->context;
  if (!is_live) {
    violate("a module of another context, or one that was unloaded");
  }
  return is_live;
}

EXPORT cu_result cuModuleUnload(cu_module module) {
  call begun = call_begin(ENTRY_module_unload, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    if (!module_is_live(module, &begun)) {
      return call_end(&begun, 400);
    }
    module->is_live = false;
  }
  return call_end(&begun, begun.result);
}

/* The bytes of a function's parameters, or null. */
static const uint8_t *find_parameters(void *library, const char *name) {
  char exported[NAME_BYTES];
  int length = snprintf(exported, sizeof exported, "%s_parameters", name);
  return length > 0 && (size_t)length < sizeof exported ? dlsym(library, exported) : NULL;
}

EXPORT cu_result cuModuleGetFunction(cu_function *function_out, cu_module module, const char *name) {
  call begun = call_begin(ENTRY_module_get_function, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  if (!module_is_live(module, &begun)) {
    return call_end(&begun, 400);
  }
  void *symbol = dlsym(module->library, name);
  const uint8_t *parameter_bytes = module->has_kernel_abi ? NULL : find_parameters(module->library, name);
  if (symbol == NULL || (parameter_bytes == NULL && !module->has_kernel_abi)) {
    return call_end(&begun, CU_ERROR_NOT_FOUND);
  }
  for (uint32_t index = 0; index < state.function_count; index += 1) {
    if (state.functions[index].module == module && state.functions[index].symbol == symbol) {
      *function_out = &state.functions[index];
      return call_end(&begun, CU_SUCCESS);
    }
  }
  if (state.function_count == FUNCTION_MAX_COUNT) {
    return call_end(&begun, CU_ERROR_OUT_OF_MEMORY);
  }
  cu_function function = &state.functions[state.function_count];
  state.function_count += 1;
  *function = (struct cu_function_object){.module = module, .symbol = symbol, .parameter_bytes = parameter_bytes};
  *function_out = function;
  return call_end(&begun, CU_SUCCESS);
}

/* What a function with the ABI of kernels takes depends on the launch. */
EXPORT cu_result cuFuncGetParamInfo(cu_function function, size_t index, size_t *offset_out, size_t *byte_count_out) {
  call begun = call_begin(ENTRY_func_get_param_info, SCOPE_CONTEXT);
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  if (!module_is_live(function->module, &begun)) {
    return call_end(&begun, 400);
  }
  if (function->parameter_bytes == NULL) {
    return call_end(&begun, CU_ERROR_NOT_SUPPORTED);
  }
  size_t offset = 0;
  for (size_t before = 0; function->parameter_bytes[before] > 0; before += 1) {
    size_t byte_count = function->parameter_bytes[before];
    offset = (offset + byte_count - 1) / byte_count * byte_count;
    if (before == index) {
      *offset_out = offset;
      *byte_count_out = byte_count;
      return call_end(&begun, CU_SUCCESS);
    }
    offset += byte_count;
  }
  return call_end(&begun, CU_ERROR_INVALID_VALUE);
}

EXPORT cu_result cuFuncSetAttribute(cu_function function, int attribute, int value) {
  call begun = call_begin(ENTRY_func_set_attribute, SCOPE_CONTEXT);
  (void)attribute;
  if (begun.result == CU_SUCCESS && !module_is_live(function->module, &begun)) {
    begun.result = 400;
  }
  if (begun.result == CU_SUCCESS && value < 0) {
    begun.result = CU_ERROR_INVALID_VALUE;
  }
  return call_end(&begun, begun.result);
}

/* Launches -------------------------------------------------------------------------------------------------------- */

static uint32_t read_uint32(const void *parameter) {
  uint32_t value;
  memcpy(&value, parameter, sizeof value);
  return value;
}

static uint64_t read_uint64(const void *parameter) {
  uint64_t value;
  memcpy(&value, parameter, sizeof value);
  return value;
}

/* Makes the argument table that a kernel of leasehold_kernel.h takes, and notes what it touches. */
static lh_argument *read_arguments(void **parameters, operation *launched) {
  uint32_t count = read_uint32(parameters[0]);
  lh_argument *arguments = calloc(count > 0 ? count : 1, sizeof *arguments);
  launched->touched = calloc(count > 0 ? count : 1, sizeof *launched->touched);
  launched->argument_count = count;
  uint32_t next = 1;
  for (uint32_t index = 0; index < count; index += 1) {
    lh_argument *argument = &arguments[index];
    uint32_t kind = read_uint32(parameters[next]);
    uint64_t byte_count = read_uint64(parameters[next + 2]);
    uint32_t rank = read_uint32(parameters[next + 4]);
    argument->kind = kind;
    argument->dtype = read_uint32(parameters[next + 1]);
    argument->byte_count = (double)byte_count;
    argument->rank = rank;
    if (kind == LH_ARGUMENT_SCALAR) {
      memcpy(argument->scalar, parameters[next + 3], byte_count <= sizeof argument->scalar ? byte_count : 0);
    } else if (byte_count > 0) {
      uint64_t address = read_uint64(parameters[next + 3]);
      argument->address = (double)(address - LOOPBACK_BIAS);
      launched->touched[launched->touched_count] = (touched_range){
          .address = address, .byte_count = byte_count, .is_written = kind != LH_ARGUMENT_INPUT && kind != LH_ARGUMENT_RESIDENT};
      launched->touched_count += 1;
    }
    for (uint32_t dim = 0; dim < rank && dim < LH_ARGUMENT_MAX_RANK; dim += 1) {
      argument->dims[dim] = (double)read_uint64(parameters[next + 5 + dim]);
    }
    next += 5 + rank;
  }
  return arguments;
}

static uint32_t count_parameters(const uint8_t *parameter_bytes) {
  uint32_t count = 0;
  while (parameter_bytes[count] > 0) {
    count += 1;
  }
  return count;
}

/* Copies the parameters: the caller's are gone when the kernel begins. Their values come first, then the pointers to them. */
static void *copy_parameters(void **parameters, const uint8_t *parameter_bytes) {
  uint32_t count = count_parameters(parameter_bytes);
  unsigned char *values = calloc(count > 0 ? count : 1, PARAMETER_BYTES);
  for (uint32_t index = 0; index < count; index += 1) {
    memcpy(values + (size_t)index * PARAMETER_BYTES, parameters[index], parameter_bytes[index]);
  }
  return values;
}

static bool touches_dead_memory(const call *begun, const operation *launched) {
  for (uint32_t index = 0; index < launched->touched_count; index += 1) {
    const touched_range *touched = &launched->touched[index];
    if (ranges_check(&begun->context->memory.allocations, touched->address - LOOPBACK_BIAS, touched->byte_count) !=
        LH_OK) {
      return true;
    }
  }
  return false;
}

EXPORT cu_result cuLaunchKernel(cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                                unsigned int block_x, unsigned int block_y, unsigned int block_z,
                                unsigned int shared_bytes, cu_stream stream, void **parameters, void **extra) {
  call begun = call_begin(ENTRY_launch_kernel, SCOPE_CONTEXT);
  (void)extra;
  if (begun.result != CU_SUCCESS) {
    return call_end(&begun, begun.result);
  }
  if (!module_is_live(function->module, &begun) || !stream_is_live(stream, &begun)) {
    return call_end(&begun, 400);
  }
  operation launched = {
      .kind = OPERATION_LAUNCH,
      .function = function,
      .geometry = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes},
      .failure = begun.asynchronous,
  };
  launched.parameters = function->module->has_kernel_abi ? (void *)read_arguments(parameters, &launched)
                                                         : copy_parameters(parameters, function->parameter_bytes);
  if (touches_dead_memory(&begun, &launched)) {
    violate("a kernel is launched on memory that is none, or not any more");
  }
  stream_put(stream, launched);
  return call_end(&begun, CU_SUCCESS);
}

enum { KERNEL_CODE_MAX_COUNT = 4096 };

/* What kernels have returned, the latest of them. */
static int32_t kernel_codes[KERNEL_CODE_MAX_COUNT];
static uint32_t kernel_code_count = 0;

static cu_result remember_code(int32_t code) {
  pthread_mutex_lock(&state.mutex);
  uint32_t place = kernel_code_count % KERNEL_CODE_MAX_COUNT;
  kernel_codes[place] = code;
  kernel_code_count += 1;
  pthread_mutex_unlock(&state.mutex);
  return LOOPBACK_KERNEL_RESULT + (cu_result)place;
}

int32_t loopback_kernel_code(int32_t result) {
  pthread_mutex_lock(&state.mutex);
  int32_t code = kernel_codes[(result - LOOPBACK_KERNEL_RESULT) % KERNEL_CODE_MAX_COUNT];
  pthread_mutex_unlock(&state.mutex);
  return code;
}

static cu_result perform_table(const operation *launched) {
  lh_kernel_function kernel;
  memcpy(&kernel, &launched->function->symbol, sizeof kernel);
  int32_t code = kernel(launched->parameters, launched->argument_count);
  return code == LH_OK ? CU_SUCCESS : code == LH_DEVICE_LOST ? 719 : remember_code(code);
}

cu_result launch_perform(const operation *launched) {
  if (launched->function->module->has_kernel_abi) {
    return perform_table(launched);
  }
  uint32_t count = count_parameters(launched->function->parameter_bytes);
  void **pointers = calloc(count > 0 ? count : 1, sizeof *pointers);
  for (uint32_t index = 0; index < count; index += 1) {
    pointers[index] = (unsigned char *)launched->parameters + (size_t)index * PARAMETER_BYTES;
  }
  loopback_kernel kernel;
  memcpy(&kernel, &launched->function->symbol, sizeof kernel);
  kernel(pointers, &launched->geometry);
  free(pointers);
  return CU_SUCCESS;
}
