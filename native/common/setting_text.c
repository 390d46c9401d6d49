#include "common/setting_text.h"

#include "common/numbers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* A settings text is a dozen short pairs; whatever is much longer is something else. */
enum { TEXT_MAX_BYTES = 4096 };

/* One name or value inside the text, which is not ended by a zero there. */
typedef struct token {
  const char *start;
  size_t length;
} token;

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

static lh_status set_number(const setting *known, token value, void *target, char *detail, size_t detail_bytes) {
  uint64_t number = 0;
  bool is_valid = parse_number(value, &number) && number >= known->least && number <= known->most &&
                  (!known->is_power_of_two || is_power_of_two(number));
  if (!is_valid) {
    snprintf(detail, detail_bytes, "The setting '%s' needs a %s from %llu to %llu, not '%.*s'.", known->name,
             known->is_power_of_two ? "power of two" : "whole number", (unsigned long long)known->least,
             (unsigned long long)known->most, shown_length(value), value.start);
    return LH_INVALID_ARGUMENT;
  }
  memcpy((char *)target + known->offset, &number, sizeof number);
  return LH_OK;
}

static lh_status set_choice(const setting *known, token value, void *target, char *detail, size_t detail_bytes) {
  bool choice = token_is(value, known->when_true);
  if (!choice && !token_is(value, known->when_false)) {
    snprintf(detail, detail_bytes, "The setting '%s' is '%s' or '%s', not '%.*s'.", known->name,
             known->when_false, known->when_true, shown_length(value), value.start);
    return LH_INVALID_ARGUMENT;
  }
  memcpy((char *)target + known->offset, &choice, sizeof choice);
  return LH_OK;
}

static lh_status set_text(const setting *known, token value, void *target, char *detail, size_t detail_bytes) {
  if (value.length == 0 || value.length > SETTING_TEXT_MAX_BYTES) {
    snprintf(detail, detail_bytes, "The setting '%s' needs a text of 1 to %u bytes.", known->name,
             SETTING_TEXT_MAX_BYTES);
    return LH_INVALID_ARGUMENT;
  }
  char *field = (char *)target + known->offset;
  memcpy(field, value.start, value.length);
  field[value.length] = '\0';
  return LH_OK;
}

static lh_status set_value(const setting *known, token value, void *target, char *detail, size_t detail_bytes) {
  switch (known->kind) {
  case SETTING_NUMBER:
    return set_number(known, value, target, detail, detail_bytes);
  case SETTING_CHOICE:
    return set_choice(known, value, target, detail, detail_bytes);
  default:
    return set_text(known, value, target, detail, detail_bytes);
  }
}

/* The settings that a backend has, and which of them were given. */
typedef struct known_settings {
  const setting *settings;
  size_t count;
  bool is_given[SETTING_MAX_COUNT];
} known_settings;

/* The setting's place, or the count. */
static size_t find_setting(const known_settings *known, token name) {
  size_t index = 0;
  while (index < known->count && !token_is(name, known->settings[index].name)) {
    index += 1;
  }
  return index;
}

static lh_status set_pair(token pair, known_settings *known, void *target, char *detail, size_t detail_bytes) {
  const char *equals = memchr(pair.start, '=', pair.length);
  if (equals == NULL) {
    snprintf(detail, detail_bytes, "Settings are 'name=value' pairs parted by single spaces, and '%.*s' is none.",
             shown_length(pair), pair.start);
    return LH_INVALID_ARGUMENT;
  }
  token name = {.start = pair.start, .length = (size_t)(equals - pair.start)};
  token value = {.start = equals + 1, .length = pair.length - name.length - 1};
  size_t index = find_setting(known, name);
  if (index == known->count) {
    snprintf(detail, detail_bytes, "There is no setting '%.*s'.", shown_length(name), name.start);
    return LH_INVALID_ARGUMENT;
  }
  if (known->is_given[index]) {
    snprintf(detail, detail_bytes, "The setting '%.*s' is given twice.", shown_length(name), name.start);
    return LH_INVALID_ARGUMENT;
  }
  known->is_given[index] = true;
  return set_value(&known->settings[index], value, target, detail, detail_bytes);
}

lh_status settings_parse(const char *text, const setting *settings, size_t settings_count, void *target, char *detail,
                         size_t detail_bytes) {
  assert(settings_count <= SETTING_MAX_COUNT);
  known_settings known = {.settings = settings, .count = settings_count};
  size_t text_bytes = text == NULL ? 0 : strnlen(text, TEXT_MAX_BYTES + 1);
  if (text_bytes > TEXT_MAX_BYTES) {
    snprintf(detail, detail_bytes, "The settings are longer than %d bytes.", TEXT_MAX_BYTES);
    return LH_INVALID_ARGUMENT;
  }
  const char *rest = text;
  while (text_bytes > 0) {
    const char *space = memchr(rest, ' ', text_bytes);
    token pair = {.start = rest, .length = space == NULL ? text_bytes : (size_t)(space - rest)};
    lh_status status = set_pair(pair, &known, target, detail, detail_bytes);
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
  return LH_OK;
}
