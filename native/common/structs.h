/*
 * structs.h: reading and writing structs that may be shorter or longer at the caller's than they are here.
 */
#ifndef LEASEHOLD_COMMON_STRUCTS_H
#define LEASEHOLD_COMMON_STRUCTS_H

#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The number of bytes that both sides know; 0 where the caller's struct is null or does not even hold its own size. */
static inline size_t struct_shared_bytes(const void *theirs, size_t our_bytes) {
  uint32_t their_bytes = 0;
  if (theirs != NULL) {
    memcpy(&their_bytes, theirs, sizeof their_bytes);
  }
  if (their_bytes < sizeof their_bytes) {
    return 0;
  }
  return their_bytes < our_bytes ? their_bytes : our_bytes;
}

/* Copies what both sides know of a caller's struct; the rest of ours is zero. */
static inline bool struct_read(const void *theirs, void *ours, size_t our_bytes) {
  size_t shared_bytes = struct_shared_bytes(theirs, our_bytes);
  memset(ours, 0, our_bytes);
  if (shared_bytes > 0) {
    memcpy(ours, theirs, shared_bytes);
  }
  return shared_bytes > 0;
}

/* Copies what both sides know into a caller's struct, whose struct_bytes stays what it is. */
static inline outcome struct_write(void *theirs, const void *ours, size_t our_bytes) {
  size_t size_bytes = sizeof(uint32_t);
  size_t shared_bytes = struct_shared_bytes(theirs, our_bytes);
  if (shared_bytes == 0) {
    return failure(LH_INVALID_ARGUMENT, "A struct is null or has no struct_bytes.");
  }
  memcpy((char *)theirs + size_bytes, (const char *)ours + size_bytes, shared_bytes - size_bytes);
  return success();
}

#endif
