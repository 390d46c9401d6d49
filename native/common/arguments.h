/*
 * arguments.h: checking the argument table of a launch.
 */
#ifndef LEASEHOLD_COMMON_ARGUMENTS_H
#define LEASEHOLD_COMMON_ARGUMENTS_H

#include "common/outcome.h"
#include "common/ranges.h"

/* Checks the whole table against the live allocations. */
outcome arguments_check(const lh_argument *arguments, uint32_t count, const ranges *allocations);

/* Whether any argument of a checked table lies in the range. */
bool arguments_touch(const lh_argument *arguments, uint32_t count, range touched);

#endif
