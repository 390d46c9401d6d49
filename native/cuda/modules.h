/*
 * modules.h: modules of PTX or machine code, and the kernels found in them. They live as long as the context.
 */
#ifndef LEASEHOLD_CUDA_MODULES_H
#define LEASEHOLD_CUDA_MODULES_H

#include "common/outcome.h"
#include "cuda/driver_library.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODULE_MAX_COUNT 256u
#define KERNEL_MAX_COUNT 4096u

/* The bytes of each parameter that a kernel takes. A driver that cannot tell leaves them unknown, and they are trusted then. */
typedef struct kernel_parameters {
  bool is_known;
  uint32_t count;
  uint32_t *byte_counts; /* owned */
} kernel_parameters;

typedef struct found_kernel {
  cu_function function;
  kernel_parameters parameters;
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

/* The number of a kernel that was found before; zero where it was not. */
double gpu_modules_find_kernel(const gpu_module_table *table, cu_function function);

/* Adds a kernel, and takes its parameters over. Zero where the table is full. */
double gpu_modules_add_kernel(gpu_module_table *table, cu_function function, kernel_parameters parameters);

/* The kernel of a number, or null. */
found_kernel *gpu_modules_kernel(gpu_module_table *table, double kernel);

/* Frees what the table holds on the host. */
void gpu_modules_forget(gpu_module_table *table);

#endif
