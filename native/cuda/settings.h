/*
 * settings.h: how a device is opened, read from `name=value` pairs parted by single spaces.
 *
 *   driver=PATH                 the driver's library; without it, the first of the known names that can be loaded
 *   lanes=serial|overlap        one stream for all, or one each for copies in, kernels and copies out
 *   coalesce_max_bytes=1048576  up to this size what is staged is copied first and travels at once
 *   piece_bytes=1048576         beyond it, it travels in pieces of this size, each while the next is staged
 */
#ifndef LEASEHOLD_CUDA_SETTINGS_H
#define LEASEHOLD_CUDA_SETTINGS_H

#include "common/setting_text.h"

typedef struct cuda_settings {
  char driver[SETTING_TEXT_MAX_BYTES + 1]; /* empty: look for it */
  bool lanes_overlap;
  uint64_t coalesce_max_bytes;
  uint64_t piece_bytes;
} cuda_settings;

/* Reads the text (null: nothing but defaults). On failure, `detail` holds a sentence that names the setting. */
lh_status cuda_settings_read(const char *text, cuda_settings *settings_out, char *detail, size_t detail_bytes);

#endif
