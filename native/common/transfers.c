#include "common/transfers.h"

#include "common/numbers.h"

#include <string.h>

enum { FILL_VALUE_MAX = 255 };

/* One entry with its numbers read. */
typedef struct entry {
  uint64_t kind;
  uint64_t destination;
  uint64_t source; /* an address, or a byte value */
  uint64_t byte_count;
} entry;

static bool is_host_kind(uint64_t kind) { return kind == LH_TRANSFER_HOST_COPY || kind == LH_TRANSFER_HOST_FILL; }
static bool is_fill_kind(uint64_t kind) { return kind == LH_TRANSFER_FILL || kind == LH_TRANSFER_HOST_FILL; }

static bool read_entry(const lh_transfer *transfer, entry *entry_out) {
  bool is_valid = safe_integer_read(transfer->kind, &entry_out->kind);
  is_valid = safe_integer_read(transfer->destination, &entry_out->destination) && is_valid;
  is_valid = safe_integer_read(transfer->source, &entry_out->source) && is_valid;
  is_valid = safe_integer_read(transfer->byte_count, &entry_out->byte_count) && is_valid;
  return is_valid;
}

/* The entry of a table that has been checked. */
static entry trusted_entry(const lh_transfer *transfer) {
  return (entry){
      .kind = (uint64_t)transfer->kind,
      .destination = (uint64_t)transfer->destination,
      .source = (uint64_t)transfer->source,
      .byte_count = (uint64_t)transfer->byte_count,
  };
}

static outcome check_device_range(uint64_t address, uint64_t byte_count, const memory_map *memory) {
  if (address == 0) {
    return failure(LH_INVALID_ARGUMENT, "A device address is null.");
  }
  lh_status status = ranges_check(memory->allocations, address, byte_count);
  return outcome_of(status, address_detail(status));
}

static bool overlaps_bytes(uint64_t address, uint64_t byte_count, uint64_t other_address, uint64_t other_bytes) {
  return address < other_address + other_bytes && other_address < address + byte_count;
}

static bool lies_on_device(uint64_t address, uint64_t byte_count, const memory_map *memory) {
  return overlaps_bytes(address, byte_count, memory->device_address, memory->device_bytes) ||
         ranges_overlap(memory->allocations, address, byte_count);
}

/*
 * Host memory that is not ours is the caller's word: only what can be known is checked. On a real device its own
 * memory is no host memory, so it is not here either.
 */
static outcome check_host_range(uint64_t address, uint64_t byte_count, const memory_map *memory) {
  if (address == 0) {
    return failure(LH_INVALID_ARGUMENT, "A host address is null.");
  }
  if (byte_count > SAFE_INTEGER_MAX - address) {
    return failure(LH_INVALID_ARGUMENT, "A host range ends beyond all addresses.");
  }
  if (lies_on_device(address, byte_count, memory)) {
    return failure(LH_INVALID_ARGUMENT, "A host range lies in device memory.");
  }
  if (ranges_find(memory->host_blocks, address) != NULL &&
      ranges_check(memory->host_blocks, address, byte_count) != LH_OK) {
    return failure(LH_OUT_OF_RANGE, "The bytes reach beyond the host allocation that they start in.");
  }
  return success();
}

/* The bytes that the entry reads; a fill reads none. */
static outcome check_source(entry checked, const memory_map *memory) {
  if (is_fill_kind(checked.kind)) {
    return checked.source <= FILL_VALUE_MAX ? success()
                                            : failure(LH_INVALID_ARGUMENT, "A fill value is above 255.");
  }
  return checked.kind == LH_TRANSFER_COPY_OUT ? check_device_range(checked.source, checked.byte_count, memory)
                                              : check_host_range(checked.source, checked.byte_count, memory);
}

/* The bytes that the entry writes. */
static outcome check_destination(entry checked, const memory_map *memory) {
  bool is_on_device = checked.kind == LH_TRANSFER_COPY_IN || checked.kind == LH_TRANSFER_FILL;
  return is_on_device ? check_device_range(checked.destination, checked.byte_count, memory)
                      : check_host_range(checked.destination, checked.byte_count, memory);
}

static outcome check_entry(const lh_transfer *transfer, transfer_order order, bool device_entry_seen,
                           const memory_map *memory) {
  entry checked = {0};
  if (!read_entry(transfer, &checked)) {
    return failure(LH_INVALID_ARGUMENT, "A number is no integer from 0 to 2^53 - 1.");
  }
  if (checked.kind < LH_TRANSFER_COPY_IN || checked.kind > LH_TRANSFER_HOST_FILL) {
    return failure(LH_INVALID_ARGUMENT, "There is no such kind of transfer.");
  }
  if (checked.byte_count == 0) {
    return failure(LH_INVALID_ARGUMENT, "A transfer has no bytes.");
  }
  if (order == TRANSFERS_HOST_ENTRIES_ONLY && !is_host_kind(checked.kind)) {
    return failure(LH_INVALID_ARGUMENT, "Only copies and fills on the host can be collected.");
  }
  if (order == TRANSFERS_HOST_ENTRIES_FIRST && is_host_kind(checked.kind) && device_entry_seen) {
    return failure(LH_INVALID_ARGUMENT, "A copy or fill on the host stands behind an entry for the device.");
  }
  outcome checked_destination = check_destination(checked, memory);
  return checked_destination.status == LH_OK ? check_source(checked, memory) : checked_destination;
}

outcome transfers_check(const lh_transfer *transfers, uint32_t count, transfer_order order, const memory_map *memory) {
  bool device_entry_seen = false;
  for (uint32_t index = 0; index < count; index += 1) {
    outcome checked = check_entry(&transfers[index], order, device_entry_seen, memory);
    if (checked.status != LH_OK) {
      return failure_at(checked.status, index, checked.detail);
    }
    device_entry_seen = device_entry_seen || !is_host_kind((uint64_t)transfers[index].kind);
  }
  return success();
}

uint32_t transfers_host_count(const lh_transfer *transfers, uint32_t count) {
  uint32_t host_count = 0;
  while (host_count < count && is_host_kind((uint64_t)transfers[host_count].kind)) {
    host_count += 1;
  }
  return host_count;
}

void transfers_perform(const lh_transfer *transfers, uint32_t count) {
  for (uint32_t index = 0; index < count; index += 1) {
    entry moved = trusted_entry(&transfers[index]);
    void *destination = (void *)(uintptr_t)moved.destination;
    if (is_fill_kind(moved.kind)) {
      memset(destination, (int)moved.source, moved.byte_count);
    } else {
      /* Host ranges of the caller may overlap each other. */
      memmove(destination, (const void *)(uintptr_t)moved.source, moved.byte_count);
    }
  }
}

static bool overlaps(uint64_t address, uint64_t byte_count, range touched) {
  return overlaps_bytes(address, byte_count, touched.address, touched.reserved_bytes);
}

bool transfers_touch(const lh_transfer *transfers, uint32_t count, range touched) {
  for (uint32_t index = 0; index < count; index += 1) {
    entry moved = trusted_entry(&transfers[index]);
    bool reads = !is_fill_kind(moved.kind) && overlaps(moved.source, moved.byte_count, touched);
    if (reads || overlaps(moved.destination, moved.byte_count, touched)) {
      return true;
    }
  }
  return false;
}
