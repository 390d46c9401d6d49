#include "common/arguments.h"

#include "common/numbers.h"

enum { SCALAR_MAX_BYTES = 8 };

/* The bytes of one element; 0 where there is no such dtype. */
static uint64_t element_bytes(double dtype) {
  uint64_t number = 0;
  if (!safe_integer_read(dtype, &number)) {
    return 0;
  }
  switch (number) {
  case LH_DTYPE_INT8:
  case LH_DTYPE_UINT8:
    return 1;
  case LH_DTYPE_FLOAT16:
  case LH_DTYPE_BFLOAT16:
  case LH_DTYPE_INT16:
  case LH_DTYPE_UINT16:
    return 2;
  case LH_DTYPE_FLOAT32:
  case LH_DTYPE_INT32:
  case LH_DTYPE_UINT32:
    return 4;
  case LH_DTYPE_FLOAT64:
  case LH_DTYPE_INT64:
  case LH_DTYPE_UINT64:
    return 8;
  default:
    return 0;
  }
}

/*
 * A kernel walks a tensor by its dims, so they must account for exactly its bytes. A tensor of rank 0 is a scalar on
 * the device or one whose shape the caller does not tell; its kernel has byte_count to go by.
 */
static outcome check_shape(const lh_argument *argument, uint64_t byte_count) {
  uint64_t rank = 0;
  if (!safe_integer_read(argument->rank, &rank) || rank > LH_ARGUMENT_MAX_RANK) {
    return failure(LH_INVALID_ARGUMENT, "An argument has a rank that is no integer from 0 to 8.");
  }
  uint64_t shaped_bytes = element_bytes(argument->dtype);
  for (uint64_t index = 0; index < rank; index += 1) {
    uint64_t dim = 0;
    if (!safe_integer_read(argument->dims[index], &dim)) {
      return failure(LH_INVALID_ARGUMENT, "A dim of an argument is no integer from 0 to 2^53 - 1.");
    }
    if (__builtin_mul_overflow(shaped_bytes, dim, &shaped_bytes)) {
      return failure(LH_INVALID_ARGUMENT, "The dims of an argument multiply to more bytes than there are.");
    }
  }
  return rank == 0 || shaped_bytes == byte_count
             ? success()
             : failure(LH_INVALID_ARGUMENT, "The dims of an argument do not multiply to its bytes.");
}

static outcome check_alignment(const lh_argument *argument, uint64_t address) {
  uint64_t alignment_bytes = 0;
  if (!safe_integer_read(argument->alignment_bytes, &alignment_bytes) ||
      (alignment_bytes != 0 && !is_power_of_two(alignment_bytes))) {
    return failure(LH_INVALID_ARGUMENT, "The alignment of an argument is neither 0 nor a power of two.");
  }
  return alignment_bytes == 0 || address % alignment_bytes == 0
             ? success()
             : failure(LH_MISALIGNED, "An argument is not aligned as its entry says.");
}

static outcome check_tensor(const lh_argument *argument, uint64_t byte_count, uint64_t address,
                            const ranges *allocations) {
  outcome shape = check_shape(argument, byte_count);
  if (shape.status != LH_OK) {
    return shape;
  }
  if (byte_count == 0) {
    return address == 0 ? success() : failure(LH_INVALID_ARGUMENT, "An empty tensor has an address.");
  }
  if (address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address of a tensor is null.");
  }
  outcome alignment = check_alignment(argument, address);
  if (alignment.status != LH_OK) {
    return alignment;
  }
  lh_status status = ranges_check(allocations, address, byte_count);
  return outcome_of(status, address_detail(status));
}

static outcome check_argument(const lh_argument *argument, const ranges *allocations) {
  uint64_t kind = 0;
  uint64_t byte_count = 0;
  uint64_t address = 0;
  if (!safe_integer_read(argument->kind, &kind) || kind < LH_ARGUMENT_INPUT || kind > LH_ARGUMENT_SCALAR) {
    return failure(LH_INVALID_ARGUMENT, "There is no such kind of argument.");
  }
  if (element_bytes(argument->dtype) == 0) {
    return failure(LH_INVALID_ARGUMENT, "There is no such dtype.");
  }
  if (!safe_integer_read(argument->byte_count, &byte_count) || !safe_integer_read(argument->address, &address)) {
    return failure(LH_INVALID_ARGUMENT, "A number of an argument is no integer from 0 to 2^53 - 1.");
  }
  if (argument->reserved != 0.0) {
    return failure(LH_INVALID_ARGUMENT, "The reserved field of an argument is not zero.");
  }
  if (kind != LH_ARGUMENT_SCALAR) {
    return check_tensor(argument, byte_count, address, allocations);
  }
  if (byte_count > SCALAR_MAX_BYTES) {
    return failure(LH_INVALID_ARGUMENT, "A scalar has more than 8 bytes.");
  }
  return address == 0 ? success() : failure(LH_INVALID_ARGUMENT, "A scalar has an address.");
}

outcome arguments_check(const lh_argument *arguments, uint32_t count, const ranges *allocations) {
  for (uint32_t index = 0; index < count; index += 1) {
    outcome checked = check_argument(&arguments[index], allocations);
    if (checked.status != LH_OK) {
      return failure_at(checked.status, index, checked.detail);
    }
  }
  return success();
}

bool arguments_touch(const lh_argument *arguments, uint32_t count, range touched) {
  for (uint32_t index = 0; index < count; index += 1) {
    uint64_t address = (uint64_t)arguments[index].address;
    if (address >= touched.address && address - touched.address < touched.reserved_bytes) {
      return true;
    }
  }
  return false;
}
