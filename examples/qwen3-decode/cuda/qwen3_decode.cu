/*
 * qwen3_decode.cu: one decode step of any Qwen3-architecture model (dense), in float32, for a GPU.
 *
 * The same computation as kernel/qwen3_decode_step.c, as kernels that are launched one after another: see cudaKernel.ts for
 * which, and with what. Each block is one warp, and works on one row of a result. Weights are bfloat16 or float32; the kernels
 * that read some come in both. Offsets count elements of float32.
 *
 * Where the C kernel checks what it is given and answers a code, these trust it: nothing can be returned from a GPU.
 *
 * qwen3_decode.ptx beside it is what `make` in this folder builds from it, where there is nvcc. The tests compile the same text
 * for the host, where a block's threads take turns: then KERNEL and DYNAMIC_SHARED are the tests' own.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef KERNEL
#define KERNEL(name) extern "C" __global__ void name
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
#endif

#define WARP 32

typedef uint16_t bfloat16;

static __device__ inline float widen(float value) { return value; }

static __device__ inline float widen(bfloat16 value) {
  uint32_t bits = (uint32_t)value << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

/* The sum over a block's threads, in an order of its own that is always the same; every thread gets it. */
static __device__ float block_sum(float value, float *partial) {
  partial[threadIdx.x] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int thread = 0; thread < WARP; thread++) sum += partial[thread];
  __syncthreads();
  return sum;
}

static __device__ float block_max(float value, float *partial) {
  partial[threadIdx.x] = value;
  __syncthreads();
  float largest = partial[0];
  for (int thread = 1; thread < WARP; thread++) largest = fmaxf(largest, partial[thread]);
  __syncthreads();
  return largest;
}

/* The first row that a call writes in a cache; 0 where rows are not those of positions. */
static __device__ inline uint64_t first_row(const int32_t *positions) {
  return positions == nullptr ? 0 : (uint64_t)positions[0];
}

/* Parts of the model: one block for each row --------------------------------------------------------------------- */

template <typename Weight>
static __device__ void embed_row(const int32_t *tokens, const Weight *table, float *out, int hidden, int vocab) {
  int token = tokens[blockIdx.x];
  for (int index = (int)threadIdx.x; index < hidden; index += WARP) {
    bool is_known = token >= 0 && token < vocab;
    out[blockIdx.x * (uint64_t)hidden + index] = is_known ? widen(table[(uint64_t)token * hidden + index]) : NAN;
  }
}

template <typename Weight>
static __device__ void norm_row(const Weight *weight, const float *in, float *out, int count, float epsilon,
                                float *partial) {
  float squares = 0.0f;
  for (int index = (int)threadIdx.x; index < count; index += WARP) squares += in[index] * in[index];
  float scale = 1.0f / sqrtf(block_sum(squares, partial) / (float)count + epsilon);
  for (int index = (int)threadIdx.x; index < count; index += WARP) out[index] = widen(weight[index]) * (in[index] * scale);
}

template <typename Weight>
static __device__ void multiply_row(const Weight *row, const float *in, float *out, int columns, int accumulate,
                                    float *partial) {
  float products = 0.0f;
  for (int index = (int)threadIdx.x; index < columns; index += WARP) products += widen(row[index]) * in[index];
  float sum = block_sum(products, partial);
  if (threadIdx.x == 0) *out = accumulate ? *out + sum : sum;
}

/* Element i of a head pairs with element i + half (Hugging Face's "rotate half"). */
static __device__ void rotate(float *head, const float *cosine, const float *sine, int half) {
  __syncthreads();
  for (int index = (int)threadIdx.x; index < half; index += WARP) {
    float low = head[index];
    float high = head[index + half];
    head[index] = low * cosine[index] - high * sine[index];
    head[index + half] = high * cosine[index] + low * sine[index];
  }
}

/* Kernels --------------------------------------------------------------------------------------------------------- */

/* grid: tokens. The angles of each token's position, the same in every layer. */
KERNEL(rope_angles)(const int32_t *positions, float *workspace, uint64_t cosine_offset, uint64_t sine_offset,
                    int head_dim, double theta) {
  int half = head_dim / 2;
  for (int index = (int)threadIdx.x; index < half; index += WARP) {
    double angle = (double)positions[blockIdx.x] * pow(theta, -2.0 * (double)index / (double)head_dim);
    workspace[cosine_offset + blockIdx.x * (uint64_t)half + index] = (float)cos(angle);
    workspace[sine_offset + blockIdx.x * (uint64_t)half + index] = (float)sin(angle);
  }
}

/* grid: tokens. */
#define EMBED(name, Weight)                                                                                            \
  KERNEL(name)(const int32_t *tokens, const Weight *table, float *workspace, uint64_t out_offset, int hidden,          \
               int vocab) {                                                                                            \
    embed_row(tokens, table, workspace + out_offset, hidden, vocab);                                                   \
  }

/* grid: rows. Normalises each by its root mean square. */
#define RMS_NORM(name, Weight)                                                                                         \
  KERNEL(name)(const Weight *weight, float *workspace, uint64_t in_offset, uint64_t out_offset, int count,             \
               float epsilon) {                                                                                        \
    __shared__ float partial[WARP];                                                                                    \
    uint64_t row = blockIdx.x * (uint64_t)count;                                                                       \
    norm_row(weight, workspace + in_offset + row, workspace + out_offset + row, count, epsilon, partial);              \
  }

/* grid: rows of the matrix, tokens. out[t] = matrix * in[t], or out[t] += matrix * in[t]. */
#define MAT_VEC(name, Weight)                                                                                          \
  KERNEL(name)(const Weight *matrix, const float *workspace, uint64_t in_offset, float *out, uint64_t out_offset,      \
               const int32_t *positions, int columns, int accumulate) {                                                \
    __shared__ float partial[WARP];                                                                                    \
    uint64_t out_row = first_row(positions) + blockIdx.y;                                                              \
    multiply_row(matrix + blockIdx.x * (uint64_t)columns, workspace + in_offset + blockIdx.y * (uint64_t)columns,      \
                 out + out_offset + out_row * gridDim.x + blockIdx.x, columns, accumulate, partial);                   \
  }

/* grid: heads, tokens. Normalises and rotates each head in place. */
#define NORM_AND_ROPE(name, Weight)                                                                                    \
  KERNEL(name)(const Weight *weight, float *rows, uint64_t offset, const int32_t *positions, const float *workspace,   \
               uint64_t cosine_offset, uint64_t sine_offset, int head_dim, float epsilon) {                            \
    __shared__ float partial[WARP];                                                                                    \
    uint64_t row = (first_row(positions) + blockIdx.y) * gridDim.x + blockIdx.x;                                       \
    float *head = rows + offset + row * (uint64_t)head_dim;                                                            \
    uint64_t angles = blockIdx.y * (uint64_t)(head_dim / 2);                                                           \
    norm_row(weight, head, head, head_dim, epsilon, partial);                                                          \
    rotate(head, workspace + cosine_offset + angles, workspace + sine_offset + angles, head_dim / 2);                  \
  }

EMBED(embed_bfloat16, bfloat16)
EMBED(embed_float32, float)
RMS_NORM(rms_norm_bfloat16, bfloat16)
RMS_NORM(rms_norm_float32, float)
MAT_VEC(mat_vec_bfloat16, bfloat16)
MAT_VEC(mat_vec_float32, float)
NORM_AND_ROPE(norm_and_rope_bfloat16, bfloat16)
NORM_AND_ROPE(norm_and_rope_float32, float)

/* grid: heads, tokens; shared: as many floats as there are positions. Each head of each token over all before it. */
KERNEL(attend)(float *workspace, uint64_t query_offset, uint64_t out_offset, const float *keys, const float *values,
               uint64_t layer_offset, const int32_t *positions, int head_dim, int kv_heads) {
  DYNAMIC_SHARED(scores);
  __shared__ float partial[WARP];
  uint64_t stride = (uint64_t)kv_heads * head_dim;
  uint64_t kv_offset = layer_offset + blockIdx.x / (gridDim.x / kv_heads) * (uint64_t)head_dim;
  uint64_t row = (blockIdx.y * (uint64_t)gridDim.x + blockIdx.x) * head_dim;
  const float *query = workspace + query_offset + row;
  float *out = workspace + out_offset + row;
  int count = positions[blockIdx.y] + 1;
  float scale = 1.0f / sqrtf((float)head_dim);
  float largest = -INFINITY;
  for (int position = (int)threadIdx.x; position < count; position += WARP) {
    const float *key = keys + kv_offset + position * stride;
    float sum = 0.0f;
    for (int index = 0; index < head_dim; index++) sum += query[index] * key[index];
    scores[position] = sum * scale;
    largest = fmaxf(largest, scores[position]);
  }
  largest = block_max(largest, partial);
  float total = 0.0f;
  for (int position = (int)threadIdx.x; position < count; position += WARP) {
    scores[position] = expf(scores[position] - largest);
    total += scores[position];
  }
  total = block_sum(total, partial);
  for (int index = (int)threadIdx.x; index < head_dim; index += WARP) {
    float sum = 0.0f;
    for (int position = 0; position < count; position++) {
      sum += scores[position] / total * values[kv_offset + position * stride + index];
    }
    out[index] = sum;
  }
}

/* grid: enough blocks for all elements. gate = silu(gate) * up. */
KERNEL(swiglu)(float *workspace, uint64_t gate_offset, uint64_t up_offset, uint64_t count) {
  uint64_t index = blockIdx.x * (uint64_t)WARP + threadIdx.x;
  if (index < count) {
    float gate = workspace[gate_offset + index];
    workspace[gate_offset + index] = gate / (1.0f + expf(-gate)) * workspace[up_offset + index];
  }
}
