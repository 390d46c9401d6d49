/*
 * launches.h: launches of one step or several.
 */
#ifndef LEASEHOLD_CUDA_LAUNCHES_H
#define LEASEHOLD_CUDA_LAUNCHES_H

#include "cuda/context.h"

/* Checks a plan against the arguments of its launch, with the mutex held. */
outcome launches_check(lh_context *context, const lh_launch_plan *plan, const lh_argument *arguments, uint32_t count);

/* Puts all steps of a checked plan on the slot's stream. Called between begin and end, without the mutex. */
outcome launches_submit(lh_context *context, ticket_slot *slot, const lh_launch_plan *plan,
                        const lh_argument *arguments);

#endif
