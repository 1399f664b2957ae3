// GroupNorm followed by SiLU (or nothing), forward and backward, for bf16 activations in NHWC order on a CPU.
//
//   z = (x - mean_g) * rstd_g * weight_c + bias_c ;  y = silu ? z / (1 + e^-z) : z
//
// x, y, dy, dx [N, P, C] bf16; weight, bias [C] f32; mean, rstd [N, G] f32; dw, db [N, C] f32 (summed by
// the caller). One thread takes one sample. Sums are kept per channel, so the inner loop is contiguous
// whatever the group size; all accumulation is f32. PyTorch's own operators convert to NCHW and back for
// this, which costs more than the convolutions around it.
#include <cmath>
#include <cstdint>
#include <vector>

static inline float widen(uint16_t h) {
  union { uint32_t u; float f; } v{uint32_t(h) << 16};
  return v.f;
}

static inline uint16_t narrow(float f) {
  union { float f; uint32_t u; } v{f};
  return uint16_t((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}

extern "C" void forward(const uint16_t* x, const float* weight, const float* bias, uint16_t* y, float* mean,
                        float* rstd, int N, int P, int C, int G, float eps, int silu) {
  const int D = C / G;
#pragma omp parallel for
  for (int n = 0; n < N; n++) {
    const uint16_t* xs = x + size_t(n) * P * C;
    uint16_t* ys = y + size_t(n) * P * C;
    std::vector<float> buffer(size_t(C) * 4, 0.f);
    float *sum = buffer.data(), *square = sum + C, *scale = square + C, *shift = scale + C;
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) sum[c] += widen(xs[size_t(p) * C + c]);
    for (int g = 0; g < G; g++) {
      float total = 0;
      for (int c = g * D; c < (g + 1) * D; c++) total += sum[c];
      mean[n * G + g] = total / (float(P) * D);
      for (int c = g * D; c < (g + 1) * D; c++) shift[c] = mean[n * G + g];
    }
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) {
        float d = widen(xs[size_t(p) * C + c]) - shift[c];
        square[c] += d * d;
      }
    for (int g = 0; g < G; g++) {
      float total = 0;
      for (int c = g * D; c < (g + 1) * D; c++) total += square[c];
      float r = 1.f / std::sqrt(total / (float(P) * D) + eps);
      rstd[n * G + g] = r;
      for (int c = g * D; c < (g + 1) * D; c++) {
        scale[c] = r * weight[c];
        shift[c] = bias[c] - mean[n * G + g] * scale[c];
      }
    }
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) {
        float z = widen(xs[size_t(p) * C + c]) * scale[c] + shift[c];
        ys[size_t(p) * C + c] = narrow(silu ? z / (1.f + std::exp(-z)) : z);
      }
  }
}

extern "C" void backward(const uint16_t* x, const uint16_t* dy, const float* weight, const float* bias,
                         const float* mean, const float* rstd, uint16_t* dx, float* dw, float* db, int N,
                         int P, int C, int G, int silu) {
  const int D = C / G;
#pragma omp parallel for
  for (int n = 0; n < N; n++) {
    const uint16_t *xs = x + size_t(n) * P * C, *gs = dy + size_t(n) * P * C;
    uint16_t* out = dx + size_t(n) * P * C;
    float *dws = dw + size_t(n) * C, *dbs = db + size_t(n) * C;
    std::vector<float> dz(size_t(P) * C), table(size_t(C) * 5, 0.f);
    float *a = table.data(), *b = a + C, *sx = b + C, *cx = sx + C, *c0 = cx + C;
    for (int c = 0; c < C; c++) {
      a[c] = rstd[n * G + c / D];
      b[c] = -mean[n * G + c / D] * a[c];
      dbs[c] = dws[c] = 0;
    }
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) {
        size_t i = size_t(p) * C + c;
        float hat = widen(xs[i]) * a[c] + b[c], g = widen(gs[i]);
        if (silu) {
          float z = hat * weight[c] + bias[c], s = 1.f / (1.f + std::exp(-z));
          g *= s * (1.f + z * (1.f - s));
        }
        dz[i] = g;
        dbs[c] += g;
        dws[c] += g * hat;
      }
    for (int g = 0; g < G; g++) {
      float s0 = 0, s1 = 0;
      for (int c = g * D; c < (g + 1) * D; c++) {
        s0 += weight[c] * dbs[c];
        s1 += weight[c] * dws[c];
      }
      for (int c = g * D; c < (g + 1) * D; c++) {
        // dx = rstd (w dz - s0/m - hat s1/m), and hat = a x + b: one multiply-add each for dz, x and 1.
        float m = float(P) * D;
        sx[c] = a[c] * weight[c];
        cx[c] = -a[c] * a[c] * s1 / m;
        c0[c] = -a[c] * (s0 + b[c] * s1) / m;
      }
    }
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) {
        size_t i = size_t(p) * C + c;
        out[i] = narrow(dz[i] * sx[c] + widen(xs[i]) * cx[c] + c0[c]);
      }
  }
}
