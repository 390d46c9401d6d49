/*
 * cuda_run.h: makes a kernel that a C++ compiler has compiled (cuda_on_host.h) one that the loopback driver launches.
 */
#ifndef LEASEHOLD_TEST_CUDA_RUN_H
#define LEASEHOLD_TEST_CUDA_RUN_H

#include <array>
#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <utility>

#define CUDA_EXPORT __attribute__((visibility("default")))

/* As `loopback_geometry` of native/test/loopback/loopback.h, and so is what its device addresses lie above. */
struct cuda_launch {
  unsigned int grid[3];
  unsigned int block[3];
  unsigned int shared_bytes;
};

#define CUDA_ADDRESS_BIAS (1ull << 44)

/* Runs the body once for each thread of each block. */
void cuda_run(const cuda_launch &launch, const std::function<void()> &body);

/* A parameter as the kernel takes it: pointers lead to the host memory behind a device address. */
template <typename T>
T cuda_parameter(const void *bytes) {
  if constexpr (std::is_pointer_v<T>) {
    uint64_t address;
    memcpy(&address, bytes, sizeof address);
    return reinterpret_cast<T>(address == 0 ? 0 : address - CUDA_ADDRESS_BIAS);
  } else {
    T value;
    memcpy(&value, bytes, sizeof value);
    return value;
  }
}

template <typename... T, size_t... Index>
void cuda_call(void (*kernel)(T...), void **parameters, const cuda_launch *launch, std::index_sequence<Index...>) {
  cuda_run(*launch, [&] { kernel(cuda_parameter<T>(parameters[Index])...); });
}

template <typename... T>
void cuda_call(void (*kernel)(T...), void **parameters, const cuda_launch *launch) {
  cuda_call(kernel, parameters, launch, std::index_sequence_for<T...>());
}

/* The bytes of each parameter, ended by a zero. */
template <typename... T>
constexpr std::array<uint8_t, sizeof...(T) + 1> cuda_parameter_bytes(void (*)(T...)) {
  return {sizeof(T)..., 0};
}

#endif
