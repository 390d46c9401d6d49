/*
 * qwen3_decode.cu: one decode step of any Qwen3-architecture model (dense), in float32, on a GPU.
 *
 * It computes what qwen3_decode_step.c computes, from the same arguments: `n` tokens at consecutive positions are read, their
 * keys and values are appended to the KV cache, and the logits of the last of them are written. A step is many launches in
 * order; ../cudaLaunches.ts lists them. The same tokens give the same bits, however they are cut into calls: no sum's order of
 * additions depends on `n`, on the grid, or on what came before.
 *
 * qwen3_decode.ptx beside it is what `make ptx` builds from it, where there is nvcc.
 *
 * Conventions
 *
 * - A tensor is a pointer. A part of the workspace is the pointer to the whole and an offset in float32 elements, `..._at`.
 * - A weight is a pointer and `..._is_narrow`: 1 for bfloat16, which is widened as it is read, 0 for float32. Row-major.
 * - Blocks have one axis, of whole warps. Sizes of tensors are below 2^31 along each axis; products of them may be larger.
 * - `n` may exceed the blocks that a grid has along y, so that loops over tokens go on behind the grid's end.
 *
 * A kernel returns nothing, and one that leaves its tensors ends the context of every runner on the device. So qwen3_begin looks
 * at the tokens and positions first, and writes the first position, or -1 where something is wrong, into the workspace. Then the
 * kernels that use tokens or positions touch nothing, and every logit is NaN. Sizes are not looked at: they must be right.
 */
#include <stdint.h>

enum { WARP_THREADS = 32 };

/* Dynamic shared memory: a launch says how much there is. */
extern __shared__ float shared_memory[];

static __device__ int thread_lane(void) { return (int)(threadIdx.x % WARP_THREADS); }

static __device__ int thread_warp(void) { return (int)(threadIdx.x / WARP_THREADS); }

static __device__ int block_warps(void) { return (int)(blockDim.x / WARP_THREADS); }

/* Of all warps of a grid along x: one for each row of a matrix. */
static __device__ int64_t grid_warp(void) { return (int64_t)blockIdx.x * block_warps() + thread_warp(); }

/* Sums ---------------------------------------------------------------------------------------------------------------- */

/* Every lane gets the same bits: lanes that exchange add the same two numbers. */
static __device__ float warp_sum(float value) {
  for (int distance = WARP_THREADS / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

/* With a float of shared memory for each warp. Once in a kernel. */
static __device__ float block_sum(float value) {
  float own = warp_sum(value);
  if (thread_lane() == 0) shared_memory[thread_warp()] = own;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < block_warps(); warp++) sum += shared_memory[warp];
  return sum;
}

/* Weights ------------------------------------------------------------------------------------------------------------- */

static __device__ float weight_at(const void *weight, int is_narrow, int64_t index) {
  return is_narrow ? __uint_as_float((uint32_t)((const uint16_t *)weight)[index] << 16) : ((const float *)weight)[index];
}

/*
 * A row of a matrix times a vector, by one warp; every lane gets the sum. Neighbouring lanes read neighbouring words, two
 * bfloat16 at a time where every row begins at a whole word.
 */
static __device__ float dot_row(const void *matrix, int is_narrow, int64_t row, int columns, const float *vector) {
  float sum = 0.0f;
  if (is_narrow && columns % 2 == 0) {
    const uint32_t *pairs = (const uint32_t *)((const uint16_t *)matrix + row * columns);
    for (int index = thread_lane(); index < columns / 2; index += WARP_THREADS) {
      uint32_t pair = pairs[index];
      sum += __uint_as_float(pair << 16) * vector[2 * index];
      sum += __uint_as_float(pair & 0xffff0000u) * vector[2 * index + 1];
    }
  } else {
    for (int index = thread_lane(); index < columns; index += WARP_THREADS) {
      sum += weight_at(matrix, is_narrow, row * columns + index) * vector[index];
    }
  }
  return warp_sum(sum);
}

/* The workspace ------------------------------------------------------------------------------------------------------- */

/* The position of the first token, or -1 where the call was refused. */
static __device__ int first_position(const float *workspace, int64_t first_position_at) {
  return __float_as_int(workspace[first_position_at]);
}

/* Kernels, in the order of a step ------------------------------------------------------------------------------------- */

/* One block. Refuses a token outside the vocabulary, a position outside the cache, and positions that do not follow. */
extern "C" __global__ void qwen3_begin(const int32_t *tokens, const int32_t *positions, float *workspace,
                                       int64_t first_position_at, int n, int vocab, int max_positions) {
  int first = positions[0];
  int is_wrong = first < 0 || first > max_positions - n;
  for (int t = (int)threadIdx.x; t < n && !is_wrong; t += (int)blockDim.x) {
    is_wrong = tokens[t] < 0 || tokens[t] >= vocab || positions[t] != first + t;
  }
  int is_refused = __syncthreads_or(is_wrong);
  if (threadIdx.x == 0) workspace[first_position_at] = __int_as_float(is_refused ? -1 : first);
}

/* A block for each token: its row of the embedding, and the angles of its position, which are the same in every layer. */
extern "C" __global__ void qwen3_embed(const int32_t *tokens, const void *embedding, int embedding_is_narrow,
                                       float *workspace, int64_t residual_at, int64_t cosine_at, int64_t sine_at,
                                       int64_t first_position_at, double rope_theta, int hidden, int head_dim) {
  int first = first_position(workspace, first_position_at);
  if (first < 0) return;
  int64_t t = blockIdx.x;
  int64_t token = tokens[t];
  int half = head_dim / 2;
  for (int index = (int)threadIdx.x; index < hidden; index += (int)blockDim.x) {
    workspace[residual_at + t * hidden + index] = weight_at(embedding, embedding_is_narrow, token * hidden + index);
  }
  for (int index = (int)threadIdx.x; index < half; index += (int)blockDim.x) {
    double frequency = pow(rope_theta, -2.0 * (double)index / (double)head_dim);
    double angle = (double)(first + t) * frequency;
    workspace[cosine_at + t * half + index] = (float)cos(angle);
    workspace[sine_at + t * half + index] = (float)sin(angle);
  }
}

/* A block for each row: normalises it by its root mean square. */
extern "C" __global__ void qwen3_rms_norm(float *workspace, int64_t in_at, int64_t out_at, const void *weight,
                                          int weight_is_narrow, float epsilon, int columns) {
  const float *in = workspace + in_at + (int64_t)blockIdx.x * columns;
  float *out = workspace + out_at + (int64_t)blockIdx.x * columns;
  float square = 0.0f;
  for (int index = (int)threadIdx.x; index < columns; index += (int)blockDim.x) square += in[index] * in[index];
  float scale = 1.0f / sqrtf(block_sum(square) / (float)columns + epsilon);
  for (int index = (int)threadIdx.x; index < columns; index += (int)blockDim.x) {
    out[index] = weight_at(weight, weight_is_narrow, index) * (in[index] * scale);
  }
}

/* A warp for each row of the three matrices, one below the other. Keys and values go to their places in the cache. */
extern "C" __global__ void qwen3_query_key_value(float *workspace, int64_t normed_at, int64_t query_at,
                                                 int64_t first_position_at, float *key_cache, float *value_cache,
                                                 const void *query_weight, int query_is_narrow, const void *key_weight,
                                                 int key_is_narrow, const void *value_weight, int value_is_narrow,
                                                 int layer, int n, int hidden, int query_width, int kv_width,
                                                 int max_positions) {
  int first = first_position(workspace, first_position_at);
  int64_t row = grid_warp();
  if (first < 0 || row >= query_width + 2 * (int64_t)kv_width) return;
  int64_t cache_row = (int64_t)layer * max_positions + first;
  for (int64_t t = blockIdx.y; t < n; t += gridDim.y) {
    const float *normed = workspace + normed_at + t * hidden;
    float *out;
    float sum;
    if (row < query_width) {
      out = workspace + query_at + t * query_width + row;
      sum = dot_row(query_weight, query_is_narrow, row, hidden, normed);
    } else if (row < (int64_t)query_width + kv_width) {
      out = key_cache + (cache_row + t) * kv_width + (row - query_width);
      sum = dot_row(key_weight, key_is_narrow, row - query_width, hidden, normed);
    } else {
      out = value_cache + (cache_row + t) * kv_width + (row - query_width - kv_width);
      sum = dot_row(value_weight, value_is_narrow, row - query_width - kv_width, hidden, normed);
    }
    if (thread_lane() == 0) *out = sum;
  }
}

/*
 * A warp for each head of each token, those of the keys behind those of the query: normalises and rotates it, in place. Element
 * i pairs with element i + half (Hugging Face's "rotate half"), and one lane has both.
 */
extern "C" __global__ void qwen3_norm_and_rope(float *workspace, int64_t query_at, int64_t cosine_at, int64_t sine_at,
                                               int64_t first_position_at, float *key_cache, const void *query_norm,
                                               int query_norm_is_narrow, const void *key_norm, int key_norm_is_narrow,
                                               float epsilon, int layer, int n, int heads, int kv_heads, int head_dim,
                                               int max_positions) {
  int first = first_position(workspace, first_position_at);
  int64_t heads_per_token = (int64_t)heads + kv_heads;
  int64_t t = grid_warp() / heads_per_token;
  int64_t head = grid_warp() % heads_per_token;
  if (first < 0 || t >= n) return;
  int is_query = head < heads;
  int64_t cache_row = (int64_t)layer * max_positions + first + t;
  float *values = is_query ? workspace + query_at + (t * heads + head) * head_dim
                           : key_cache + (cache_row * kv_heads + head - heads) * head_dim;
  const void *norm = is_query ? query_norm : key_norm;
  int is_narrow = is_query ? query_norm_is_narrow : key_norm_is_narrow;
  int half = head_dim / 2;

  float square = 0.0f;
  for (int index = thread_lane(); index < head_dim; index += WARP_THREADS) square += values[index] * values[index];
  float scale = 1.0f / sqrtf(warp_sum(square) / (float)head_dim + epsilon);
  for (int index = thread_lane(); index < half; index += WARP_THREADS) {
    float cosine = workspace[cosine_at + t * half + index];
    float sine = workspace[sine_at + t * half + index];
    float low = weight_at(norm, is_narrow, index) * (values[index] * scale);
    float high = weight_at(norm, is_narrow, index + half) * (values[index + half] * scale);
    values[index] = low * cosine - high * sine;
    values[index + half] = high * cosine + low * sine;
  }
}

/*
 * A block for each head of each token: the softmax of its scores over the cached positions, times their values. Each warp goes
 * through every block_warps()-th position and keeps the largest score so far, so that the scores need no memory; at the end the
 * warps' parts are put together.
 *
 * Shared memory: the query, what each warp has gathered, and for each warp its largest score and its sum of weights:
 * head_dim + warps * (head_dim + 2) floats.
 */
extern "C" __global__ void qwen3_attend(float *workspace, int64_t query_at, int64_t attended_at,
                                        int64_t first_position_at, const float *key_cache, const float *value_cache,
                                        int layer, int n, int heads, int kv_heads, int head_dim, int max_positions) {
  int first = first_position(workspace, first_position_at);
  if (first < 0) return;
  int64_t head = blockIdx.x;
  int64_t kv_width = (int64_t)kv_heads * head_dim;
  int64_t cache_at = (int64_t)layer * max_positions * kv_width + head / (heads / kv_heads) * head_dim;
  float *query = shared_memory;
  float *gathered = query + head_dim;
  float *own_gathered = gathered + thread_warp() * head_dim;
  float *largest_scores = gathered + block_warps() * head_dim;
  float *weight_sums = largest_scores + block_warps();
  float score_scale = 1.0f / sqrtf((float)head_dim);

  for (int64_t t = blockIdx.y; t < n; t += gridDim.y) {
    int64_t row_at = (t * heads + head) * head_dim;
    for (int index = (int)threadIdx.x; index < head_dim; index += (int)blockDim.x) {
      query[index] = workspace[query_at + row_at + index];
    }
    for (int index = thread_lane(); index < head_dim; index += WARP_THREADS) own_gathered[index] = 0.0f;
    __syncthreads();

    float largest = __int_as_float((int)0xff800000u);
    float weight_sum = 0.0f;
    for (int64_t position = thread_warp(); position <= first + t; position += block_warps()) {
      const float *key = key_cache + cache_at + position * kv_width;
      const float *value = value_cache + cache_at + position * kv_width;
      float product = 0.0f;
      for (int index = thread_lane(); index < head_dim; index += WARP_THREADS) product += query[index] * key[index];
      float score = warp_sum(product) * score_scale;
      float larger = fmaxf(largest, score);
      float shrink = expf(largest - larger);
      float weight = expf(score - larger);
      for (int index = thread_lane(); index < head_dim; index += WARP_THREADS) {
        own_gathered[index] = own_gathered[index] * shrink + weight * value[index];
      }
      weight_sum = weight_sum * shrink + weight;
      largest = larger;
    }
    if (thread_lane() == 0) {
      largest_scores[thread_warp()] = largest;
      weight_sums[thread_warp()] = weight_sum;
    }
    __syncthreads();

    /* The first warp has seen a position, so that this is finite; a warp without one counts for nothing. */
    largest = largest_scores[0];
    for (int warp = 1; warp < block_warps(); warp++) largest = fmaxf(largest, largest_scores[warp]);
    weight_sum = 0.0f;
    for (int warp = 0; warp < block_warps(); warp++) weight_sum += weight_sums[warp] * expf(largest_scores[warp] - largest);
    for (int index = (int)threadIdx.x; index < head_dim; index += (int)blockDim.x) {
      float sum = 0.0f;
      for (int warp = 0; warp < block_warps(); warp++) {
        sum += gathered[warp * head_dim + index] * expf(largest_scores[warp] - largest);
      }
      workspace[attended_at + row_at + index] = sum / weight_sum;
    }
    /* The next token's query may not come before everybody has read this one's parts. */
    __syncthreads();
  }
}

/* A warp for each row: out += matrix * in, for each token. */
extern "C" __global__ void qwen3_project_add(float *workspace, int64_t in_at, int64_t out_at, const void *matrix,
                                             int matrix_is_narrow, int n, int rows, int columns) {
  int64_t row = grid_warp();
  if (row >= rows) return;
  for (int64_t t = blockIdx.y; t < n; t += gridDim.y) {
    float sum = dot_row(matrix, matrix_is_narrow, row, columns, workspace + in_at + t * columns);
    if (thread_lane() == 0) workspace[out_at + t * rows + row] += sum;
  }
}

/* A warp for each row of both matrices: out = silu(gate * in) * (up * in), for each token. */
extern "C" __global__ void qwen3_gate_up(float *workspace, int64_t in_at, int64_t out_at, const void *gate_weight,
                                         int gate_is_narrow, const void *up_weight, int up_is_narrow, int n, int rows,
                                         int columns) {
  int64_t row = grid_warp();
  if (row >= rows) return;
  for (int64_t t = blockIdx.y; t < n; t += gridDim.y) {
    float gate = dot_row(gate_weight, gate_is_narrow, row, columns, workspace + in_at + t * columns);
    float up = dot_row(up_weight, up_is_narrow, row, columns, workspace + in_at + t * columns);
    if (thread_lane() == 0) workspace[out_at + t * rows + row] = gate / (1.0f + expf(-gate)) * up;
  }
}

/* A warp for each token of the vocabulary. Where the call was refused, every logit is NaN. */
extern "C" __global__ void qwen3_logits(const float *workspace, int64_t in_at, int64_t first_position_at,
                                        const void *head, int head_is_narrow, float *logits, int vocab, int hidden) {
  int64_t row = grid_warp();
  if (row >= vocab) return;
  float sum = dot_row(head, head_is_narrow, row, hidden, workspace + in_at);
  int is_refused = first_position(workspace, first_position_at) < 0;
  if (thread_lane() == 0) logits[row] = is_refused ? __int_as_float(0x7fffffff) : sum;
}
