/*
 * refusals.h: the host refuses what a backend asks it for, at every place where it asks.
 *
 * A program that uses this is linked so that the backend's calls for memory and threads come here first (see the Makefile). A story
 * is told again and again; the first time its first call is refused, the next time its second, until it ends without a refusal.
 * Each time, whatever failed says so with LH_HOST_OUT_OF_MEMORY, has changed nothing, and works when it is tried again.
 */
#ifndef LEASEHOLD_TEST_REFUSALS_H
#define LEASEHOLD_TEST_REFUSALS_H

#include "support.h"

/* Tells a story until nothing of it is refused any more. Returns at how many places it was. */
long refuse_everywhere(void (*tell_story)(void));

/* Checks that a call succeeds; where it was the one that was refused, that it says so, and succeeds once more. */
#define GRANTED(call) (CHECK_GRANTED(call) ? (void)0 : (void)CHECK_STATUS(call, LH_OK))

/* Whether a call was granted; where it was not, checks that it says so. */
#define CHECK_GRANTED(call) check_granted(call, #call, __FILE__, __LINE__)

bool check_granted(lh_status status, const char *text, const char *file, int line);

#endif
