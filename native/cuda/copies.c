#include "cuda/copies.h"

#include "common/transfers.h"

#include <stdlib.h>
#include <string.h>

/* The bytes of an entry that are looked at, counted from its beginning. */
typedef struct span {
  uint64_t start;
  uint64_t end;
} span;

static uint64_t kind_of(const lh_transfer *transfer) { return (uint64_t)transfer->kind; }
static uint64_t bytes_of(const lh_transfer *transfer) { return (uint64_t)transfer->byte_count; }
static uint64_t destination_of(const lh_transfer *transfer) { return (uint64_t)transfer->destination; }
static uint64_t source_of(const lh_transfer *transfer) { return (uint64_t)transfer->source; }

static uint64_t copy_in_bytes(const lh_transfer *transfers, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index < count; index += 1) {
    sum += kind_of(&transfers[index]) == LH_TRANSFER_COPY_IN ? bytes_of(&transfers[index]) : 0;
  }
  return sum;
}

static bool overlap(uint64_t address, uint64_t byte_count, uint64_t other, uint64_t other_bytes) {
  return address < other + other_bytes && other < address + byte_count;
}

/*
 * Whether an entry of the host may read what another writes: then their order matters, byte for byte. It is enough to look at
 * the stretch that all of them write to, because that is a staging area, in which no view lies.
 */
static bool may_be_chained(const lh_transfer *transfers, uint32_t host_count) {
  uint64_t start = UINT64_MAX;
  uint64_t end = 0;
  for (uint32_t index = 0; index < host_count; index += 1) {
    uint64_t destination = destination_of(&transfers[index]);
    uint64_t destination_end = destination + bytes_of(&transfers[index]);
    start = destination < start ? destination : start;
    end = destination_end > end ? destination_end : end;
  }
  for (uint32_t index = 0; index < host_count; index += 1) {
    const lh_transfer *reader = &transfers[index];
    if (kind_of(reader) == LH_TRANSFER_HOST_COPY && overlap(source_of(reader), bytes_of(reader), start, end - start)) {
      return true;
    }
  }
  return false;
}

/* Whether an entry of the host writes nothing but what this entry reads when it travels. */
static bool feeds(const lh_transfer *host, const lh_transfer *travels) {
  return kind_of(travels) == LH_TRANSFER_COPY_IN && destination_of(host) >= source_of(travels) &&
         destination_of(host) + bytes_of(host) <= source_of(travels) + bytes_of(travels);
}

/* Whether each entry of the host feeds one that travels. Both come in the order of staging, so the search goes on where it was. */
static bool all_feed(const lh_transfer *transfers, uint32_t host_count, const lh_transfer *device, uint32_t device_count) {
  uint32_t fed = 0;
  for (uint32_t index = 0; index < host_count; index += 1) {
    uint32_t looked_at = 0;
    while (looked_at < device_count && !feeds(&transfers[index], &device[fed])) {
      fed = (fed + 1) % device_count;
      looked_at += 1;
    }
    if (looked_at == device_count) {
      return false;
    }
  }
  return true;
}

/* Carries out the part of a host entry that writes these addresses. */
static void perform_part(const lh_transfer *host, uint64_t from_address, uint64_t to_address) {
  uint64_t destination = destination_of(host);
  uint64_t end = destination + bytes_of(host);
  uint64_t start_address = destination > from_address ? destination : from_address;
  uint64_t end_address = end < to_address ? end : to_address;
  if (start_address >= end_address) {
    return;
  }
  void *target = (void *)(uintptr_t)start_address;
  if (kind_of(host) == LH_TRANSFER_HOST_FILL) {
    memset(target, (int)source_of(host), end_address - start_address);
  } else {
    const void *source = (const void *)(uintptr_t)(source_of(host) + (start_address - destination));
    memmove(target, source, end_address - start_address);
  }
}

static bool is_pinned_here(const lh_context *context, uint64_t address, uint64_t byte_count) {
  return ranges_check(&context->host_blocks, address, byte_count) == LH_OK ||
         ranges_check(&context->registered, address, byte_count) == LH_OK;
}

static bool is_pinned(lh_context *context, uint64_t address, uint64_t byte_count) {
  pthread_mutex_lock(&context->mutex);
  bool pinned = is_pinned_here(context, address, byte_count);
  pthread_mutex_unlock(&context->mutex);
  return pinned;
}

/* Whether an entry reads plain memory that one before it has copied out to. */
static bool reads_plain_copy_out(const lh_context *context, const lh_transfer *transfers, uint32_t index) {
  const lh_transfer *reader = &transfers[index];
  for (uint32_t earlier = 0; kind_of(reader) == LH_TRANSFER_COPY_IN && earlier < index; earlier += 1) {
    const lh_transfer *writer = &transfers[earlier];
    if (kind_of(writer) == LH_TRANSFER_COPY_OUT &&
        overlap(source_of(reader), bytes_of(reader), destination_of(writer), bytes_of(writer)) &&
        !(is_pinned_here(context, source_of(reader), bytes_of(reader)) &&
          is_pinned_here(context, destination_of(writer), bytes_of(writer)))) {
      return true;
    }
  }
  return false;
}

static uint32_t count_kind(const lh_transfer *transfers, uint32_t count, uint64_t kind) {
  uint32_t kind_count = 0;
  for (uint32_t index = 0; index < count; index += 1) {
    kind_count += kind_of(&transfers[index]) == kind ? 1 : 0;
  }
  return kind_count;
}

outcome copies_check(const lh_context *context, const lh_transfer *transfers, uint32_t count) {
  bool goes_both_ways = count_kind(transfers, count, LH_TRANSFER_COPY_OUT) > 0;
  for (uint32_t index = 0; goes_both_ways && index < count; index += 1) {
    if (reads_plain_copy_out(context, transfers, index)) {
      return failure_at(LH_UNSUPPORTED, index, "A table copies in plain host memory that it copies out to.");
    }
  }
  return success();
}

static outcome put_copy_in(lh_context *context, ticket_slot *slot, const lh_transfer *transfer, span part) {
  const void *source = (const void *)(uintptr_t)(source_of(transfer) + part.start);
  return ticket_put(context, slot,
                    context->driver->memcpy_in_async(destination_of(transfer) + part.start, source,
                                                     part.end - part.start, slot->stream));
}

/* Plain memory may change or go as soon as the call has ended, and the device does not reach it. */
static outcome put_plain_copy_in(lh_context *context, ticket_slot *slot, const lh_transfer *transfer) {
  void *pinned = NULL;
  outcome added = bounce_add(context, slot, bytes_of(transfer), NULL, &pinned);
  if (added.status != LH_OK) {
    return added;
  }
  memcpy(pinned, (const void *)(uintptr_t)source_of(transfer), bytes_of(transfer));
  return ticket_put(
      context, slot,
      context->driver->memcpy_in_async(destination_of(transfer), pinned, bytes_of(transfer), slot->stream));
}

static outcome put_copy_out(lh_context *context, ticket_slot *slot, const lh_transfer *transfer) {
  void *target = (void *)(uintptr_t)destination_of(transfer);
  if (!is_pinned(context, destination_of(transfer), bytes_of(transfer))) {
    outcome added = bounce_add(context, slot, bytes_of(transfer), target, &target);
    if (added.status != LH_OK) {
      return added;
    }
  }
  return ticket_put(
      context, slot,
      context->driver->memcpy_out_async(target, source_of(transfer), bytes_of(transfer), slot->stream));
}

static outcome put_fill(lh_context *context, ticket_slot *slot, const lh_transfer *transfer) {
  return ticket_put(context, slot,
                    context->driver->memset_async(destination_of(transfer), (unsigned char)source_of(transfer),
                                                  bytes_of(transfer), slot->stream));
}

/* Copies what lands in each piece, and sends it. */
static outcome put_pieces(lh_context *context, ticket_slot *slot, const lh_transfer *transfers, uint32_t host_count,
                          const lh_transfer *transfer) {
  outcome put = success();
  for (uint64_t start = 0; put.status == LH_OK && start < bytes_of(transfer); start += context->setup.piece_bytes) {
    uint64_t rest = bytes_of(transfer) - start;
    uint64_t piece_bytes = rest < context->setup.piece_bytes ? rest : context->setup.piece_bytes;
    span piece = {.start = start, .end = start + piece_bytes};
    for (uint32_t index = 0; index < host_count; index += 1) {
      perform_part(&transfers[index], source_of(transfer) + piece.start, source_of(transfer) + piece.end);
    }
    put = put_copy_in(context, slot, transfer, piece);
  }
  return put;
}

static outcome put_entry(lh_context *context, ticket_slot *slot, const lh_transfer *transfers, uint32_t staged_count,
                         const lh_transfer *transfer) {
  switch (kind_of(transfer)) {
  case LH_TRANSFER_COPY_OUT:
    return put_copy_out(context, slot, transfer);
  case LH_TRANSFER_FILL:
    return put_fill(context, slot, transfer);
  default:
    break;
  }
  if (staged_count > 0) {
    return put_pieces(context, slot, transfers, staged_count, transfer);
  }
  return is_pinned(context, source_of(transfer), bytes_of(transfer))
             ? put_copy_in(context, slot, transfer, (span){.start = 0, .end = bytes_of(transfer)})
             : put_plain_copy_in(context, slot, transfer);
}

/* Whether what the host copies is done piece by piece: where it is much, all of it lands in pinned memory that travels. */
static bool goes_in_pieces(lh_context *context, const lh_transfer *transfers, uint32_t host_count, uint32_t count) {
  const lh_transfer *device = transfers + host_count;
  uint32_t device_count = count - host_count;
  /* What is copied out may lie where the host reads or writes: then the host has to be first. */
  if (host_count == 0 || copy_in_bytes(device, device_count) <= context->setup.coalesce_max_bytes ||
      count_kind(device, device_count, LH_TRANSFER_COPY_OUT) > 0 || may_be_chained(transfers, host_count) ||
      !all_feed(transfers, host_count, device, device_count)) {
    return false;
  }
  for (uint32_t index = 0; index < device_count; index += 1) {
    if (kind_of(&device[index]) == LH_TRANSFER_COPY_IN &&
        !is_pinned(context, source_of(&device[index]), bytes_of(&device[index]))) {
      return false;
    }
  }
  return true;
}

outcome copies_submit(lh_context *context, ticket_slot *slot, const lh_transfer *transfers, uint32_t count) {
  uint32_t host_count = transfers_host_count(transfers, count);
  bool in_pieces = goes_in_pieces(context, transfers, host_count, count);
  if (!in_pieces) {
    transfers_perform(transfers, host_count);
  }
  outcome put = success();
  for (uint32_t index = host_count; put.status == LH_OK && index < count; index += 1) {
    put = put_entry(context, slot, transfers, in_pieces ? host_count : 0, &transfers[index]);
    put.entry_index = put.status == LH_OK ? UINT32_MAX : index;
  }
  return ticket_record(context, slot, put);
}

void copies_count(lh_context *context, const lh_transfer *transfers, uint32_t count) {
  lh_statistics *counters = &context->counters;
  for (uint32_t index = 0; index < count; index += 1) {
    switch (kind_of(&transfers[index])) {
    case LH_TRANSFER_COPY_IN:
      counters->copy_in_count += 1;
      counters->copied_in_bytes += bytes_of(&transfers[index]);
      break;
    case LH_TRANSFER_COPY_OUT:
      counters->copy_out_count += 1;
      counters->copied_out_bytes += bytes_of(&transfers[index]);
      break;
    case LH_TRANSFER_FILL:
      counters->fill_count += 1;
      break;
    default:
      break;
    }
  }
}
