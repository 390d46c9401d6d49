/*
 * sanitizer.h: tells AddressSanitizer which bytes of a mapping may be touched; nothing in builds without it.
 *
 * A slice is cut from one large mapping, so without this a sanitizer sees no difference between live and freed bytes.
 */
#ifndef LEASEHOLD_SIMULATOR_SANITIZER_H
#define LEASEHOLD_SIMULATOR_SANITIZER_H

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

static inline void forbid_bytes(uint64_t address, uint64_t byte_count) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region((void *)(uintptr_t)address, byte_count);
#else
  (void)address;
  (void)byte_count;
#endif
}

static inline void allow_bytes(uint64_t address, uint64_t byte_count) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region((void *)(uintptr_t)address, byte_count);
#else
  (void)address;
  (void)byte_count;
#endif
}

#endif
