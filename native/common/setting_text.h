/*
 * setting_text.h: settings of a context, read from `name=value` pairs parted by single spaces into a struct of the backend's.
 */
#ifndef LEASEHOLD_COMMON_SETTING_TEXT_H
#define LEASEHOLD_COMMON_SETTING_TEXT_H

#include "leasehold_host_api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More address space than any host has; alignments and reservations stay far from overflow. */
#define SETTING_MEMORY_MAX_BYTES (1ull << 46)

/* The longest text of a text setting, without the zero at its end. */
#define SETTING_TEXT_MAX_BYTES 1023u

/* The most settings that a backend may have. */
#define SETTING_MAX_COUNT 32u

/* What a setting holds: a uint64_t, a bool, or a char[SETTING_TEXT_MAX_BYTES + 1]. */
typedef enum setting_kind { SETTING_NUMBER, SETTING_CHOICE, SETTING_TEXT } setting_kind;

typedef struct setting {
  const char *name;
  setting_kind kind;
  size_t offset; /* of its field in the struct */
  /* Of a number. */
  uint64_t least;
  uint64_t most;
  bool is_power_of_two;
  /* Of a choice: the words for false and for true. */
  const char *when_false;
  const char *when_true;
} setting;

/*
 * Reads the text (null: nothing) into `target`, which holds the defaults. On failure, `detail` holds a sentence that names the
 * setting, and the target may be half written.
 */
lh_status settings_parse(const char *text, const setting *known, size_t known_count, void *target, char *detail,
                         size_t detail_bytes);

#endif
