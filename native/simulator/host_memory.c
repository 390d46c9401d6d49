#include "host_memory.h"

#include "common/numbers.h"
#include "sanitizer.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

lh_status host_memory_take(host_memory *memory, uint64_t byte_count, range *taken_out) {
  assert(byte_count >= 1);
  uint64_t rounded_bytes = 0;
  uint64_t mapping_bytes = 0;
  if (byte_count > SAFE_INTEGER_MAX || !round_up(byte_count, page_bytes(), &rounded_bytes) ||
      __builtin_add_overflow(rounded_bytes, page_bytes(), &mapping_bytes) || !ranges_reserve(&memory->blocks)) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  void *mapping = mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    return LH_HOST_OUT_OF_MEMORY;
  }
  uint64_t address = (uint64_t)(uintptr_t)mapping;
  if (mprotect((void *)(uintptr_t)(address + rounded_bytes), page_bytes(), PROT_NONE) != 0) {
    munmap(mapping, mapping_bytes);
    return LH_HOST_OUT_OF_MEMORY;
  }
  if (address > SAFE_INTEGER_MAX - rounded_bytes) {
    munmap(mapping, mapping_bytes);
    return LH_ADDRESS_TOO_LARGE;
  }
  forbid_bytes(address + byte_count, rounded_bytes - byte_count);
  *taken_out = (range){.address = address, .byte_count = byte_count, .reserved_bytes = rounded_bytes};
  ranges_add(&memory->blocks, *taken_out);
  return LH_OK;
}

void host_memory_unmap(range ended) {
  allow_bytes(ended.address, ended.reserved_bytes);
  munmap((void *)(uintptr_t)ended.address, ended.reserved_bytes + page_bytes());
}

void host_memory_forget(host_memory *memory) {
  ranges_dispose(&memory->blocks);
  ranges_dispose(&memory->registered);
}

void host_memory_close(host_memory *memory) {
  for (size_t index = 0; index < memory->blocks.live_count; index += 1) {
    host_memory_unmap(memory->blocks.live[index]);
  }
  host_memory_forget(memory);
}
