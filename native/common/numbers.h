/*
 * numbers.h: the checks that every number from outside passes before it is used.
 */
#ifndef LEASEHOLD_COMMON_NUMBERS_H
#define LEASEHOLD_COMMON_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

/* Addresses and sizes are at most this, so that they pass through doubles unchanged. */
#define SAFE_INTEGER_MAX 9007199254740991u

/* False for a fraction, a negative number, one above SAFE_INTEGER_MAX, an infinity, and what is no number at all. */
static inline bool safe_integer_read(double number, uint64_t *value_out) {
  if (!(number >= 0.0 && number <= (double)SAFE_INTEGER_MAX)) {
    return false;
  }
  /* Signed conversions take one instruction where unsigned ones take several. */
  int64_t value = (int64_t)number;
  *value_out = (uint64_t)value;
  return (double)value == number;
}

static inline bool is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

/* Rounds up to a multiple; false where that overflows. */
static inline bool round_up(uint64_t value, uint64_t multiple, uint64_t *rounded_out) {
  uint64_t remainder = value % multiple;
  if (remainder == 0) {
    *rounded_out = value;
    return true;
  }
  return !__builtin_add_overflow(value, multiple - remainder, rounded_out);
}

static inline uint64_t uint64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t uint64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* The sum, or the largest value where there is none: a clock that runs off its end stands still. */
static inline uint64_t uint64_add_saturated(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

#endif
