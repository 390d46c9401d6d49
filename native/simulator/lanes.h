/*
 * lanes.h: late completion: threads that do the work of the lanes, and tickets for work that they have not ended.
 *
 * With lanes that overlap, each has a thread of its own; with serial lanes, one thread does all in the order of the
 * calls. Tables are copied when work is accepted, into memory that is bounded for all tickets together.
 */
#ifndef LEASEHOLD_SIMULATOR_LANES_H
#define LEASEHOLD_SIMULATOR_LANES_H

#include "work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tickets that have been handed out and not yet been polled or waited for to their end. */
#define TICKET_MAX_COUNT 1024u

/* The tables of all tickets together. The largest launch takes an eighth of it. */
#define TICKET_TABLES_MAX_BYTES (64u << 20)

typedef struct ticket_slot {
  work task;
  void *table; /* the ticket's own copy */
  size_t table_bytes;
  char lab_detail[DETAIL_MAX_BYTES]; /* what the memory lab has found */
  uint64_t ticket;                /* 0 while the slot is free */
  _Atomic uint64_t ended_ticket;  /* equals the ticket once its work has ended; may be read without the mutex */
  struct ticket_slot *next;       /* in a lane's queue */
} ticket_slot;

typedef struct lane_thread {
  lh_context *context;
  pthread_t thread;
  pthread_cond_t arrived;
  ticket_slot *first;
  ticket_slot *last;
} lane_thread;

typedef struct lane_set {
  lane_thread threads[LH_LANE_COUNT];
  uint32_t thread_count; /* 0 on a device that completes within the call, until a launch is deferred */
  bool is_stopping;
  ticket_slot *slots;
  uint32_t free_slots[TICKET_MAX_COUNT]; /* indices; the last is used first */
  uint32_t free_slot_count;
  uint32_t in_flight_count; /* tickets whose work has not ended */
  uint64_t ticket_count;    /* handed out since the beginning */
  uint64_t table_bytes;     /* of all open tickets */
} lane_set;

/* Starts what threads are not there yet. A failure may be tried again. Called with the mutex held. */
lh_status lanes_ready(lh_context *context);

/* Lets the threads do what is queued, and ends them. The mutex is given up meanwhile. */
void lanes_stop(lh_context *context);

/* Lets the threads end by themselves, as soon as they can. */
void lanes_detach(lh_context *context);

/* Frees all tickets and their tables. */
void lanes_dispose(lh_context *context);

/*
 * Opens a ticket with a copy of the table. The caller fills in its task, accepts it, and queues or drops it. Like all
 * that follows, called and returned from with the mutex held.
 */
outcome ticket_open(lh_context *context, const void *table, size_t table_bytes, ticket_slot **slot_out);

/* Hands the accepted task of a ticket to its lane. */
void ticket_queue(lh_context *context, ticket_slot *slot);

/* Closes a ticket whose task was never queued. */
void ticket_discard(lh_context *context, ticket_slot *slot);

/* How the work of a ticket ended, once; or LH_NOT_READY, or LH_UNKNOWN_HANDLE. */
outcome ticket_poll(lh_context *context, lh_ticket ticket);

/* Waits for the work of a ticket, for at most the timeout and never longer than 100 ms; else LH_TIMEOUT. */
outcome ticket_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos);

#endif
