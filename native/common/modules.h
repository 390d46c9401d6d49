/*
 * modules.h: libraries of kernels and the kernels found in them.
 *
 * Libraries are never unloaded: the host may hold threads in them, and koffi and other users may share them.
 */
#ifndef LEASEHOLD_COMMON_MODULES_H
#define LEASEHOLD_COMMON_MODULES_H

#include "leasehold_kernel.h"

#include <stddef.h>
#include <stdint.h>

#define MODULE_MAX_COUNT 256u
#define KERNEL_MAX_COUNT 4096u

typedef struct module_table {
  void *libraries[MODULE_MAX_COUNT]; /* the loader's handles */
  uint32_t library_count;
  lh_kernel_function kernels[KERNEL_MAX_COUNT];
  uint32_t kernel_count;
} module_table;

/* Loads a library; touches no table, so it needs no lock. On failure, `detail` holds a sentence. */
lh_status library_load(const char *path, void **library_out, char *detail, size_t detail_bytes);

/* Adds a library, or finds it where it was added before. LH_BUSY where the table is full. */
lh_status modules_add(module_table *table, void *library, lh_module *module_out);

/* Finds a kernel that the module itself exports. */
lh_status modules_find_kernel(module_table *table, lh_module module, const char *symbol, lh_kernel *kernel_out);

/* The function of a kernel, or null. */
lh_kernel_function modules_kernel(const module_table *table, lh_kernel kernel);

#endif
