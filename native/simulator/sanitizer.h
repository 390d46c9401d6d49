/*
 * sanitizer.h: tells AddressSanitizer which bytes of a mapping may be touched; nothing in builds without it.
 *
 * A slice is cut from one large mapping, so without this a sanitizer sees no difference between live and freed bytes,
 * nor between a slice and its neighbour.
 *
 * AddressSanitizer keeps one note for each 8 bytes: how many of them, from the first on, may be touched. So a range
 * ends where it ends, but the up to 7 bytes before a range that starts in between are allowed together with it.
 * Forbidding never forbids more than it is asked to.
 */
#ifndef LEASEHOLD_SIMULATOR_SANITIZER_H
#define LEASEHOLD_SIMULATOR_SANITIZER_H

#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#if !defined(IS_SANITIZED)
#define IS_SANITIZED 0
#endif

#if IS_SANITIZED
#include <sanitizer/asan_interface.h>
#define NOT_SANITIZED __attribute__((no_sanitize_address))
#endif

/* How many bytes share one note of the sanitizer. */
#define SANITIZER_GRANULE_BYTES 8u

static inline void forbid_bytes(uint64_t address, uint64_t byte_count) {
#if IS_SANITIZED
  __asan_poison_memory_region((void *)(uintptr_t)address, byte_count);
#else
  (void)address;
  (void)byte_count;
#endif
}

static inline void allow_bytes(uint64_t address, uint64_t byte_count) {
#if IS_SANITIZED
  __asan_unpoison_memory_region((void *)(uintptr_t)address, byte_count);
#else
  (void)address;
  (void)byte_count;
#endif
}

/*
 * Fills bytes that may be forbidden, and leaves them as they are. A sanitizer looks into every memset, so where there
 * is one this is a loop; and the compiler must not make a memset of it, so the bytes are volatile.
 */
#if IS_SANITIZED
static inline NOT_SANITIZED void fill_forbidden_bytes(uint64_t address, uint8_t value, uint64_t byte_count) {
  volatile uint8_t *bytes = (volatile uint8_t *)(uintptr_t)address;
  uint64_t index = 0;
  for (; index < byte_count && (address + index) % sizeof(uint64_t) != 0; index += 1) {
    bytes[index] = value;
  }
  uint64_t repeated = 0x0101010101010101u * value;
  for (; byte_count - index >= sizeof repeated; index += sizeof repeated) {
    *(volatile uint64_t *)(uintptr_t)(address + index) = repeated;
  }
  for (; index < byte_count; index += 1) {
    bytes[index] = value;
  }
}
#else
static inline void fill_forbidden_bytes(uint64_t address, uint8_t value, uint64_t byte_count) {
  memset((void *)(uintptr_t)address, value, byte_count);
}
#endif

#endif
