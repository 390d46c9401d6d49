/*
 * qwen3_on_host.cpp: the kernels of qwen3_decode.cu, compiled for the host, as a library of the loopback driver. Under the name
 * of a kernel it exports what launches it; the kernel itself has another name here.
 */
#include "cuda_on_host.h"
#include "cuda_run.h"

#define qwen3_begin kernel_begin
#define qwen3_embed kernel_embed
#define qwen3_rms_norm kernel_rms_norm
#define qwen3_query_key_value kernel_query_key_value
#define qwen3_norm_and_rope kernel_norm_and_rope
#define qwen3_attend kernel_attend
#define qwen3_project_add kernel_project_add
#define qwen3_gate_up kernel_gate_up
#define qwen3_logits kernel_logits

#include QWEN3_SOURCE

#undef qwen3_begin
#undef qwen3_embed
#undef qwen3_rms_norm
#undef qwen3_query_key_value
#undef qwen3_norm_and_rope
#undef qwen3_attend
#undef qwen3_project_add
#undef qwen3_gate_up
#undef qwen3_logits

#define LAUNCH(name)                                                                                                   \
  CUDA_EXPORT auto qwen3_##name##_parameters = cuda_parameter_bytes(kernel_##name);                                    \
  CUDA_EXPORT void qwen3_##name(void **parameters, const cuda_launch *launch) {                                        \
    cuda_call(kernel_##name, parameters, launch);                                                                      \
  }

extern "C" {
LAUNCH(begin)
LAUNCH(embed)
LAUNCH(rms_norm)
LAUNCH(query_key_value)
LAUNCH(norm_and_rope)
LAUNCH(attend)
LAUNCH(project_add)
LAUNCH(gate_up)
LAUNCH(logits)
}
