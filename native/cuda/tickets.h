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
  void *destination; /* of a copy out; null for a copy in */
  size_t byte_count;
} bounce;

typedef struct ticket_slot {
  uint64_t ticket; /* 0: free */
  cu_stream stream;
  cu_event event; /* null where the stream itself is asked; kept for the next ticket of the slot */
  bounce *bounces; /* in the order of the table */
  bounce *last_bounce;
  bool is_launch;
  outcome failed; /* success, or how its work failed, or perhaps failed, where that was told before it came to rest */
} ticket_slot;

typedef struct ticket_table {
  ticket_slot slots[TICKET_MAX_COUNT];
  uint32_t in_flight_count;
  uint64_t opened_count;
  uint32_t refusal_count; /* how often in a row the driver did not tell whether work has ended */
  bounce *unfreed;        /* pinned memory that the driver refused to free; the context's end tries again */
} ticket_table;

struct lh_context;

/* Takes a slot for work on a lane, with the mutex held. */
outcome ticket_open(struct lh_context *context, uint32_t lane, bool is_launch, ticket_slot **slot_out);

/* All work of the ticket is on its stream. Called between begin and end, without the mutex. */
outcome ticket_record(struct lh_context *context, ticket_slot *slot);

/* Gives a slot back whose work never began or was refused, with the mutex held. What it bounced is forgotten. */
void ticket_discard(struct lh_context *context, ticket_slot *slot);

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

/* Adds pinned memory for a copy of plain host memory to a ticket. Called between begin and end, without the mutex. */
outcome bounce_add(struct lh_context *context, ticket_slot *slot, size_t byte_count, void *destination,
                   void **pinned_out);

#endif
