/*
 * modules.h: modules of PTX or machine code, and the kernels found in them. They live as long as the context.
 */
#ifndef LEASEHOLD_CUDA_MODULES_H
#define LEASEHOLD_CUDA_MODULES_H

#include "common/outcome.h"
#include "cuda/driver_library.h"

#include <stddef.h>
#include <stdint.h>

#define MODULE_MAX_COUNT 256u
#define KERNEL_MAX_COUNT 4096u

typedef struct found_kernel {
  cu_function function;
  uint32_t shared_bytes; /* the most that it was allowed so far, above what every kernel is */
} found_kernel;

typedef struct gpu_module_table {
  cu_module modules[MODULE_MAX_COUNT];
  uint32_t module_count;
  found_kernel kernels[KERNEL_MAX_COUNT];
  uint32_t kernel_count;
} gpu_module_table;

/* Reads a module's file, with a zero behind it. The caller frees it. Needs no lock. */
outcome module_read(const char *path, char **image_out);

/* The place of a new module, or null where there is none. */
cu_module *gpu_modules_reserve(gpu_module_table *table);

/* The number that a place goes by. */
double gpu_modules_number(const gpu_module_table *table, const cu_module *place);

/* Gives the last place back where no module came to be in it, so that trying again does not use places up. */
void gpu_modules_give_back(gpu_module_table *table, cu_module *place);

/* The module of a number, or null. */
cu_module gpu_modules_module(const gpu_module_table *table, double module);

/* Adds a kernel, or finds it where it was found before. Zero where the table is full. */
double gpu_modules_add_kernel(gpu_module_table *table, cu_function function);

/* The kernel of a number, or null. */
found_kernel *gpu_modules_kernel(gpu_module_table *table, double kernel);

#endif
