#include "memory_lab.h"

#include "common/numbers.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * What undefined memory is filled with. No byte occurs in two patterns, so a value that the kernel writes whatever it
 * finds is never taken for a pattern. The first is zero, as memory happens to be that was cleared: a kernel that only
 * works then is found out by the others. Those differ from byte to byte and from argument to argument, so that nothing
 * cancels out, and read as floats of every width they are small, large and negative, but neither tiny nor NaN.
 */
enum { PATTERN_COUNT = 4, ZERO_PATTERN = 0 };
static const uint8_t pattern_bases[PATTERN_COUNT] = {0x00, 0x41, 0x55, 0xC5};
#define PATTERN_WIDTH 16u

/* One bit for each pattern but zero. */
enum { KEPT_ALWAYS = (1 << PATTERN_COUNT) - 2 };

/* A kernel that answers by chance is told from one that trusts memory by asking again. */
enum { CONFIRMATION_COUNT = 3 };

/* One tensor of the launch. */
typedef struct specimen {
  uint8_t *bytes; /* on the device */
  uint64_t byte_count;
  uint32_t index; /* of the argument */
  bool is_result; /* what the kernel leaves there counts */
  bool is_varied; /* a pure output or a scratch, and no other argument lies in it */
  bool is_output;
  uint8_t *saved;  /* what it held before the launch */
  uint8_t *answer; /* for results: what the kernel left there when undefined memory was zero */
  uint8_t *kept;   /* for varied outputs: for each byte, with which patterns it kept what lay there */
} specimen;

typedef struct lab {
  lh_kernel_function kernel;
  const lh_argument *arguments;
  uint32_t argument_count;
  uint32_t specimen_count;
  uint32_t varied_count;
  specimen *specimens; /* in the order of the arguments */
  uint8_t *copies;
  uint32_t shown_index; /* the argument in which the latest difference was seen; NO_ENTRY where the code differed */
} lab;

/* Opening ------------------------------------------------------------------------------------------------------- */

static specimen specimen_of(const lh_argument *argument, uint32_t index) {
  int kind = (int)argument->kind;
  return (specimen){
      .bytes = lh_argument_data(argument),
      .byte_count = lh_argument_bytes(argument),
      .index = index,
      .is_result = kind == LH_ARGUMENT_OUTPUT || kind == LH_ARGUMENT_INOUT || kind == LH_ARGUMENT_RESIDENT,
      .is_varied = kind == LH_ARGUMENT_OUTPUT || kind == LH_ARGUMENT_SCRATCH,
      .is_output = kind == LH_ARGUMENT_OUTPUT,
  };
}

static int compare_addresses(const void *left, const void *right) {
  uintptr_t a = (uintptr_t)((const specimen *)left)->bytes;
  uintptr_t b = (uintptr_t)((const specimen *)right)->bytes;
  return (a > b) - (a < b);
}

static int compare_indices(const void *left, const void *right) {
  uint32_t a = ((const specimen *)left)->index;
  uint32_t b = ((const specimen *)right)->index;
  return (a > b) - (a < b);
}

/*
 * What overlaps another argument is left alone. In the order of their addresses, a tensor that overlaps any before it
 * overlaps the one that reaches furthest, and one that overlaps only later ones is that one when the next comes.
 */
static void leave_overlaps_alone(lab *opened) {
  qsort(opened->specimens, opened->specimen_count, sizeof *opened->specimens, compare_addresses);
  specimen *furthest = &opened->specimens[0];
  for (uint32_t position = 1; position < opened->specimen_count; position += 1) {
    specimen *next = &opened->specimens[position];
    if (next->bytes < furthest->bytes + furthest->byte_count) {
      next->is_varied = false;
      furthest->is_varied = false;
    }
    if (next->bytes + next->byte_count > furthest->bytes + furthest->byte_count) {
      furthest = next;
    }
  }
  qsort(opened->specimens, opened->specimen_count, sizeof *opened->specimens, compare_indices);
}

static bool has_kept(const specimen *tensor) { return tensor->is_varied && tensor->is_output; }

/* Takes room for all copies of all tensors at once, and saves what they hold. */
static bool save_tensors(lab *opened) {
  uint64_t copies_bytes = 0;
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    const specimen *tensor = &opened->specimens[position];
    uint64_t copy_count = 1u + (tensor->is_result ? 1u : 0u) + (has_kept(tensor) ? 1u : 0u);
    for (uint64_t copy = 0; copy < copy_count; copy += 1) {
      copies_bytes = uint64_add_saturated(copies_bytes, tensor->byte_count);
    }
  }
  opened->copies = malloc(copies_bytes);
  if (opened->copies == NULL) {
    return false;
  }
  uint8_t *next = opened->copies;
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    specimen *tensor = &opened->specimens[position];
    tensor->saved = next;
    memcpy(tensor->saved, tensor->bytes, tensor->byte_count);
    next += tensor->byte_count;
    if (tensor->is_result) {
      tensor->answer = next;
      next += tensor->byte_count;
    }
    if (has_kept(tensor)) {
      tensor->kept = next;
      memset(tensor->kept, 0, tensor->byte_count);
      next += tensor->byte_count;
    }
  }
  return true;
}

static void close_lab(lab *opened) {
  free(opened->copies);
  free(opened->specimens);
}

/* False where the host has no room. A lab without anything to vary has nothing else either, and is closed already. */
static bool open_lab(lab *opened) {
  opened->specimens = malloc((opened->argument_count + 1u) * sizeof *opened->specimens);
  if (opened->specimens == NULL) {
    return false;
  }
  for (uint32_t index = 0; index < opened->argument_count; index += 1) {
    const lh_argument *argument = &opened->arguments[index];
    if (argument->address != 0) {
      opened->specimens[opened->specimen_count] = specimen_of(argument, index);
      opened->specimen_count += 1;
    }
  }
  if (opened->specimen_count > 0) {
    leave_overlaps_alone(opened);
  }
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    opened->varied_count += opened->specimens[position].is_varied ? 1 : 0;
  }
  if (opened->varied_count > 0 && save_tensors(opened)) {
    return true;
  }
  bool is_empty = opened->varied_count == 0;
  close_lab(opened);
  return is_empty;
}

/* Executing ----------------------------------------------------------------------------------------------------- */

static uint8_t pattern_byte(uint32_t pattern, uint32_t index, uint64_t offset) {
  uint32_t mixed = ((uint32_t)offset + index * 97u) * 2654435761u;
  return pattern == ZERO_PATTERN ? 0 : (uint8_t)(pattern_bases[pattern] + (mixed >> 28) % PATTERN_WIDTH);
}

static void fill_with_pattern(const specimen *tensor, uint32_t pattern) {
  for (uint64_t offset = 0; offset < tensor->byte_count; offset += 1) {
    tensor->bytes[offset] = pattern_byte(pattern, tensor->index, offset);
  }
}

/* What is as it was is not written: copies beside the kernel may be reading a resident that it only reads. */
static void restore(const specimen *tensor) {
  if (memcmp(tensor->bytes, tensor->saved, tensor->byte_count) != 0) {
    memcpy(tensor->bytes, tensor->saved, tensor->byte_count);
  }
}

static void restore_all(const lab *opened) {
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    restore(&opened->specimens[position]);
  }
}

/* Executes the kernel with the pattern in the first tensors that vary and zero in the others. Returns its code. */
static int32_t execute(const lab *opened, uint32_t pattern, uint32_t patterned_count) {
  uint32_t varied_count = 0;
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    const specimen *tensor = &opened->specimens[position];
    if (tensor->is_varied) {
      fill_with_pattern(tensor, varied_count < patterned_count ? pattern : ZERO_PATTERN);
      varied_count += 1;
    } else {
      restore(tensor);
    }
  }
  return opened->kernel(opened->arguments, opened->argument_count);
}

static void remember_answers(const lab *opened) {
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    const specimen *tensor = &opened->specimens[position];
    if (tensor->is_result) {
      memcpy(tensor->answer, tensor->bytes, tensor->byte_count);
    }
  }
}

/* Whether what the kernel left in the tensor differs from its answer, in a byte that it ever writes. */
static bool tensor_differs(const specimen *tensor) {
  if (!tensor->is_result || memcmp(tensor->bytes, tensor->answer, tensor->byte_count) == 0) {
    return false;
  }
  for (uint64_t offset = 0; offset < tensor->byte_count; offset += 1) {
    bool is_never_written = tensor->kept != NULL && tensor->kept[offset] == KEPT_ALWAYS;
    if (!is_never_written && tensor->bytes[offset] != tensor->answer[offset]) {
      return true;
    }
  }
  return false;
}

/* Executes the kernel and says whether anything comes out that differs from its answer. */
static bool differs(lab *opened, uint32_t pattern, uint32_t patterned_count) {
  opened->shown_index = NO_ENTRY;
  if (execute(opened, pattern, patterned_count) != LH_OK) {
    return true;
  }
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    if (tensor_differs(&opened->specimens[position])) {
      opened->shown_index = opened->specimens[position].index;
      return true;
    }
  }
  return false;
}

/* Judging ------------------------------------------------------------------------------------------------------- */

/* Notes which bytes kept the pattern. Zero that stayed zero counts only together with a pattern that stayed too. */
static void note_kept(const specimen *tensor, uint32_t pattern) {
  for (uint64_t offset = 0; offset < tensor->byte_count; offset += 1) {
    bool is_kept =
        tensor->answer[offset] == 0 && tensor->bytes[offset] == pattern_byte(pattern, tensor->index, offset);
    tensor->kept[offset] |= (uint8_t)((is_kept ? 1u : 0u) << pattern);
  }
}

static bool keeps(const specimen *tensor, uint64_t offset, uint32_t pattern) {
  return ((uint32_t)tensor->kept[offset] >> pattern & 1u) != 0;
}

static bool differs_beside_kept(const specimen *tensor, uint32_t pattern) {
  if (tensor->kept == NULL) {
    return tensor_differs(tensor);
  }
  for (uint64_t offset = 0; offset < tensor->byte_count; offset += 1) {
    bool is_kept = keeps(tensor, offset, pattern);
    if (!is_kept && tensor->bytes[offset] != tensor->answer[offset]) {
      return true;
    }
  }
  return false;
}

/* A byte that some patterns survive in and others do not depends on what lay there. One of the survivors, or zero. */
static uint32_t pattern_that_shows(const specimen *tensor) {
  for (uint64_t offset = 0; tensor->kept != NULL && offset < tensor->byte_count; offset += 1) {
    for (uint32_t pattern = 1; tensor->kept[offset] != KEPT_ALWAYS && pattern < PATTERN_COUNT; pattern += 1) {
      if (keeps(tensor, offset, pattern)) {
        return pattern;
      }
    }
  }
  return ZERO_PATTERN;
}

/* Executes the kernel with each pattern everywhere. Returns one with which other results came out, or zero. */
static uint32_t find_dependence(const lab *opened) {
  uint32_t dependent = ZERO_PATTERN;
  for (uint32_t pattern = 1; pattern < PATTERN_COUNT; pattern += 1) {
    bool is_dependent = execute(opened, pattern, opened->varied_count) != LH_OK;
    for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
      const specimen *tensor = &opened->specimens[position];
      if (tensor->kept != NULL) {
        note_kept(tensor, pattern);
      }
      is_dependent = differs_beside_kept(tensor, pattern) || is_dependent;
    }
    dependent = is_dependent ? pattern : dependent;
  }
  for (uint32_t position = 0; position < opened->specimen_count && dependent == ZERO_PATTERN; position += 1) {
    dependent = pattern_that_shows(&opened->specimens[position]);
  }
  return dependent;
}

/*
 * The tensor that makes the difference: with the pattern in all tensors before it nothing differs, and with the pattern
 * in it too something does. Null where the kernel answers one way now and another way then.
 */
static const specimen *find_guilty(lab *opened, uint32_t pattern) {
  uint32_t same_count = 0;
  uint32_t different_count = opened->varied_count;
  while (different_count - same_count > 1) {
    uint32_t middle = same_count + (different_count - same_count) / 2;
    if (differs(opened, pattern, middle)) {
      different_count = middle;
    } else {
      same_count = middle;
    }
  }
  for (int round = 0; round < CONFIRMATION_COUNT; round += 1) {
    if (differs(opened, pattern, same_count) || !differs(opened, pattern, different_count)) {
      return NULL;
    }
  }
  const specimen *tensor = opened->specimens;
  for (uint32_t varied_count = 0;; tensor += 1) {
    varied_count += tensor->is_varied ? 1 : 0;
    if (varied_count == different_count) {
      return tensor;
    }
  }
}

static outcome not_deterministic(uint32_t entry_index) {
  return failure_at(LH_LAUNCH_FAILED, entry_index,
                    "The kernel is not deterministic: the same inputs and memory gave different results, so the memory "
                    "lab cannot judge it.");
}

static outcome read_before_written(const lab *opened, const specimen *guilty, char *detail) {
  if (guilty->is_output) {
    return failure_at(LH_LAUNCH_FAILED, guilty->index,
                      "The argument is declared an output, but the kernel reads it before it writes it: an accumulator "
                      "should be declared inout.");
  }
  if (opened->shown_index == NO_ENTRY) {
    return failure_at(LH_LAUNCH_FAILED, guilty->index,
                      "The argument is declared scratch, but the kernel reads it before it writes it: what lay there "
                      "decides what the kernel returns.");
  }
  snprintf(detail, DETAIL_MAX_BYTES,
           "The argument is declared scratch, but the kernel reads it before it writes it: what lay there shows in "
           "argument %u, counted from 0.",
           opened->shown_index);
  return failure_at(LH_LAUNCH_FAILED, guilty->index, detail);
}

/* The first output that has bytes which the kernel never wrote. */
static outcome never_written(const lab *opened, char *detail) {
  for (uint32_t position = 0; position < opened->specimen_count; position += 1) {
    const specimen *tensor = &opened->specimens[position];
    uint64_t kept_count = 0;
    uint64_t first_offset = 0;
    for (uint64_t offset = 0; tensor->kept != NULL && offset < tensor->byte_count; offset += 1) {
      bool is_kept = tensor->kept[offset] == KEPT_ALWAYS;
      first_offset = is_kept && kept_count == 0 ? offset : first_offset;
      kept_count += is_kept ? 1 : 0;
    }
    if (kept_count > 0) {
      snprintf(detail, DETAIL_MAX_BYTES,
               "The kernel never wrote %llu of the %llu bytes of this output, from offset %llu on: they hold what lay "
               "there before.",
               (unsigned long long)kept_count, (unsigned long long)tensor->byte_count,
               (unsigned long long)first_offset);
      return failure_at(LH_LAUNCH_FAILED, tensor->index, detail);
    }
  }
  return success();
}

static outcome judge(lab *opened, char *detail) {
  if (execute(opened, ZERO_PATTERN, 0) != LH_OK) {
    /* It fails by itself, and will say so when it is launched. */
    return success();
  }
  remember_answers(opened);
  if (differs(opened, ZERO_PATTERN, 0)) {
    return not_deterministic(opened->shown_index);
  }
  uint32_t dependent = find_dependence(opened);
  if (dependent == ZERO_PATTERN) {
    return never_written(opened, detail);
  }
  const specimen *guilty = find_guilty(opened, dependent);
  return guilty == NULL ? not_deterministic(NO_ENTRY) : read_before_written(opened, guilty, detail);
}

outcome memory_lab_examine(lh_kernel_function kernel, const lh_argument *arguments, uint32_t count, char *detail) {
  lab opened = {.kernel = kernel, .arguments = arguments, .argument_count = count, .shown_index = NO_ENTRY};
  if (!open_lab(&opened)) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room for the memory lab's copies of the arguments.");
  }
  if (opened.varied_count == 0) {
    return success();
  }
  outcome judged = judge(&opened, detail);
  restore_all(&opened);
  close_lab(&opened);
  return judged;
}
