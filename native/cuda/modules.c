#include "cuda/modules.h"

#include "common/numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* No module is larger; what is, is something else. */
#define IMAGE_MAX_BYTES (1ll << 30)

static outcome read_open_file(FILE *file, size_t byte_count, char **image_out) {
  char *image = malloc(byte_count + 1);
  if (image == NULL) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room for the module.");
  }
  if (fread(image, 1, byte_count, file) != byte_count) {
    free(image);
    return failure(LH_LIBRARY_NOT_LOADED, "The module's file cannot be read.");
  }
  /* PTX is text, and the driver looks for its end. */
  image[byte_count] = '\0';
  *image_out = image;
  return success();
}

outcome module_read(const char *path, char **image_out) {
  if (path == NULL || path[0] != '/') {
    return failure(LH_INVALID_ARGUMENT, "The path of a module is absolute.");
  }
  struct stat status;
  if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
    return failure(LH_LIBRARY_NOT_LOADED, "The module could not be loaded: there is no such file.");
  }
  if (status.st_size == 0 || status.st_size > IMAGE_MAX_BYTES) {
    return failure(LH_LIBRARY_NOT_LOADED, "The module's file is empty, or larger than any module.");
  }
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    return failure(LH_LIBRARY_NOT_LOADED, "The module's file cannot be opened.");
  }
  outcome read = read_open_file(file, (size_t)status.st_size, image_out);
  fclose(file);
  return read;
}

cu_module *gpu_modules_reserve(gpu_module_table *table) {
  if (table->module_count == MODULE_MAX_COUNT) {
    return NULL;
  }
  table->module_count += 1;
  return &table->modules[table->module_count - 1];
}

double gpu_modules_number(const gpu_module_table *table, const cu_module *place) { return (double)(place - table->modules + 1); }

void gpu_modules_give_back(gpu_module_table *table, cu_module *place) {
  if (*place == NULL && place == &table->modules[table->module_count - 1]) {
    table->module_count -= 1;
  }
}

cu_module gpu_modules_module(const gpu_module_table *table, double module) {
  uint64_t number = 0;
  bool is_known = safe_integer_read(module, &number) && number > 0 && number <= table->module_count;
  return is_known ? table->modules[number - 1] : NULL;
}

double gpu_modules_find_kernel(const gpu_module_table *table, cu_function function) {
  for (uint32_t index = 0; index < table->kernel_count; index += 1) {
    if (table->kernels[index].function == function) {
      return (double)(index + 1);
    }
  }
  return 0.0;
}

double gpu_modules_add_kernel(gpu_module_table *table, cu_function function, kernel_parameters parameters) {
  if (table->kernel_count == KERNEL_MAX_COUNT) {
    return 0.0;
  }
  table->kernels[table->kernel_count] = (found_kernel){.function = function, .parameters = parameters};
  table->kernel_count += 1;
  return (double)table->kernel_count;
}

found_kernel *gpu_modules_kernel(gpu_module_table *table, double kernel) {
  uint64_t number = 0;
  bool is_known = safe_integer_read(kernel, &number) && number > 0 && number <= table->kernel_count;
  return is_known ? &table->kernels[number - 1] : NULL;
}

void gpu_modules_forget(gpu_module_table *table) {
  for (uint32_t index = 0; index < table->kernel_count; index += 1) {
    free(table->kernels[index].parameters.byte_counts);
  }
  table->kernel_count = 0;
}
