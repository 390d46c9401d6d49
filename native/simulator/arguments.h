/*
 * arguments.h: checking the argument table of a launch.
 */
#ifndef LEASEHOLD_SIMULATOR_ARGUMENTS_H
#define LEASEHOLD_SIMULATOR_ARGUMENTS_H

#include "outcome.h"
#include "ranges.h"

/* Checks the whole table against the live allocations. */
outcome arguments_check(const lh_argument *arguments, uint32_t count, const ranges *allocations);

/* Whether any argument of a checked table lies in the range. */
bool arguments_touch(const lh_argument *arguments, uint32_t count, range touched);

#endif
