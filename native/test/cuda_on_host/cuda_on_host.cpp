/*
 * cuda_on_host.cpp: runs a kernel on the host: blocks one after another, the threads of a block as fibers.
 *
 * A fiber runs until it comes to a barrier or an exchange. What no kernel should do is a violation, counted and told: a thread
 * that ends or waits elsewhere while others wait for it, a warp that is not whole, a write behind the block's shared memory.
 *
 * The order in which blocks and threads take their turns can be chosen: a kernel without a missing barrier gives the same bits
 * in every order.
 */
#include "cuda_on_host.h"
#include "cuda_run.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>
#include <setjmp.h>
#include <stdio.h>
#include <ucontext.h>
#include <vector>

/* The largest block, and what every kernel may have of dynamic shared memory without asking. Source: CUDA C++ Programming
 * Guide, compute capabilities. */
enum { WARP_THREADS = 32, THREAD_MAX_COUNT = 1024, SHARED_MAX_BYTES = 48 * 1024, STACK_BYTES = 64 * 1024 };

/* A quiet NaN that no arithmetic gives: what was never written shows in what is computed from it. */
static const uint32_t unwritten = 0x7fc0dead;

cuda_index threadIdx, blockIdx, blockDim, gridDim;

/* As long again behind it, where nothing may be written. */
float shared_memory[2 * SHARED_MAX_BYTES / sizeof(float)];

namespace {

enum class state { ready, at_block_barrier, at_warp_exchange, ended };

struct fiber {
  state now;
  int line;
  int barrier_value;
  /* By turns, because a thread may come to the next exchange before another has read what it gave to this one. */
  float exchanged[2];
  unsigned int exchange_count;
  bool has_begun;
  jmp_buf where;
  ucontext_t context;
  std::vector<char> stack;
};

std::mutex run_mutex;
std::vector<fiber> fibers;
size_t thread_count, current;
jmp_buf scheduler;
ucontext_t scheduler_context;
int barrier_result;
const std::function<void()> *kernel_body;
/* Of each lane the one whose turn is next; that of the last lane is the first. */
size_t following_lane[WARP_THREADS], first_lane;
uint32_t order = 0;
uint64_t violation_count = 0;
char first_violation[160];

void violate(const char *what) {
  if (violation_count == 0) {
    snprintf(first_violation, sizeof first_violation, "%s (block %u %u %u, thread %zu)", what, blockIdx.x, blockIdx.y,
             blockIdx.z, current);
  }
  violation_count += 1;
}

void enter(size_t index) {
  current = index;
  threadIdx.x = (unsigned int)index;
}

/* The next thread of this warp that can go on, by the order of turns, goes on at once; only where there is none the scheduler. */
void wait(state waiting, int line) {
  fiber &own = fibers[current];
  own.now = waiting;
  own.line = line;
  if (_setjmp(own.where) != 0) return;
  size_t begin = current - current % WARP_THREADS;
  size_t next = begin + following_lane[current % WARP_THREADS];
  if (next != begin + first_lane && fibers[next].now == state::ready && fibers[next].has_begun) {
    enter(next);
    _longjmp(fibers[next].where, 1);
  }
  _longjmp(scheduler, 1);
}

/* A fiber is begun through a context of the system's, once. From then on it changes by jumps, which call no system, and runs one
 * thread after another. */
void fiber_entry() {
  while (true) {
    (*kernel_body)();
    wait(state::ended, 0);
  }
}

void resume(size_t index) {
  fiber &next = fibers[index];
  enter(index);
  if (_setjmp(scheduler) != 0) return;
  if (next.has_begun) _longjmp(next.where, 1);
  next.has_begun = true;
  next.stack.resize(STACK_BYTES);
  getcontext(&next.context);
  next.context.uc_stack.ss_sp = next.stack.data();
  next.context.uc_stack.ss_size = next.stack.size();
  next.context.uc_link = nullptr;
  makecontext(&next.context, fiber_entry, 0);
  swapcontext(&scheduler_context, &next.context);
}

/* Whether all of these threads wait for one another; then they go on. */
bool release(size_t begin, size_t end, state waiting) {
  for (size_t index = begin; index < end; index++) {
    if (fibers[index].now != waiting || fibers[index].line != fibers[begin].line) return false;
  }
  for (size_t index = begin; index < end; index++) fibers[index].now = state::ready;
  return true;
}

/* Turns of one warp until none of its threads can go on without other warps. */
void run_warp(size_t begin, const std::vector<size_t> &lanes) {
  do {
    for (size_t lane : lanes) {
      if (fibers[begin + lane].now == state::ready) resume(begin + lane);
    }
  } while (release(begin, begin + WARP_THREADS, state::at_warp_exchange));
}

std::vector<size_t> turns(size_t count) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  if (order == 1) std::reverse(all.begin(), all.end());
  if (order > 1) std::shuffle(all.begin(), all.end(), std::minstd_rand(order));
  return all;
}

void run_block(const std::vector<size_t> &warps, const std::vector<size_t> &lanes) {
  for (size_t index = 0; index < thread_count; index++) {
    fibers[index].now = state::ready;
    fibers[index].exchange_count = 0;
    fibers[index].barrier_value = 0;
  }
  do {
    for (size_t warp : warps) run_warp(warp * WARP_THREADS, lanes);
    barrier_result = 0;
    for (size_t index = 0; index < thread_count; index++) barrier_result |= fibers[index].barrier_value != 0;
  } while (release(0, thread_count, state::at_block_barrier));
  for (size_t index = 0; index < thread_count; index++) {
    if (fibers[index].now == state::ended) continue;
    current = index;
    violate("a thread waits for others that do not come");
    fibers[index].has_begun = false;
  }
}

float *shared_end() { return shared_memory + sizeof shared_memory / sizeof *shared_memory; }

void check_shared(const float *behind) {
  for (const float *at = behind; at < shared_end(); at++) {
    if ((uint32_t)__float_as_int(*at) != unwritten) return violate("a write behind the shared memory");
  }
}

}  // namespace

int cuda_block_barrier(int line, int value) {
  fibers[current].barrier_value = value;
  wait(state::at_block_barrier, line);
  return barrier_result;
}

float cuda_warp_exchange(int line, unsigned int threads, float value, int mask) {
  fiber &own = fibers[current];
  size_t partner = current ^ (size_t)mask;
  unsigned int turn = own.exchange_count % 2;
  if (threads != 0xffffffffu || mask < 0 || mask >= WARP_THREADS) violate("an exchange of another kind than these");
  own.exchange_count += 1;
  own.exchanged[turn] = value;
  wait(state::at_warp_exchange, line);
  return fibers[partner].exchanged[turn];
}

void cuda_run(const cuda_launch &launch, const std::function<void()> &body) {
  std::lock_guard<std::mutex> lock(run_mutex);
  const unsigned int *grid = launch.grid;
  thread_count = launch.block[0];
  if (thread_count == 0 || thread_count % WARP_THREADS != 0 || thread_count > THREAD_MAX_COUNT || launch.block[1] != 1 ||
      launch.block[2] != 1 || launch.shared_bytes > SHARED_MAX_BYTES || grid[1] > 65535 || grid[2] > 65535) {
    return violate("a launch that a GPU or these kernels do not take");
  }
  if (fibers.size() < thread_count) fibers.resize(thread_count);
  kernel_body = &body;
  blockDim = {launch.block[0], 1, 1};
  gridDim = {grid[0], grid[1], grid[2]};
  std::vector<size_t> warps = turns(thread_count / WARP_THREADS);
  std::vector<size_t> lanes = turns(WARP_THREADS);
  first_lane = lanes[0];
  for (size_t turn = 0; turn < WARP_THREADS; turn++) following_lane[lanes[turn]] = lanes[(turn + 1) % WARP_THREADS];
  float *behind = shared_memory + launch.shared_bytes / sizeof(float);
  std::fill(behind, shared_end(), __uint_as_float(unwritten));
  for (size_t block : turns((size_t)grid[0] * grid[1] * grid[2])) {
    blockIdx = {(unsigned int)(block % grid[0]), (unsigned int)(block / grid[0] % grid[1]),
                (unsigned int)(block / grid[0] / grid[1])};
    std::fill(shared_memory, behind, __uint_as_float(unwritten));
    run_block(warps, lanes);
  }
  check_shared(behind);
}

extern "C" {

/* 0: ascending, 1: descending, else shuffled by this seed. */
CUDA_EXPORT void cuda_on_host_set_order(uint32_t seed) { order = seed; }

/* The number of violations since the last call; the text tells of the first. */
CUDA_EXPORT uint64_t cuda_on_host_violations(char *text_out, uint64_t byte_count) {
  std::lock_guard<std::mutex> lock(run_mutex);
  snprintf(text_out, byte_count, "%s", violation_count == 0 ? "" : first_violation);
  uint64_t count = violation_count;
  violation_count = 0;
  return count;
}
}
