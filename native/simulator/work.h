/*
 * work.h: a piece of work: a table of transfers or the launch of a kernel, from when it is accepted until it ends.
 *
 * Work that ends within its call lives on the caller's stack and runs on the caller's thread; late work lives in its
 * ticket and runs on a thread of its lane. Either way it is on the context's list while it may touch memory. Calls that
 * are made at the same time are in no order, even on one lane, except that kernels run one at a time.
 *
 * All functions are called, and return, with the context's mutex held.
 */
#ifndef LEASEHOLD_SIMULATOR_WORK_H
#define LEASEHOLD_SIMULATOR_WORK_H

#include "leasehold_kernel.h"
#include "common/outcome.h"
#include "common/ranges.h"

#include <stdbool.h>
#include <stdint.h>

/* The lane of work on the host, which takes no time of the device. */
#define NO_LANE UINT32_MAX

typedef struct work {
  uint32_t lane; /* or NO_LANE */
  uint32_t count;
  const lh_transfer *transfers; /* null for a launch */
  const lh_argument *arguments; /* null for transfers */
  lh_kernel_function kernel;    /* null for transfers */
  char *lab_detail;             /* room for what the memory lab finds; null where it does not look */
  uint64_t number;              /* counts up in the order in which work is accepted */
  uint64_t cost_nanos;
  uint64_t end_nanos; /* on the device's clock */
  outcome result;     /* once it has ended */
  bool is_granted;    /* it may touch memory just now; kept only where a sanitizer watches */
  struct work *previous;
  struct work *next;
} work;

/* All work that has been accepted and has not ended, oldest first. */
typedef struct work_list {
  work *first;
  work *last;
  uint64_t accepted_count;
} work_list;

/* The table has been checked, and must stay what it is until the work ends. */
work work_of_transfers(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count);
work work_of_launch(lh_context *context, uint32_t lane, lh_kernel_function kernel, const lh_argument *arguments,
                    uint32_t count);

/* Puts checked work on the list. From now on nothing that it touches is freed. */
void work_accept(lh_context *context, work *accepted);

/* Does accepted work on this thread and takes it off the list. The mutex is given up meanwhile. */
outcome work_perform(lh_context *context, work *performed);

/* Takes accepted work off the list that will not be done. */
void work_drop(lh_context *context, work *dropped, outcome result);

/*
 * Waits until no work that was accepted before the call touches the range any more. A device that completes late waits
 * for all of it, as devices do whose free synchronises. LH_DEVICE_LOST where the device is lost meanwhile: then the
 * work may still go on.
 */
lh_status work_drain(lh_context *context, range touched);

#endif
