/*
 * memory_lab.h: finds kernels that trust memory which nobody defined, and kernels that leave memory undefined.
 *
 * A pure output and a scratch hold anything when a kernel begins. So before a launch the lab executes the kernel
 * several times on the same inputs, each time with other bytes in those arguments, and compares what comes out:
 *
 *   - a byte of an output that always keeps what lay there was never written;
 *   - any other difference comes from an output or a scratch that was read before it was written. Which one is found by
 *     changing what one argument holds and nothing else.
 *
 * Outputs, inouts and residents are compared, and what the kernel returns. Inputs are not: nobody reads them
 * afterwards. Whatever the kernel changed is put back after each execution, so the launch finds memory as it was.
 *
 * What the lab cannot judge: bytes outside of all arguments, such as padding and tails; an output or a scratch that
 * overlaps another argument, because filling it would change that one; a byte that is written back as it was read; what
 * was read and does not show; and a launch that fails by itself. A kernel that takes an index or a count from undefined
 * memory may stop the process, which is what it might have done on any day.
 */
#ifndef LEASEHOLD_SIMULATOR_MEMORY_LAB_H
#define LEASEHOLD_SIMULATOR_MEMORY_LAB_H

#include "leasehold_kernel.h"
#include "common/outcome.h"

/*
 * Examines a launch whose table has been checked. Success where there is nothing to find; otherwise LH_LAUNCH_FAILED,
 * the guilty argument and a sentence in `detail`, which has room for DETAIL_MAX_BYTES and must outlive the outcome.
 */
outcome memory_lab_examine(lh_kernel_function kernel, const lh_argument *arguments, uint32_t count, char *detail);

#endif
