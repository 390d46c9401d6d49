/*
 * cost.h: what work costs on the simulated device, and the device's clock.
 *
 * The virtual clock only counts. Each lane has a time of its own (with serial lanes, all share one), and so has the
 * host: it stands where the latest work that the host has seen end ended. Work begins when its lane is free, and never
 * before the host has asked for it, so that work which waited for other work does not seem to have run beside it. Work
 * that ends within the call holds the host up; so an immediate device counts a plain sum, even if its lanes overlap.
 * The clock reads what the furthest lane, or the host, reads. It depends on the calls and on what they answer, and not
 * on how fast the threads are.
 *
 * The real clock reads the nanoseconds that have passed since the context was opened, and work sleeps until its cost
 * has passed. Work on one lane queues there: from whatever threads it comes, its costs are slept one after the other.
 */
#ifndef LEASEHOLD_SIMULATOR_COST_H
#define LEASEHOLD_SIMULATOR_COST_H

#include "settings.h"

typedef struct device_clock {
  bool is_virtual;
  bool lanes_overlap;
  uint64_t opened_nanos; /* on the host's monotonic clock */
  uint64_t host_nanos;   /* virtual only */
  uint64_t lane_nanos[LH_LANE_COUNT]; /* when the work of each lane ends; all clocks but opened_nanos begin at zero */
} device_clock;

void clock_open(device_clock *clock, const settings *setup);

/* The host's monotonic clock. */
uint64_t monotonic_nanos(void);

/* What the device's clock reads. */
uint64_t clock_read(const device_clock *clock);

/* Queues a cost on a lane and returns when it will have passed, on the device's clock. */
uint64_t clock_charge(device_clock *clock, uint32_t lane, uint64_t cost_nanos);

/* Queues a cost that holds up the host and all lanes: allocating and freeing. */
uint64_t clock_charge_all(device_clock *clock, uint64_t cost_nanos);

/* The host has learnt that work ended then. */
void clock_host_saw(device_clock *clock, uint64_t end_nanos);

/* Sleeps until then; at once on a virtual clock. Never to be called with a lock held. */
void clock_sleep_until(const device_clock *clock, uint64_t end_nanos);

/* What a table of transfers costs that has been checked before. HOST_COPY and HOST_FILL cost nothing. */
uint64_t transfers_cost_nanos(const settings *setup, const lh_transfer *transfers, uint32_t count);

#endif
