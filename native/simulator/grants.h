/*
 * grants.h: which bytes of device memory may be touched just now; nothing in builds without a sanitizer.
 *
 * Where AddressSanitizer watches, all device memory is forbidden from the moment its pages are opened. Work that is
 * being done holds a grant: a launch for exactly the bytes of its tensor arguments, a table of transfers for exactly
 * the bytes on the device that its entries name. A kernel that strays from its slice into a neighbour, into padding or
 * into a tail is stopped at the mistake, although all of them lie in one chunk; so is whoever touches device memory at
 * no time that a device would.
 *
 * Several works may be done at once, on lanes that overlap or from several threads, and their bytes may overlap. So the
 * end of one forbids only what no other that is still being done names. That is worked out from the list of works when
 * a grant ends, instead of by counting for each byte. All of it happens with the context's mutex held, so no grant
 * begins or ends in between; and nothing is ever forbidden for a moment that somebody may touch, because kernels and
 * copies run without the mutex.
 */
#ifndef LEASEHOLD_SIMULATOR_GRANTS_H
#define LEASEHOLD_SIMULATOR_GRANTS_H

#include "sanitizer.h"
#include "work.h"

#if IS_SANITIZED

/* Allows what the accepted work names. */
void grant_begin(work *begun);

/* Forbids what the work names and no other work on the list does that holds a grant. */
void grant_end(const work_list *works, work *ended);

#else

static inline void grant_begin(work *begun) { (void)begun; }

static inline void grant_end(const work_list *works, work *ended) {
  (void)works;
  (void)ended;
}

#endif

#endif
