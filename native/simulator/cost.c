#include "cost.h"

#include "common/numbers.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define NANOS_PER_SECOND 1000000000u

/* Bytes times nanoseconds need more than 64 bits. */
__extension__ typedef unsigned __int128 uint128;

uint64_t monotonic_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NANOS_PER_SECOND + (uint64_t)now.tv_nsec;
}

void clock_open(device_clock *clock, const settings *setup) {
  memset(clock, 0, sizeof *clock);
  clock->is_virtual = setup->clock_is_virtual;
  clock->lanes_overlap = setup->lanes_overlap;
  clock->opened_nanos = monotonic_nanos();
}

/* With serial lanes, the first stands for all. */
static uint64_t *lane_clock(device_clock *clock, uint32_t lane) {
  assert(lane < LH_LANE_COUNT);
  return &clock->lane_nanos[clock->lanes_overlap ? lane : 0];
}

/* What the host's own clock reads. */
static uint64_t host_now(const device_clock *clock) {
  return clock->is_virtual ? clock->host_nanos : monotonic_nanos() - clock->opened_nanos;
}

static uint64_t furthest_lane(const device_clock *clock) {
  uint64_t furthest_nanos = 0;
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    furthest_nanos = uint64_max(furthest_nanos, clock->lane_nanos[lane]);
  }
  return furthest_nanos;
}

uint64_t clock_read(const device_clock *clock) {
  return clock->is_virtual ? uint64_max(clock->host_nanos, furthest_lane(clock)) : host_now(clock);
}

uint64_t clock_charge(device_clock *clock, uint32_t lane, uint64_t cost_nanos) {
  uint64_t *lane_nanos = lane_clock(clock, lane);
  *lane_nanos = uint64_add_saturated(uint64_max(*lane_nanos, host_now(clock)), cost_nanos);
  return *lane_nanos;
}

uint64_t clock_charge_all(device_clock *clock, uint64_t cost_nanos) {
  uint64_t end_nanos = uint64_add_saturated(uint64_max(furthest_lane(clock), host_now(clock)), cost_nanos);
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    *lane_clock(clock, lane) = end_nanos;
  }
  clock_host_saw(clock, end_nanos);
  return end_nanos;
}

void clock_host_saw(device_clock *clock, uint64_t end_nanos) {
  clock->host_nanos = uint64_max(clock->host_nanos, end_nanos);
}

void clock_sleep_until(const device_clock *clock, uint64_t end_nanos) {
  if (clock->is_virtual) {
    return;
  }
  uint64_t until_nanos = uint64_add_saturated(clock->opened_nanos, end_nanos);
  struct timespec until = {
      .tv_sec = (time_t)(until_nanos / NANOS_PER_SECOND),
      .tv_nsec = (long)(until_nanos % NANOS_PER_SECOND),
  };
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    /* A signal handler ran; the deadline is absolute, so nothing is lost. */
  }
}

/* The time that bytes take at a rate, rounded up. */
static uint64_t copy_nanos(uint64_t byte_count, uint64_t bytes_per_second) {
  if (bytes_per_second == 0) {
    return 0;
  }
  uint128 nanos = ((uint128)byte_count * NANOS_PER_SECOND + bytes_per_second - 1) / bytes_per_second;
  return nanos > UINT64_MAX ? UINT64_MAX : (uint64_t)nanos;
}

uint64_t transfers_cost_nanos(const settings *setup, const lh_transfer *transfers, uint32_t count) {
  bool is_free =
      setup->transfer_nanos == 0 && setup->in_bytes_per_second == 0 && setup->out_bytes_per_second == 0;
  uint64_t cost_nanos = 0;
  for (uint32_t index = 0; index < count && !is_free; index += 1) {
    const lh_transfer *transfer = &transfers[index];
    uint64_t byte_count = (uint64_t)transfer->byte_count;
    switch ((int)transfer->kind) {
    case LH_TRANSFER_COPY_IN:
      cost_nanos = uint64_add_saturated(cost_nanos, copy_nanos(byte_count, setup->in_bytes_per_second));
      cost_nanos = uint64_add_saturated(cost_nanos, setup->transfer_nanos);
      break;
    case LH_TRANSFER_COPY_OUT:
      cost_nanos = uint64_add_saturated(cost_nanos, copy_nanos(byte_count, setup->out_bytes_per_second));
      cost_nanos = uint64_add_saturated(cost_nanos, setup->transfer_nanos);
      break;
    case LH_TRANSFER_FILL:
      cost_nanos = uint64_add_saturated(cost_nanos, setup->transfer_nanos);
      break;
    default:
      break;
    }
  }
  return cost_nanos;
}
