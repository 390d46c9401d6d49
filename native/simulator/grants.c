#include "grants.h"

#if IS_SANITIZED

#include "common/numbers.h"

/* From an address up to another one, which is not part of it. */
typedef struct span {
  uint64_t start;
  uint64_t end;
} span;

/* The bytes on the device that an entry of the work names; empty where it names none. */
static span span_of_entry(const work *named, uint32_t index) {
  double address = 0;
  double byte_count = 0;
  if (named->kernel != NULL) {
    address = named->arguments[index].address;
    byte_count = address == 0 ? 0 : named->arguments[index].byte_count;
  } else {
    const lh_transfer *transfer = &named->transfers[index];
    int kind = (int)transfer->kind;
    bool is_on_device = kind == LH_TRANSFER_COPY_IN || kind == LH_TRANSFER_COPY_OUT || kind == LH_TRANSFER_FILL;
    address = kind == LH_TRANSFER_COPY_OUT ? transfer->source : transfer->destination;
    byte_count = is_on_device ? transfer->byte_count : 0;
  }
  return (span){.start = (uint64_t)address, .end = (uint64_t)address + (uint64_t)byte_count};
}

static bool is_empty(span bytes) { return bytes.start >= bytes.end; }

/* The first bytes inside of `whole` that a work with a grant names, or none. */
static span first_granted(const work_list *works, span whole) {
  span first = {.start = whole.end, .end = whole.end};
  for (const work *other = works->first; other != NULL; other = other->next) {
    for (uint32_t index = 0; other->is_granted && index < other->count; index += 1) {
      span named = span_of_entry(other, index);
      if (!is_empty(named) && named.end > whole.start && named.start < first.start) {
        first = named;
      }
    }
  }
  return first;
}

/* The bytes in front of a range that were allowed together with it go with it. */
static span with_bytes_in_front(span bytes) {
  bytes.start -= bytes.start % SANITIZER_GRANULE_BYTES;
  return bytes;
}

static void forbid_what_nobody_names(const work_list *works, span left) {
  while (!is_empty(left)) {
    span granted = first_granted(works, left);
    if (granted.start > left.start) {
      forbid_bytes(left.start, uint64_min(granted.start, left.end) - left.start);
    }
    left.start = uint64_max(left.start, granted.end);
  }
}

void grant_begin(work *begun) {
  begun->is_granted = true;
  for (uint32_t index = 0; index < begun->count; index += 1) {
    span named = span_of_entry(begun, index);
    if (!is_empty(named)) {
      allow_bytes(named.start, named.end - named.start);
    }
  }
}

void grant_end(const work_list *works, work *ended) {
  ended->is_granted = false;
  for (uint32_t index = 0; index < ended->count; index += 1) {
    span named = span_of_entry(ended, index);
    if (!is_empty(named)) {
      forbid_what_nobody_names(works, with_bytes_in_front(named));
    }
  }
}

#endif
