#include "settings.h"

#include "common/numbers.h"
#include "common/setting_text.h"

#define NUMBER(field, least_value, most_value, power)                                                                  \
  {.name = #field,                                                                                                     \
   .kind = SETTING_NUMBER,                                                                                             \
   .offset = offsetof(settings, field),                                                                                \
   .least = (least_value),                                                                                             \
   .most = (most_value),                                                                                               \
   .is_power_of_two = (power)}

#define CHOICE(setting_name, field, false_word, true_word)                                                             \
  {.name = (setting_name),                                                                                             \
   .kind = SETTING_CHOICE,                                                                                             \
   .offset = offsetof(settings, field),                                                                                \
   .when_false = (false_word),                                                                                         \
   .when_true = (true_word)}

static const setting known_settings[] = {
    NUMBER(total_bytes, 1, SETTING_MEMORY_MAX_BYTES, false),
    NUMBER(alignment_bytes, 1, SETTING_MEMORY_MAX_BYTES, true),
    NUMBER(size_granularity_bytes, 1, SETTING_MEMORY_MAX_BYTES, false),
    NUMBER(tail_bytes, 0, SETTING_MEMORY_MAX_BYTES, false),
    NUMBER(coalesce_max_bytes, 0, SAFE_INTEGER_MAX, false),
    NUMBER(malloc_nanos, 0, SAFE_INTEGER_MAX, false),
    NUMBER(free_nanos, 0, SAFE_INTEGER_MAX, false),
    NUMBER(transfer_nanos, 0, SAFE_INTEGER_MAX, false),
    NUMBER(launch_nanos, 0, SAFE_INTEGER_MAX, false),
    NUMBER(in_bytes_per_second, 0, SAFE_INTEGER_MAX, false),
    NUMBER(out_bytes_per_second, 0, SAFE_INTEGER_MAX, false),
    CHOICE("completion", completes_late, "immediate", "late"),
    CHOICE("lanes", lanes_overlap, "serial", "overlap"),
    CHOICE("clock", clock_is_virtual, "real", "virtual"),
    CHOICE("memory_lab", memory_lab_is_on, "off", "fail"),
};

lh_status settings_read(const char *text, settings *settings_out, char *detail, size_t detail_bytes) {
  settings read = {.total_bytes = 1u << 30, .alignment_bytes = 64, .size_granularity_bytes = 1};
  lh_status status = settings_parse(text, known_settings, sizeof known_settings / sizeof *known_settings, &read, detail,
                                    detail_bytes);
  if (status == LH_OK) {
    *settings_out = read;
  }
  return status;
}
