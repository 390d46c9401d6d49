#include "cuda/settings.h"

/* Pieces that are smaller cost more calls than they save. */
enum { PIECE_MIN_BYTES = 4096 };

#define DEFAULT_BYTES (1u << 20)

static const setting known_settings[] = {
    {.name = "driver", .kind = SETTING_TEXT, .offset = offsetof(cuda_settings, driver)},
    {.name = "lanes",
     .kind = SETTING_CHOICE,
     .offset = offsetof(cuda_settings, lanes_overlap),
     .when_false = "serial",
     .when_true = "overlap"},
    {.name = "coalesce_max_bytes",
     .kind = SETTING_NUMBER,
     .offset = offsetof(cuda_settings, coalesce_max_bytes),
     .most = SETTING_MEMORY_MAX_BYTES},
    {.name = "piece_bytes",
     .kind = SETTING_NUMBER,
     .offset = offsetof(cuda_settings, piece_bytes),
     .least = PIECE_MIN_BYTES,
     .most = SETTING_MEMORY_MAX_BYTES},
};

lh_status cuda_settings_read(const char *text, cuda_settings *settings_out, char *detail, size_t detail_bytes) {
  *settings_out = (cuda_settings){.coalesce_max_bytes = DEFAULT_BYTES, .piece_bytes = DEFAULT_BYTES};
  return settings_parse(text, known_settings, sizeof known_settings / sizeof *known_settings, settings_out, detail,
                        detail_bytes);
}
