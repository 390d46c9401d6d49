#include "settings.h"

#include "numbers.h"

#include <stdio.h>
#include <string.h>

/* A settings text is a dozen short pairs; whatever is much longer is something else. */
enum { TEXT_MAX_BYTES = 4096 };

/* One name or value inside the text, which is not ended by a zero there. */
typedef struct token {
  const char *start;
  size_t length;
} token;

/* A setting that is a whole number. */
typedef struct number_setting {
  const char *name;
  size_t offset;
  uint64_t least;
  uint64_t most;
  bool is_power_of_two;
} number_setting;

/* A setting that is one of two words. */
typedef struct choice_setting {
  const char *name;
  size_t offset;
  const char *when_false;
  const char *when_true;
} choice_setting;

#define NUMBER_COUNT 11u
#define CHOICE_COUNT 4u
#define SETTING_COUNT (NUMBER_COUNT + CHOICE_COUNT)

/* More address space than any host has; alignments and reservations stay far from overflow. */
#define MEMORY_MAX_BYTES (1ull << 46)

static const number_setting number_settings[NUMBER_COUNT] = {
    {"total_bytes", offsetof(settings, total_bytes), 1, MEMORY_MAX_BYTES, false},
    {"alignment_bytes", offsetof(settings, alignment_bytes), 1, MEMORY_MAX_BYTES, true},
    {"size_granularity_bytes", offsetof(settings, size_granularity_bytes), 1, MEMORY_MAX_BYTES, false},
    {"tail_bytes", offsetof(settings, tail_bytes), 0, MEMORY_MAX_BYTES, false},
    {"coalesce_max_bytes", offsetof(settings, coalesce_max_bytes), 0, SAFE_INTEGER_MAX, false},
    {"malloc_nanos", offsetof(settings, malloc_nanos), 0, SAFE_INTEGER_MAX, false},
    {"free_nanos", offsetof(settings, free_nanos), 0, SAFE_INTEGER_MAX, false},
    {"transfer_nanos", offsetof(settings, transfer_nanos), 0, SAFE_INTEGER_MAX, false},
    {"launch_nanos", offsetof(settings, launch_nanos), 0, SAFE_INTEGER_MAX, false},
    {"in_bytes_per_second", offsetof(settings, in_bytes_per_second), 0, SAFE_INTEGER_MAX, false},
    {"out_bytes_per_second", offsetof(settings, out_bytes_per_second), 0, SAFE_INTEGER_MAX, false},
};

static const choice_setting choice_settings[CHOICE_COUNT] = {
    {"completion", offsetof(settings, completes_late), "immediate", "late"},
    {"lanes", offsetof(settings, lanes_overlap), "serial", "overlap"},
    {"clock", offsetof(settings, clock_is_virtual), "real", "virtual"},
    {"memory_lab", offsetof(settings, memory_lab_is_on), "off", "fail"},
};

static bool token_is(token word, const char *text) {
  return strlen(text) == word.length && memcmp(word.start, text, word.length) == 0;
}

/* How much of a token a sentence shows. */
static int shown_length(token word) { return (int)uint64_min(word.length, 32); }

static bool parse_number(token word, uint64_t *number_out) {
  uint64_t number = 0;
  for (size_t index = 0; index < word.length; index += 1) {
    char digit = word.start[index];
    if (digit < '0' || digit > '9' || __builtin_mul_overflow(number, 10u, &number) ||
        __builtin_add_overflow(number, (uint64_t)(digit - '0'), &number)) {
      return false;
    }
  }
  *number_out = number;
  return word.length > 0;
}

static lh_status set_number(const number_setting *setting, token value, settings *target, char *detail,
                            size_t detail_bytes) {
  uint64_t number = 0;
  bool is_valid = parse_number(value, &number) && number >= setting->least && number <= setting->most &&
                  (!setting->is_power_of_two || is_power_of_two(number));
  if (!is_valid) {
    snprintf(detail, detail_bytes, "The setting '%s' needs a %s from %llu to %llu, not '%.*s'.", setting->name,
             setting->is_power_of_two ? "power of two" : "whole number", (unsigned long long)setting->least,
             (unsigned long long)setting->most, shown_length(value), value.start);
    return LH_INVALID_ARGUMENT;
  }
  memcpy((char *)target + setting->offset, &number, sizeof number);
  return LH_OK;
}

static lh_status set_choice(const choice_setting *setting, token value, settings *target, char *detail,
                            size_t detail_bytes) {
  bool choice = token_is(value, setting->when_true);
  if (!choice && !token_is(value, setting->when_false)) {
    snprintf(detail, detail_bytes, "The setting '%s' is '%s' or '%s', not '%.*s'.", setting->name,
             setting->when_false, setting->when_true, shown_length(value), value.start);
    return LH_INVALID_ARGUMENT;
  }
  memcpy((char *)target + setting->offset, &choice, sizeof choice);
  return LH_OK;
}

/* The setting's place among all settings, or SETTING_COUNT. */
static size_t find_setting(token name) {
  for (size_t index = 0; index < NUMBER_COUNT; index += 1) {
    if (token_is(name, number_settings[index].name)) {
      return index;
    }
  }
  for (size_t index = 0; index < CHOICE_COUNT; index += 1) {
    if (token_is(name, choice_settings[index].name)) {
      return NUMBER_COUNT + index;
    }
  }
  return SETTING_COUNT;
}

static lh_status set_pair(token pair, settings *target, bool *is_set, char *detail, size_t detail_bytes) {
  const char *equals = memchr(pair.start, '=', pair.length);
  if (equals == NULL) {
    snprintf(detail, detail_bytes, "Settings are 'name=value' pairs parted by single spaces, and '%.*s' is none.",
             shown_length(pair), pair.start);
    return LH_INVALID_ARGUMENT;
  }
  token name = {.start = pair.start, .length = (size_t)(equals - pair.start)};
  token value = {.start = equals + 1, .length = pair.length - name.length - 1};
  size_t index = find_setting(name);
  if (index == SETTING_COUNT) {
    snprintf(detail, detail_bytes, "There is no setting '%.*s'.", shown_length(name), name.start);
    return LH_INVALID_ARGUMENT;
  }
  if (is_set[index]) {
    snprintf(detail, detail_bytes, "The setting '%.*s' is given twice.", shown_length(name), name.start);
    return LH_INVALID_ARGUMENT;
  }
  is_set[index] = true;
  return index < NUMBER_COUNT
             ? set_number(&number_settings[index], value, target, detail, detail_bytes)
             : set_choice(&choice_settings[index - NUMBER_COUNT], value, target, detail, detail_bytes);
}

lh_status settings_read(const char *text, settings *settings_out, char *detail, size_t detail_bytes) {
  settings read = {.total_bytes = 1u << 30, .alignment_bytes = 64, .size_granularity_bytes = 1};
  bool is_set[SETTING_COUNT] = {false};
  size_t text_bytes = text == NULL ? 0 : strnlen(text, TEXT_MAX_BYTES + 1);
  if (text_bytes > TEXT_MAX_BYTES) {
    snprintf(detail, detail_bytes, "The settings are longer than %d bytes.", TEXT_MAX_BYTES);
    return LH_INVALID_ARGUMENT;
  }
  const char *rest = text;
  while (text_bytes > 0) {
    const char *space = memchr(rest, ' ', text_bytes);
    token pair = {.start = rest, .length = space == NULL ? text_bytes : (size_t)(space - rest)};
    lh_status status = set_pair(pair, &read, is_set, detail, detail_bytes);
    if (status != LH_OK) {
      return status;
    }
    if (space == NULL) {
      break;
    }
    text_bytes -= pair.length + 1;
    rest = space + 1;
    if (text_bytes == 0) {
      snprintf(detail, detail_bytes, "The settings end in a space.");
      return LH_INVALID_ARGUMENT;
    }
  }
  *settings_out = read;
  return LH_OK;
}
