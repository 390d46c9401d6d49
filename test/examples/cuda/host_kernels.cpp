/*
 * host_kernels.cpp: the kernels of examples/qwen3-decode/cuda for the loopback driver. The same text is compiled for the host,
 * and the threads of a block take turns: each runs until it waits for the others.
 */
#include "test/loopback/loopback.h"

#include <csetjmp>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace {

struct place {
  unsigned int x, y, z;
};

place threadIdx, blockIdx, gridDim;

enum { WARP_THREADS = 32, STACK_BYTES = 64 * 1024, SHARED_BYTES = 256 * 1024 };

/*
 * The threads of a block, which live on from block to block, and whoever hands out turns. Contexts are made once; turns are
 * taken by jumps, which need no call of the system.
 */
ucontext_t first_contexts[WARP_THREADS];
jmp_buf scheduler;
jmp_buf threads[WARP_THREADS];
bool has_started[WARP_THREADS];
bool has_ended[WARP_THREADS];
unsigned int current;
std::vector<char> stacks(WARP_THREADS *STACK_BYTES);
alignas(16) float shared_memory[SHARED_BYTES / sizeof(float)];

void give_way() {
  if (_setjmp(threads[current]) == 0) {
    _longjmp(scheduler, 1);
  }
}

void __syncthreads() { give_way(); }

} // namespace

#define __device__
#define __shared__ static
#define KERNEL(name) static void kernel_##name
#define DYNAMIC_SHARED(name) float *name = shared_memory

#include "examples/qwen3-decode/cuda/qwen3_decode.cu"

namespace {

void (*thread_body)(void *);
void *thread_arguments;

void run_thread() {
  for (;;) {
    thread_body(thread_arguments);
    has_ended[current] = true;
    give_way();
  }
}

/* Lets a thread go on until it waits for the others, or has ended. */
void take_turn() {
  threadIdx = {current, 0, 0};
  if (_setjmp(scheduler) != 0) {
    return;
  }
  if (has_started[current]) {
    _longjmp(threads[current], 1);
  }
  ucontext_t *first = &first_contexts[current];
  has_started[current] = true;
  getcontext(first);
  first->uc_stack.ss_sp = &stacks[current * STACK_BYTES];
  first->uc_stack.ss_size = STACK_BYTES;
  first->uc_link = nullptr;
  makecontext(first, run_thread, 0);
  setcontext(first);
}

void run_block() {
  for (bool &ended : has_ended) {
    ended = false;
  }
  for (unsigned int left = WARP_THREADS; left > 0;) {
    left = 0;
    for (current = 0; current < WARP_THREADS; current += 1) {
      if (!has_ended[current]) {
        take_turn();
        left += has_ended[current] ? 0 : 1;
      }
    }
  }
}

/* One parameter: what is a pointer is a device address, behind which host memory lies. */
template <typename Value> Value read(const void *parameter) {
  Value value;
  std::memcpy(&value, parameter, sizeof value);
  if constexpr (std::is_pointer_v<Value>) {
    auto address = reinterpret_cast<uintptr_t>(value);
    return address == 0 ? nullptr : reinterpret_cast<Value>(address - LOOPBACK_BIAS);
  }
  return value;
}

template <typename... Values, size_t... Indexes>
void launch(void (*kernel)(Values...), void **parameters, const loopback_geometry *geometry,
            std::index_sequence<Indexes...>) {
  auto values = std::make_tuple(kernel, read<Values>(parameters[Indexes])...);
  using all_values = decltype(values);
  thread_arguments = &values;
  thread_body = [](void *arguments) {
    std::apply([](auto *body, auto... each) { body(each...); }, *static_cast<all_values *>(arguments));
  };
  gridDim = {geometry->grid[0], geometry->grid[1], geometry->grid[2]};
  for (unsigned int y = 0; y < gridDim.y; y += 1) {
    for (unsigned int x = 0; x < gridDim.x; x += 1) {
      blockIdx = {x, y, 0};
      run_block();
    }
  }
  thread_arguments = nullptr;
}

template <typename... Values>
void launch_with(void (*kernel)(Values...), void **parameters, const loopback_geometry *geometry) {
  launch(kernel, parameters, geometry, std::index_sequence_for<Values...>());
}

template <typename... Values> struct sizes_of {
  uint8_t bytes[sizeof...(Values) + 1];
};

template <typename... Values> constexpr sizes_of<Values...> parameter_sizes(void (*)(Values...)) {
  return {{static_cast<uint8_t>(sizeof(Values))..., 0}};
}

} // namespace

#define EXPORTED(name)                                                                                                 \
  extern "C" LOOPBACK_EXPORT constexpr auto name##_parameters = parameter_sizes(kernel_##name);                        \
  extern "C" LOOPBACK_EXPORT void name(void **parameters, const loopback_geometry *geometry) {                         \
    launch_with(kernel_##name, parameters, geometry);                                                                  \
  }

EXPORTED(rope_angles)
EXPORTED(embed_bfloat16)
EXPORTED(embed_float32)
EXPORTED(rms_norm_bfloat16)
EXPORTED(rms_norm_float32)
EXPORTED(mat_vec_bfloat16)
EXPORTED(mat_vec_float32)
EXPORTED(norm_and_rope_bfloat16)
EXPORTED(norm_and_rope_float32)
EXPORTED(attend)
EXPORTED(swiglu)
