/*
 * outcome.h: how a check or a piece of work ended, with what lh_last_error tells about it.
 */
#ifndef LEASEHOLD_COMMON_OUTCOME_H
#define LEASEHOLD_COMMON_OUTCOME_H

#include "leasehold_host_api.h"

#include <stddef.h>

#define NO_ENTRY UINT32_MAX

/* The longest sentence that lh_last_error has room for, with the zero at its end. */
#define DETAIL_MAX_BYTES (sizeof(((lh_error *)NULL)->detail))

typedef struct outcome {
  lh_status status;
  uint32_t entry_index; /* NO_ENTRY where no entry of a table failed */
  int64_t device_code;
  const char *detail; /* a sentence; it outlives the call */
} outcome;

static inline outcome success(void) {
  return (outcome){.status = LH_OK, .entry_index = NO_ENTRY, .device_code = 0, .detail = ""};
}

/* For a status that may as well be LH_OK; then the detail means nothing. */
static inline outcome outcome_of(lh_status status, const char *detail) {
  return (outcome){.status = status, .entry_index = NO_ENTRY, .device_code = 0, .detail = detail};
}

static inline outcome failure(lh_status status, const char *detail) { return outcome_of(status, detail); }

static inline outcome failure_at(lh_status status, uint32_t entry_index, const char *detail) {
  return (outcome){.status = status, .entry_index = entry_index, .device_code = 0, .detail = detail};
}

/* The sentence for a device address that ranges_check or ranges_end refused. */
static inline const char *address_detail(lh_status status) {
  switch (status) {
  case LH_OUT_OF_RANGE:
    return "The bytes reach beyond the allocation that they start in.";
  case LH_USE_AFTER_FREE:
    return "The address lies in an allocation that was freed.";
  case LH_DOUBLE_FREE:
    return "The allocation was freed already.";
  case LH_FOREIGN_POINTER:
    return "The address was never handed out by this context.";
  default:
    return "";
  }
}

#endif
