/*
 * copies.h: carrying out a checked table of transfers on a stream.
 *
 * What the host copies comes first in a table, and feeds what travels. Up to `coalesce_max_bytes` all of it is copied, and then
 * each entry travels at once; beyond, an entry travels in pieces, and only what lands in a piece is copied before it, so that
 * the device receives one piece while the host prepares the next. The number of pieces follows from the bytes, however many
 * tensors they are of.
 */
#ifndef LEASEHOLD_CUDA_COPIES_H
#define LEASEHOLD_CUDA_COPIES_H

#include "cuda/context.h"

/*
 * Refuses what the device cannot do in order: plain host memory that is copied out to is written when the ticket has ended, and
 * so cannot be copied in by the same table. With the mutex held.
 */
outcome copies_check(const lh_context *context, const lh_transfer *transfers, uint32_t count);

/* Carries out the host's entries and puts the others on the slot's stream. Called between begin and end, without the mutex. */
outcome copies_submit(lh_context *context, ticket_slot *slot, const lh_transfer *transfers, uint32_t count);

/* What a table that was submitted adds to the counters. With the mutex held. */
void copies_count(lh_context *context, const lh_transfer *transfers, uint32_t count);

#endif
