/*
 * faulty_kernels.cu: what only a GPU can do: kernels that wait for the host, and kernels after which the context is lost.
 */
#include <stdint.h>

/* What the host and a kernel at the gate tell each other, in memory that both see. `test/utils/gpu.ts` has the same. */
struct gate {
  uint32_t is_open;
  uint32_t waiting_count;
};

/* Some 20 seconds at 2 GHz, so that no test hangs for ever. */
#define GATE_TIMEOUT_CYCLES 40000000000ll

extern "C" {

/* waits until the gate is open; after too long a time it ends the context */
__global__ void gpu_gate(gate *host) {
  volatile gate *seen = host;
  long long begin = clock64();
  atomicAdd_system(&host->waiting_count, 1u);
  while (seen->is_open == 0) {
    if (clock64() - begin > GATE_TIMEOUT_CYCLES) __trap();
  }
  atomicSub_system(&host->waiting_count, 1u);
}

/* ends the context */
__global__ void gpu_trap() { __trap(); }

/* writes where nobody may: at the null address */
__global__ void gpu_write_null() { *(volatile uint32_t *)nullptr = 1; }
}
