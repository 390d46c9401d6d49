/*
 * cuda_kernels.c: kernels of the loopback driver, with parameters of their own instead of the table of leasehold_kernel.h.
 */
#include "test/loopback/loopback.h"

#include <string.h>

/* What a kernel and the bytes of its parameters are exported as. */
#define KERNEL(name)                                                                                                   \
  LOOPBACK_EXPORT void name(void **parameters, const loopback_geometry *geometry);                                     \
  LOOPBACK_EXPORT extern const uint8_t name##_parameters[];

KERNEL(cuda_test_nothing)
KERNEL(cuda_test_two)
KERNEL(cuda_test_add)
KERNEL(cuda_test_describe)
KERNEL(cuda_test_many)

static uint64_t read_uint64(const void *parameter) {
  uint64_t value;
  memcpy(&value, parameter, sizeof value);
  return value;
}

const uint8_t cuda_test_nothing_parameters[] = {0};

void cuda_test_nothing(void **parameters, const loopback_geometry *geometry) {
  (void)parameters;
  (void)geometry;
}

/* uint64, uint64: touches nothing */
const uint8_t cuda_test_two_parameters[] = {8, 8, 0};

void cuda_test_two(void **parameters, const loopback_geometry *geometry) {
  (void)parameters;
  (void)geometry;
}

/* address x, address y, uint64 n, uint8 addend: y[i] = x[i] + addend */
const uint8_t cuda_test_add_parameters[] = {8, 8, 8, 1, 0};

void cuda_test_add(void **parameters, const loopback_geometry *geometry) {
  (void)geometry;
  const uint8_t *x = loopback_memory(read_uint64(parameters[0]));
  uint8_t *y = loopback_memory(read_uint64(parameters[1]));
  uint64_t element_count = read_uint64(parameters[2]);
  uint8_t addend = *(const uint8_t *)parameters[3];
  for (uint64_t index = 0; index < element_count; index += 1) {
    y[index] = (uint8_t)(x[index] + addend);
  }
}

/* address y, uint8, uint16, uint32, uint64: the 15 bytes of the values, then at y + 16 the geometry */
const uint8_t cuda_test_describe_parameters[] = {8, 1, 2, 4, 8, 0};

void cuda_test_describe(void **parameters, const loopback_geometry *geometry) {
  uint8_t *y = loopback_memory(read_uint64(parameters[0]));
  memcpy(y, parameters[1], 1);
  memcpy(y + 1, parameters[2], 2);
  memcpy(y + 3, parameters[3], 4);
  memcpy(y + 7, parameters[4], 8);
  memcpy(y + 16, geometry, sizeof *geometry);
}

/* address y, 4094 uint64, uint32: y = their sum. These are all the bytes that a kernel can take. */
#define SEVEN(x) x, x, x, x, x, x, x
#define EIGHT(x) x, x, x, x, x, x, x, x
#define SEVEN_EIGHTS SEVEN(EIGHT(8))
#define SIXTY_FOUR EIGHT(8), EIGHT(8), EIGHT(8), EIGHT(8), EIGHT(8), EIGHT(8), EIGHT(8), EIGHT(8)
#define FIVE_HUNDRED_AND_TWELVE                                                                                        \
  SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR, SIXTY_FOUR
#define SEVEN_OF(x) x, x, x, x, x, x, x

const uint8_t cuda_test_many_parameters[] = {SEVEN_OF(FIVE_HUNDRED_AND_TWELVE), SEVEN_OF(SIXTY_FOUR), SEVEN_EIGHTS,
                                             SEVEN(8), 4, 0};

void cuda_test_many(void **parameters, const loopback_geometry *geometry) {
  (void)geometry;
  uint64_t sum = 0;
  uint32_t last = 0;
  size_t count = sizeof cuda_test_many_parameters - 1;
  for (size_t index = 1; index + 1 < count; index += 1) {
    sum += read_uint64(parameters[index]);
  }
  memcpy(&last, parameters[count - 1], sizeof last);
  sum += last;
  memcpy(loopback_memory(read_uint64(parameters[0])), &sum, sizeof sum);
}
