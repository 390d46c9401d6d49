/*
 * pause.h: waiting for the device: spinning briefly, then sleeping for longer and longer, for a bounded time.
 */
#ifndef LEASEHOLD_CUDA_PAUSE_H
#define LEASEHOLD_CUDA_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct patience {
  uint64_t start_nanos;
  uint64_t limit_nanos;
  uint64_t sleep_nanos; /* of the next pause */
} patience;

patience patience_of(uint64_t limit_nanos);

/* Lets a little time pass. False, at once, where the limit is reached. */
bool patience_pause(patience *left);

#endif
