/*
 * tickets.h: work in flight.
 *
 * A ticket ends when its event has, or, where one stream serves all lanes, when that stream has come to rest: then no event is
 * needed, and work is not told apart that is on the stream at the same time. A ticket that ended is answered once.
 */
#ifndef LEASEHOLD_CUDA_TICKETS_H
#define LEASEHOLD_CUDA_TICKETS_H

#include "common/outcome.h"
#include "cuda/driver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICKET_MAX_COUNT 1024u

/* Plain host memory of a copy: the device reaches pinned memory, and the bytes are moved on when the copy has ended. */
typedef struct bounce {
  struct bounce *next;
  void *pinned;
  size_t pinned_bytes;
  void *destination; /* of a copy out; null for a copy in */
  size_t byte_count; /* of the copy, at most pinned_bytes */
} bounce;

typedef struct ticket_slot {
  uint64_t ticket; /* 0: free */
  cu_stream stream;
  cu_event event; /* null where the stream itself is asked; kept for the next ticket of the slot */
  bounce *bounces; /* in the order of the table */
  bounce *last_bounce;
  bool is_launch;
  bool has_begun;   /* something of its work is on the stream */
  bool is_recorded; /* the event ends when the work does; until it is, and where the event itself failed, the stream is asked */
  outcome failed;   /* success, or how its work failed, or perhaps failed, where that was told before it came to rest */
} ticket_slot;

typedef struct ticket_table {
  ticket_slot slots[TICKET_MAX_COUNT];
  uint32_t in_flight_count;
  uint64_t opened_count;
  uint32_t refusal_count; /* how often in a row the driver did not tell whether work has ended */
  bounce *idle;           /* pinned memory of tickets that have ended, for the next ones; freed once nothing is in flight */
} ticket_table;

struct lh_context;

/* Takes a slot for work on a lane, with the mutex held. */
outcome ticket_open(struct lh_context *context, uint32_t lane, bool is_launch, ticket_slot **slot_out);

/* How a call ended that puts work of the ticket on its stream. Called between begin and end, without the mutex. */
outcome ticket_put(struct lh_context *context, ticket_slot *slot, cu_result code);

/*
 * All of the ticket's work was put on its stream, or as much as came before `put` was refused. Returns that refusal, or how
 * recording its event ended. Called between begin and end, without the mutex.
 */
outcome ticket_record(struct lh_context *context, ticket_slot *slot, outcome put);

/*
 * Work was refused, perhaps half way. Where nothing of it has begun the slot is given back, and the refusal returned. Otherwise
 * the device may still use the caller's memory, for as long as what lies before it on the stream takes: so the call succeeds, and
 * the ticket fails when it ends. With the mutex held.
 */
outcome ticket_refuse(struct lh_context *context, ticket_slot *slot, outcome refused);

/*
 * Notes that something on a stream has failed. Nobody knows whose it was, so it is everybody's whose work is on it. Returns
 * what it means for the device. With the mutex held.
 */
outcome tickets_fail(struct lh_context *context, cu_stream stream, cu_result code);

/*
 * LH_NOT_READY, or how the work ended; then the slot is free. A failure is told once the stream rests: the caller uses the
 * memory again, and a driver that refuses a question has not said that the work has ended. With the mutex held.
 */
outcome ticket_poll(struct lh_context *context, double ticket);

/* Ends every ticket that is left, once all streams rest. Called between begin and end. */
void tickets_end_all(struct lh_context *context);

void tickets_dispose(ticket_table *table);

/* Adds pinned memory for a copy of plain host memory to a ticket: what lies idle, or new. Called between begin and end, without the mutex. */
outcome bounce_add(struct lh_context *context, ticket_slot *slot, size_t byte_count, void *destination,
                   void **pinned_out);

#endif
