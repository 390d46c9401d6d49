#include "common/modules.h"

#include "common/numbers.h"

#include <dlfcn.h>
#if defined(__linux__)
#include <link.h>
#endif
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What the loader says, without the path that it likes to begin with: the caller knows the path, and room is short. */
static void describe_load_failure(const char *path, char *detail, size_t detail_bytes) {
  const char *reason = dlerror();
  size_t path_length = strlen(path);
  if (reason == NULL) {
    reason = "the loader gives no reason";
  } else if (strncmp(reason, path, path_length) == 0 && strncmp(reason + path_length, ": ", 2) == 0) {
    reason += path_length + 2;
  }
  snprintf(detail, detail_bytes, "The library could not be loaded: %s.", reason);
}

lh_status library_load(const char *path, void **library_out, char *detail, size_t detail_bytes) {
  if (path == NULL || path[0] != '/') {
    snprintf(detail, detail_bytes, "The path of a library is absolute.");
    return LH_INVALID_ARGUMENT;
  }
  struct stat file;
  if (stat(path, &file) != 0 || !S_ISREG(file.st_mode)) {
    snprintf(detail, detail_bytes, "The library could not be loaded: there is no such file.");
    return LH_LIBRARY_NOT_LOADED;
  }
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == NULL) {
    describe_load_failure(path, detail, detail_bytes);
    return LH_LIBRARY_NOT_LOADED;
  }
  *library_out = handle;
  return LH_OK;
}

lh_status modules_add(module_table *table, void *library, lh_module *module_out) {
  for (uint32_t index = 0; index < table->library_count; index += 1) {
    if (table->libraries[index] == library) {
      *module_out = (double)(index + 1);
      return LH_OK;
    }
  }
  if (table->library_count == MODULE_MAX_COUNT) {
    return LH_BUSY;
  }
  table->libraries[table->library_count] = library;
  table->library_count += 1;
  *module_out = (double)table->library_count;
  return LH_OK;
}

/*
 * dlsym also looks into the libraries that a library depends on, so that every function of the C library would pass for
 * a kernel. Only what lies in the module itself is one.
 */
static bool is_own_symbol(void *library, const void *symbol_address) {
#if defined(__linux__)
  struct link_map *map = NULL;
  Dl_info own;
  Dl_info found;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && dladdr(map->l_ld, &own) != 0 &&
         dladdr(symbol_address, &found) != 0 && own.dli_fbase == found.dli_fbase;
#else
  (void)library;
  (void)symbol_address;
  return true;
#endif
}

static lh_status add_kernel(module_table *table, lh_kernel_function function, lh_kernel *kernel_out) {
  for (uint32_t index = 0; index < table->kernel_count; index += 1) {
    if (table->kernels[index] == function) {
      *kernel_out = (double)(index + 1);
      return LH_OK;
    }
  }
  if (table->kernel_count == KERNEL_MAX_COUNT) {
    return LH_BUSY;
  }
  table->kernels[table->kernel_count] = function;
  table->kernel_count += 1;
  *kernel_out = (double)table->kernel_count;
  return LH_OK;
}

lh_status modules_find_kernel(module_table *table, lh_module module, const char *symbol, lh_kernel *kernel_out) {
  uint64_t number = 0;
  if (!safe_integer_read(module, &number) || symbol == NULL || symbol[0] == '\0') {
    return LH_INVALID_ARGUMENT;
  }
  if (number == 0 || number > table->library_count) {
    return LH_UNKNOWN_HANDLE;
  }
  void *library = table->libraries[number - 1];
  void *symbol_address = dlsym(library, symbol);
  if (symbol_address == NULL || !is_own_symbol(library, symbol_address)) {
    return LH_SYMBOL_NOT_FOUND;
  }
  /* ISO C has no cast from an object pointer to a function pointer, but POSIX promises that they look the same. */
  lh_kernel_function function;
  memcpy(&function, &symbol_address, sizeof function);
  return add_kernel(table, function, kernel_out);
}

lh_kernel_function modules_kernel(const module_table *table, lh_kernel kernel) {
  uint64_t number = 0;
  if (!safe_integer_read(kernel, &number) || number == 0 || number > table->kernel_count) {
    return NULL;
  }
  return table->kernels[number - 1];
}
