/*
 * qwen3_decode_step.c: one decode step of any Qwen3-architecture model (dense), in float32.
 *
 * One call takes `n` tokens at consecutive positions (a whole prompt, a piece of one, or the next token), appends their
 * keys and values to the KV cache, and writes the logits of the last of them. The cache must hold every earlier
 * position. The same tokens give the same bits, however they are cut into calls: no sum's order of additions depends on
 * `n`.
 *
 * Arguments, in this order:
 *
 *    0  tokens         int32   [n]                                          input
 *    1  positions      int32   [n]                                          input
 *    2  logits         float32 [vocab]                                      output
 *    3  workspace      float32, at least the formula below                  scratch
 *    4  keyCache       float32 [layers, maxPositions, kvHeads * headDim]    resident, read and written
 *    5  valueCache     float32 [layers, maxPositions, kvHeads * headDim]    resident, read and written
 *    6  layers         int32
 *    7  hidden         int32
 *    8  heads          int32, a multiple of kvHeads
 *    9  kvHeads        int32
 *   10  headDim        int32, even
 *   11  intermediate   int32
 *   12  vocab          int32
 *   13  maxPositions   int32
 *   14  ropeTheta      float64
 *   15  rmsEpsilon     float32
 *   16  tied           int32, 1 where the head is the token embedding, else 0
 *   17  embedTokens    weight  [vocab, hidden]
 *   18  finalNorm      weight  [hidden]
 *  (19) head           weight  [vocab, hidden], absent where tied is 1
 *
 * and then eleven weights for each layer:
 *
 *    0  inputNorm      [hidden]                      6  outputProjection  [hidden, heads * headDim]
 *    1  queryProjection[heads * headDim, hidden]     7  postAttentionNorm [hidden]
 *    2  keyProjection  [kvHeads * headDim, hidden]   8  gateProjection    [intermediate, hidden]
 *    3  valueProjection[kvHeads * headDim, hidden]   9  upProjection      [intermediate, hidden]
 *    4  queryNorm      [headDim]                    10  downProjection    [hidden, intermediate]
 *    5  keyNorm        [headDim]
 *
 * A weight is resident and read only, row-major, bfloat16 or float32, each as its own argument says; bfloat16 is
 * widened as it is read. Rotary angles are computed in float64, everything else in float32.
 *
 * The workspace holds at least this many float32 elements; the kernel allocates nothing:
 *
 *    n * (2 * hidden + 2 * heads * headDim + 2 * intermediate + headDim) + maxPositions
 *
 * The kernel returns LH_OK, or one of the codes of `enum qwen3_status`. A refused call has written nothing.
 */
#include "leasehold_kernel.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum qwen3_status {
  QWEN3_ARGUMENT_COUNT = 1,             /* not the number of arguments that `layers` and `tied` ask for */
  QWEN3_ARGUMENT_TYPE = 2,              /* an argument of another element type, or a scalar and a tensor mixed up */
  QWEN3_SIZES_INVALID = 3,              /* a size below 1, odd headDim, heads no multiple of kvHeads, bad constant */
  QWEN3_TOKEN_COUNT = 4,                /* no token, or not as many positions as tokens */
  QWEN3_LOGITS_SIZE = 5,                /* logits are not [vocab] */
  QWEN3_CACHE_SIZE = 6,                 /* a cache is not [layers, maxPositions, kvHeads * headDim] */
  QWEN3_WEIGHT_SHAPE = 7,               /* a weight has another shape than the sizes say */
  QWEN3_WORKSPACE_TOO_SMALL = 8,        /* the workspace is smaller than its formula */
  QWEN3_TOKEN_OUTSIDE_VOCABULARY = 9,   /* a token below 0, or at or above vocab */
  QWEN3_POSITION_OUTSIDE_CACHE = 10,    /* a position below 0, or at or above maxPositions */
  QWEN3_POSITIONS_NOT_CONSECUTIVE = 11, /* a position that does not follow the one before it */
  QWEN3_ADDRESS_INVALID = 12            /* a tensor without memory, or not aligned to its elements */
};

enum {
  TOKENS, POSITIONS, LOGITS, WORKSPACE, KEY_CACHE, VALUE_CACHE,
  LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE, VOCAB, MAX_POSITIONS,
  ROPE_THETA, RMS_EPSILON, TIED,
  EMBED_TOKENS, FINAL_NORM, HEAD
};

enum {
  INPUT_NORM, QUERY_PROJECTION, KEY_PROJECTION, VALUE_PROJECTION, QUERY_NORM, KEY_NORM, OUTPUT_PROJECTION,
  POST_ATTENTION_NORM, GATE_PROJECTION, UP_PROJECTION, DOWN_PROJECTION,
  WEIGHTS_PER_LAYER
};

_Static_assert(sizeof(size_t) == 8, "products of checked sizes fit");
_Static_assert(sizeof(float) == 4, "float is binary32");

/* What a call works on; filled by check_arguments. */
typedef struct {
  size_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
  size_t query_width, kv_width; /* heads * head_dim, kv_heads * head_dim */
  double rope_theta;
  float rms_epsilon;
  size_t token_count;
  size_t first_position;
  const int32_t *tokens;
  float *logits, *workspace, *key_cache, *value_cache;
  const lh_argument *embed_tokens, *final_norm, *head, *layer_weights;
} step;

/* How a call divides its workspace. One row for each token, except for the scores. */
typedef struct {
  float *residual;     /* [n, hidden] */
  float *normed;       /* [n, hidden] */
  float *query;        /* [n, query_width] */
  float *attended;     /* [n, query_width] */
  float *gate;         /* [n, intermediate] */
  float *up;           /* [n, intermediate] */
  float *cosine;       /* [n, head_dim / 2] */
  float *sine;         /* [n, head_dim / 2] */
  float *scores;       /* [max_positions], of one head at a time */
} buffers;

/* Dot products --------------------------------------------------------------------------------------------------- */

/* Partial sums that a dot product keeps: without them, strict float32 addition could not be vectorised. */
enum { LANE_COUNT = 16 };

static inline float widen(uint16_t bfloat16) {
  uint32_t bits = (uint32_t)bfloat16 << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float sum_of_lanes(float *lanes) {
  for (size_t lane = 0; lane < 8; lane++) lanes[lane] += lanes[lane + 8];
  for (size_t lane = 0; lane < 4; lane++) lanes[lane] += lanes[lane + 4];
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

static float dot_float32(const float *restrict row, const float *restrict vector, size_t count) {
  float lanes[LANE_COUNT] = {0};
  size_t index = 0;
  for (; index + LANE_COUNT <= count; index += LANE_COUNT) {
    for (size_t lane = 0; lane < LANE_COUNT; lane++) lanes[lane] += row[index + lane] * vector[index + lane];
  }
  float sum = sum_of_lanes(lanes);
  for (; index < count; index++) sum += row[index] * vector[index];
  return sum;
}

static float dot_bfloat16(const uint16_t *restrict row, const float *restrict vector, size_t count) {
  float lanes[LANE_COUNT] = {0};
  size_t index = 0;
  for (; index + LANE_COUNT <= count; index += LANE_COUNT) {
    for (size_t lane = 0; lane < LANE_COUNT; lane++) lanes[lane] += widen(row[index + lane]) * vector[index + lane];
  }
  float sum = sum_of_lanes(lanes);
  for (; index < count; index++) sum += widen(row[index]) * vector[index];
  return sum;
}

/* Parts of the model --------------------------------------------------------------------------------------------- */

static bool is_bfloat16(const lh_argument *weight) { return (uint32_t)weight->dtype == LH_DTYPE_BFLOAT16; }

/* Widens one row of a weight, or a weight that is a vector (row 0). */
static void copy_row(const lh_argument *weight, size_t row, size_t count, float *restrict out) {
  if (is_bfloat16(weight)) {
    const uint16_t *source = (const uint16_t *)lh_argument_data(weight) + row * count;
    for (size_t index = 0; index < count; index++) out[index] = widen(source[index]);
  } else {
    memcpy(out, (const float *)lh_argument_data(weight) + row * count, count * sizeof *out);
  }
}

/* out[t] = matrix * in[t], or out[t] += matrix * in[t], for each of n vectors. Each matrix row is fetched once. */
static void mat_vec(const lh_argument *matrix, size_t rows, size_t columns, const float *in, float *out, size_t n,
                    bool accumulate) {
  const uint16_t *bfloat16_rows = lh_argument_data(matrix);
  const float *float32_rows = lh_argument_data(matrix);
  bool narrow = is_bfloat16(matrix);
  for (size_t row = 0; row < rows; row++) {
    for (size_t t = 0; t < n; t++) {
      float sum = narrow ? dot_bfloat16(bfloat16_rows + row * columns, in + t * columns, columns)
                         : dot_float32(float32_rows + row * columns, in + t * columns, columns);
      out[t * rows + row] = accumulate ? out[t * rows + row] + sum : sum;
    }
  }
}

/* Normalises one vector by its root mean square; `in` and `out` may be the same. */
static void rms_norm(const lh_argument *weight, const float *in, float *out, size_t count, float epsilon) {
  float scale = 1.0f / sqrtf(dot_float32(in, in, count) / (float)count + epsilon);
  const uint16_t *bfloat16_weight = lh_argument_data(weight);
  const float *float32_weight = lh_argument_data(weight);
  if (is_bfloat16(weight)) {
    for (size_t index = 0; index < count; index++) out[index] = widen(bfloat16_weight[index]) * (in[index] * scale);
  } else {
    for (size_t index = 0; index < count; index++) out[index] = float32_weight[index] * (in[index] * scale);
  }
}

static void rms_norm_rows(const lh_argument *weight, const float *in, float *out, size_t rows, size_t count,
                          float epsilon) {
  for (size_t row = 0; row < rows; row++) rms_norm(weight, in + row * count, out + row * count, count, epsilon);
}

/* The angles of each token's position. They are the same in every layer. */
static void rope_angles(const step *call, float *cosine, float *sine) {
  size_t half = call->head_dim / 2;
  for (size_t index = 0; index < half; index++) {
    double frequency = pow(call->rope_theta, -2.0 * (double)index / (double)call->head_dim);
    for (size_t t = 0; t < call->token_count; t++) {
      double angle = (double)(call->first_position + t) * frequency;
      cosine[t * half + index] = (float)cos(angle);
      sine[t * half + index] = (float)sin(angle);
    }
  }
}

/* Rotates one head in place: element i pairs with element i + half (Hugging Face's "rotate half"). */
static void rope(float *head, const float *restrict cosine, const float *restrict sine, size_t half) {
  for (size_t index = 0; index < half; index++) {
    float low = head[index];
    float high = head[index + half];
    head[index] = low * cosine[index] - high * sine[index];
    head[index + half] = high * cosine[index] + low * sine[index];
  }
}

/* Normalises and rotates the `heads` heads of every token, in place. */
static void norm_and_rope(const step *call, const buffers *work, const lh_argument *norm, float *rows, size_t heads) {
  size_t half = call->head_dim / 2;
  rms_norm_rows(norm, rows, rows, call->token_count * heads, call->head_dim, call->rms_epsilon);
  for (size_t t = 0; t < call->token_count; t++) {
    for (size_t head = 0; head < heads; head++) {
      rope(rows + (t * heads + head) * call->head_dim, work->cosine + t * half, work->sine + t * half, half);
    }
  }
}

/* Turns scores into weights that sum to one. */
static void softmax(float *scores, size_t count) {
  float largest = scores[0];
  for (size_t index = 1; index < count; index++) largest = scores[index] > largest ? scores[index] : largest;
  float sum = 0.0f;
  for (size_t index = 0; index < count; index++) {
    scores[index] = expf(scores[index] - largest);
    sum += scores[index];
  }
  for (size_t index = 0; index < count; index++) scores[index] /= sum;
}

/* One head of one token over the first `count` cached positions, which lie `stride` elements apart. */
static void attend(const float *query, const float *keys, const float *values, size_t stride, size_t count,
                   size_t head_dim, float *scores, float *restrict out) {
  float scale = 1.0f / sqrtf((float)head_dim);
  for (size_t position = 0; position < count; position++) {
    scores[position] = dot_float32(query, keys + position * stride, head_dim) * scale;
  }
  softmax(scores, count);
  for (size_t index = 0; index < head_dim; index++) out[index] = 0.0f;
  for (size_t position = 0; position < count; position++) {
    const float *restrict value = values + position * stride;
    float weight = scores[position];
    for (size_t index = 0; index < head_dim; index++) out[index] += weight * value[index];
  }
}

/* gate = silu(gate) * up, element by element. */
static void swiglu(float *restrict gate, const float *restrict up, size_t count) {
  for (size_t index = 0; index < count; index++) gate[index] = gate[index] / (1.0f + expf(-gate[index])) * up[index];
}

/* The step ------------------------------------------------------------------------------------------------------- */

static void attention_block(const step *call, const buffers *work, const lh_argument *weights, size_t layer) {
  size_t n = call->token_count;
  size_t head_dim = call->head_dim;
  size_t heads_per_kv_head = call->heads / call->kv_heads;
  float *layer_keys = call->key_cache + layer * call->max_positions * call->kv_width;
  float *layer_values = call->value_cache + layer * call->max_positions * call->kv_width;
  float *new_keys = layer_keys + call->first_position * call->kv_width;
  float *new_values = layer_values + call->first_position * call->kv_width;

  rms_norm_rows(&weights[INPUT_NORM], work->residual, work->normed, n, call->hidden, call->rms_epsilon);
  mat_vec(&weights[QUERY_PROJECTION], call->query_width, call->hidden, work->normed, work->query, n, false);
  mat_vec(&weights[KEY_PROJECTION], call->kv_width, call->hidden, work->normed, new_keys, n, false);
  mat_vec(&weights[VALUE_PROJECTION], call->kv_width, call->hidden, work->normed, new_values, n, false);
  norm_and_rope(call, work, &weights[QUERY_NORM], work->query, call->heads);
  norm_and_rope(call, work, &weights[KEY_NORM], new_keys, call->kv_heads);

  for (size_t t = 0; t < n; t++) {
    for (size_t head = 0; head < call->heads; head++) {
      size_t query_offset = t * call->query_width + head * head_dim;
      size_t kv_offset = head / heads_per_kv_head * head_dim;
      attend(work->query + query_offset, layer_keys + kv_offset, layer_values + kv_offset, call->kv_width,
             call->first_position + t + 1, head_dim, work->scores, work->attended + query_offset);
    }
  }
  mat_vec(&weights[OUTPUT_PROJECTION], call->hidden, call->query_width, work->attended, work->residual, n, true);
}

static void feed_forward_block(const step *call, const buffers *work, const lh_argument *weights) {
  size_t n = call->token_count;
  rms_norm_rows(&weights[POST_ATTENTION_NORM], work->residual, work->normed, n, call->hidden, call->rms_epsilon);
  mat_vec(&weights[GATE_PROJECTION], call->intermediate, call->hidden, work->normed, work->gate, n, false);
  mat_vec(&weights[UP_PROJECTION], call->intermediate, call->hidden, work->normed, work->up, n, false);
  swiglu(work->gate, work->up, n * call->intermediate);
  mat_vec(&weights[DOWN_PROJECTION], call->hidden, call->intermediate, work->gate, work->residual, n, true);
}

static buffers divide_workspace(const step *call) {
  size_t n = call->token_count;
  buffers work;
  work.residual = call->workspace;
  work.normed = work.residual + n * call->hidden;
  work.query = work.normed + n * call->hidden;
  work.attended = work.query + n * call->query_width;
  work.gate = work.attended + n * call->query_width;
  work.up = work.gate + n * call->intermediate;
  work.cosine = work.up + n * call->intermediate;
  work.sine = work.cosine + n * (call->head_dim / 2);
  work.scores = work.sine + n * (call->head_dim / 2);
  return work;
}

static void decode(const step *call) {
  buffers work = divide_workspace(call);
  rope_angles(call, work.cosine, work.sine);
  for (size_t t = 0; t < call->token_count; t++) {
    copy_row(call->embed_tokens, (size_t)call->tokens[t], call->hidden, work.residual + t * call->hidden);
  }
  for (size_t layer = 0; layer < call->layers; layer++) {
    const lh_argument *weights = call->layer_weights + layer * WEIGHTS_PER_LAYER;
    attention_block(call, &work, weights, layer);
    feed_forward_block(call, &work, weights);
  }
  const float *last = work.residual + (call->token_count - 1) * call->hidden;
  rms_norm(call->final_norm, last, work.normed, call->hidden, call->rms_epsilon);
  mat_vec(call->head, call->vocab, call->hidden, work.normed, call->logits, 1, false);
}

/* Checks --------------------------------------------------------------------------------------------------------- */

/* Sizes saturate, and no tensor has that many elements: byte counts are below 2^53. */
static uint64_t product(uint64_t left, uint64_t right) {
  return left != 0 && right > UINT64_MAX / left ? UINT64_MAX : left * right;
}

static uint64_t sum(uint64_t left, uint64_t right) { return right > UINT64_MAX - left ? UINT64_MAX : left + right; }

static bool has_type(const lh_argument *argument, bool scalar, uint32_t dtype) {
  return ((uint32_t)argument->kind == LH_ARGUMENT_SCALAR) == scalar && (uint32_t)argument->dtype == dtype;
}

/* Scalars that are sizes, from LAYERS to MAX_POSITIONS; 0 where one is not above zero. */
static size_t size_of(const lh_argument *arguments, uint32_t index) {
  int32_t value = lh_argument_int32(&arguments[index]);
  return value > 0 ? (size_t)value : 0;
}

static int32_t check_memory(const lh_argument *argument, uint64_t element_bytes) {
  uint64_t address = (uint64_t)argument->address;
  return address != 0 && address % element_bytes == 0 ? LH_OK : QWEN3_ADDRESS_INVALID;
}

/* A tensor of four-byte elements, exactly `elements` of them; `size_status` where it has more or less. */
static int32_t check_tensor(const lh_argument *argument, uint32_t dtype, uint64_t elements, int32_t size_status) {
  if (!has_type(argument, false, dtype)) return QWEN3_ARGUMENT_TYPE;
  if (lh_argument_bytes(argument) != product(elements, 4)) return size_status;
  return check_memory(argument, 4);
}

/* A weight of shape [rows, columns], or [columns] where rows is 0. */
static int32_t check_weight(const lh_argument *argument, size_t rows, size_t columns) {
  bool narrow = has_type(argument, false, LH_DTYPE_BFLOAT16);
  if (!narrow && !has_type(argument, false, LH_DTYPE_FLOAT32)) return QWEN3_ARGUMENT_TYPE;
  uint64_t element_bytes = narrow ? 2 : 4;
  uint64_t elements = rows == 0 ? columns : product(rows, columns);
  bool shaped = rows == 0 ? (uint32_t)argument->rank == 1 && lh_argument_dim(argument, 0) == columns
                          : (uint32_t)argument->rank == 2 && lh_argument_dim(argument, 0) == rows &&
                              lh_argument_dim(argument, 1) == columns;
  if (!shaped || lh_argument_bytes(argument) != product(elements, element_bytes)) return QWEN3_WEIGHT_SHAPE;
  return check_memory(argument, element_bytes);
}

static int32_t check_scalars(const lh_argument *arguments, uint32_t count, step *call) {
  for (uint32_t index = LAYERS; index <= TIED; index++) {
    uint32_t dtype = index == ROPE_THETA    ? LH_DTYPE_FLOAT64
                     : index == RMS_EPSILON ? LH_DTYPE_FLOAT32
                                            : LH_DTYPE_INT32;
    if (!has_type(&arguments[index], true, dtype)) return QWEN3_ARGUMENT_TYPE;
  }
  for (uint32_t index = LAYERS; index <= MAX_POSITIONS; index++) {
    if (size_of(arguments, index) == 0) return QWEN3_SIZES_INVALID;
  }
  int32_t tied = lh_argument_int32(&arguments[TIED]);
  call->layers = size_of(arguments, LAYERS);
  call->hidden = size_of(arguments, HIDDEN);
  call->heads = size_of(arguments, HEADS);
  call->kv_heads = size_of(arguments, KV_HEADS);
  call->head_dim = size_of(arguments, HEAD_DIM);
  call->intermediate = size_of(arguments, INTERMEDIATE);
  call->vocab = size_of(arguments, VOCAB);
  call->max_positions = size_of(arguments, MAX_POSITIONS);
  call->query_width = call->heads * call->head_dim;
  call->kv_width = call->kv_heads * call->head_dim;
  call->rope_theta = lh_argument_float64(&arguments[ROPE_THETA]);
  call->rms_epsilon = lh_argument_float32(&arguments[RMS_EPSILON]);
  if (call->head_dim % 2 != 0 || call->heads % call->kv_heads != 0 || tied < 0 || tied > 1) return QWEN3_SIZES_INVALID;
  if (!isfinite(call->rope_theta) || call->rope_theta <= 0.0) return QWEN3_SIZES_INVALID;
  if (!isfinite(call->rms_epsilon) || call->rms_epsilon < 0.0f) return QWEN3_SIZES_INVALID;

  uint32_t shared_weight_count = tied == 1 ? HEAD : HEAD + 1;
  if (count != shared_weight_count + product(call->layers, WEIGHTS_PER_LAYER)) return QWEN3_ARGUMENT_COUNT;
  call->embed_tokens = &arguments[EMBED_TOKENS];
  call->final_norm = &arguments[FINAL_NORM];
  call->head = tied == 1 ? call->embed_tokens : &arguments[HEAD];
  call->layer_weights = &arguments[shared_weight_count];
  return LH_OK;
}

static int32_t check_weights(const step *call) {
  int32_t status = check_weight(call->embed_tokens, call->vocab, call->hidden);
  if (status == LH_OK) status = check_weight(call->final_norm, 0, call->hidden);
  if (status == LH_OK) status = check_weight(call->head, call->vocab, call->hidden);
  for (size_t layer = 0; layer < call->layers && status == LH_OK; layer++) {
    const lh_argument *weights = call->layer_weights + layer * WEIGHTS_PER_LAYER;
    const size_t shapes[WEIGHTS_PER_LAYER][2] = {
      [INPUT_NORM] = {0, call->hidden},
      [QUERY_PROJECTION] = {call->query_width, call->hidden},
      [KEY_PROJECTION] = {call->kv_width, call->hidden},
      [VALUE_PROJECTION] = {call->kv_width, call->hidden},
      [QUERY_NORM] = {0, call->head_dim},
      [KEY_NORM] = {0, call->head_dim},
      [OUTPUT_PROJECTION] = {call->hidden, call->query_width},
      [POST_ATTENTION_NORM] = {0, call->hidden},
      [GATE_PROJECTION] = {call->intermediate, call->hidden},
      [UP_PROJECTION] = {call->intermediate, call->hidden},
      [DOWN_PROJECTION] = {call->hidden, call->intermediate}
    };
    for (size_t index = 0; index < WEIGHTS_PER_LAYER && status == LH_OK; index++) {
      status = check_weight(&weights[index], shapes[index][0], shapes[index][1]);
    }
  }
  return status;
}

static int32_t check_buffers(const lh_argument *arguments, step *call) {
  uint64_t n = lh_argument_bytes(&arguments[TOKENS]) / 4;
  uint64_t cache_elements = product(product(call->layers, call->max_positions), call->kv_width);
  uint64_t row_elements = 2 * call->hidden + 2 * call->query_width + 2 * call->intermediate + call->head_dim;
  uint64_t workspace_bytes = product(sum(product(n, row_elements), call->max_positions), 4);
  if (n == 0) return QWEN3_TOKEN_COUNT;
  int32_t status = check_tensor(&arguments[TOKENS], LH_DTYPE_INT32, n, QWEN3_TOKEN_COUNT);
  if (status == LH_OK) status = check_tensor(&arguments[POSITIONS], LH_DTYPE_INT32, n, QWEN3_TOKEN_COUNT);
  if (status == LH_OK) status = check_tensor(&arguments[LOGITS], LH_DTYPE_FLOAT32, call->vocab, QWEN3_LOGITS_SIZE);
  if (status == LH_OK) status = check_tensor(&arguments[KEY_CACHE], LH_DTYPE_FLOAT32, cache_elements, QWEN3_CACHE_SIZE);
  if (status == LH_OK) {
    status = check_tensor(&arguments[VALUE_CACHE], LH_DTYPE_FLOAT32, cache_elements, QWEN3_CACHE_SIZE);
  }
  if (status != LH_OK) return status;
  if (!has_type(&arguments[WORKSPACE], false, LH_DTYPE_FLOAT32)) return QWEN3_ARGUMENT_TYPE;
  if (lh_argument_bytes(&arguments[WORKSPACE]) < workspace_bytes) return QWEN3_WORKSPACE_TOO_SMALL;
  call->token_count = n;
  call->tokens = lh_argument_data(&arguments[TOKENS]);
  call->logits = lh_argument_data(&arguments[LOGITS]);
  call->workspace = lh_argument_data(&arguments[WORKSPACE]);
  call->key_cache = lh_argument_data(&arguments[KEY_CACHE]);
  call->value_cache = lh_argument_data(&arguments[VALUE_CACHE]);
  return check_memory(&arguments[WORKSPACE], 4);
}

static int32_t check_values(const lh_argument *arguments, step *call) {
  const int32_t *positions = lh_argument_data(&arguments[POSITIONS]);
  for (size_t t = 0; t < call->token_count; t++) {
    if (call->tokens[t] < 0 || (size_t)call->tokens[t] >= call->vocab) return QWEN3_TOKEN_OUTSIDE_VOCABULARY;
    if (positions[t] < 0 || (size_t)positions[t] >= call->max_positions) return QWEN3_POSITION_OUTSIDE_CACHE;
    if (t > 0 && positions[t] != positions[t - 1] + 1) return QWEN3_POSITIONS_NOT_CONSECUTIVE;
  }
  call->first_position = (size_t)positions[0];
  return LH_OK;
}

LH_EXPORT int32_t qwen3_decode_step(const lh_argument *arguments, uint32_t count);

int32_t qwen3_decode_step(const lh_argument *arguments, uint32_t count) {
  step call;
  if (count <= FINAL_NORM) return QWEN3_ARGUMENT_COUNT;
  int32_t status = check_scalars(arguments, count, &call);
  if (status == LH_OK) status = check_weights(&call);
  if (status == LH_OK) status = check_buffers(arguments, &call);
  if (status == LH_OK) status = check_values(arguments, &call);
  if (status == LH_OK) decode(&call);
  return status;
}
