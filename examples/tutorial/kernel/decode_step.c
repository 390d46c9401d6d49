/*
 * decode_step.c: the decode step of the tutorial as a kernel of the simulator.
 *
 * input int32 token[1], resident float32 weights[v, v], resident readWrite float32 seen[v], output float32 logits[v]
 */
#include "leasehold_kernel.h"

/* Codes of our own; they reach TypeScript as `deviceCode`. */
enum { WRONG_ARGUMENTS = 1, TOKEN_OUT_OF_RANGE = 2 };

LH_EXPORT int32_t tutorial_decode_step(const lh_argument *arguments, uint32_t count) {
  if (count != 4 || lh_argument_bytes(&arguments[0]) != sizeof(int32_t)) {
    return WRONG_ARGUMENTS;
  }
  const int32_t token = *(const int32_t *)lh_argument_data(&arguments[0]);
  const float *weights = lh_argument_data(&arguments[1]);
  float *seen = lh_argument_data(&arguments[2]);
  float *logits = lh_argument_data(&arguments[3]);
  uint64_t vocabulary = lh_argument_dim(&arguments[3], 0);
  if (token < 0 || (uint64_t)token >= vocabulary) {
    return TOKEN_OUT_OF_RANGE;
  }
  seen[token] += 1.0f;
  for (uint64_t next = 0; next < vocabulary; next += 1) {
    logits[next] = weights[(uint64_t)token * vocabulary + next] - seen[next] / 2.0f;
  }
  return LH_OK;
}
