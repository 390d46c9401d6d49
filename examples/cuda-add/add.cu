/*
 * add.cu: c = a + b, for examples/cuda-add/main.ts.
 *
 * add.ptx beside it is what `make` in this folder builds from it, where there is nvcc.
 */
extern "C" __global__ void add(const float *a, const float *b, float *c, int n) {
  int index = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (index < n) {
    c[index] = a[index] + b[index];
  }
}
