// One vector type per instruction set, written with the vector extensions of GCC and clang: the same source becomes
// AVX-512, AVX2, SSE2 or NEON code according to the flags it is compiled with. Every file that uses it is compiled once
// for each set, in a namespace of the set's name (UNSPOOL_ISA), so that all of them can lie in one library; sets.cpp
// picks one when the library is loaded. All intrinsics are in this file, and only `multiply_pairs` needs them: the
// extensions have no name for a product of neighbouring pairs.
//
//     Vec<float>    16 lanes of AVX-512, 8 of AVX2, 4 of SSE2 and NEON; Vec<double> half as many
//     load, store   anywhere in memory; with a third argument n only the first n lanes, for the ends of rows
//
// A load or store of some lanes is a loop and no mask, the same for all sets: at most the last vector of a row is cut,
// and in panels, which are padded, none is.
//
// tanh and σ come from one exponential in vector registers. A rational tanh of degree 9/8 was faster, but σ made of it
// was too far off where gates saturate; sharing a division between two gates gained nothing (docs/log.md).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// Files that belong to no set read facts and names from these headers, and use nothing that depends on it.
#if !defined(UNSPOOL_ISA)
#define UNSPOOL_ISA no_set
#endif
#define UNSPOOL_TEXT_(x) #x
#define UNSPOOL_TEXT(x) UNSPOOL_TEXT_(x)

// How wide a vector is, and how many the processor can name: a register tile (sequences/product.h) must fit in them.
#if defined(__AVX512F__)
#define UNSPOOL_VECTOR_BYTES 64
#define UNSPOOL_REGISTERS 32
#elif defined(__AVX2__)
#define UNSPOOL_VECTOR_BYTES 32
#define UNSPOOL_REGISTERS 16
#elif defined(__aarch64__)
#define UNSPOOL_VECTOR_BYTES 16
#define UNSPOOL_REGISTERS 32
#else
#define UNSPOOL_VECTOR_BYTES 16
#define UNSPOOL_REGISTERS 16
#endif

#define UNSPOOL_INLINE [[gnu::always_inline]] inline

namespace unspool::UNSPOOL_ISA {

using std::int64_t;

// Whether this machine has the instructions.
inline bool supported() {
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(UNSPOOL_VECTOR_BYTES)));
    typedef int32_t Bits __attribute__((vector_size(UNSPOOL_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(UNSPOOL_VECTOR_BYTES)));
    typedef int64_t Bits __attribute__((vector_size(UNSPOOL_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
constexpr int kLanes = UNSPOOL_VECTOR_BYTES / sizeof(T);

// Sums that a register tile keeps; the other registers hold what is multiplied.
constexpr int kAccumulators = UNSPOOL_REGISTERS >= 32 ? 24 : 12;

template <class T>
UNSPOOL_INLINE Vec<T> broadcast(T value) {
    return value - Vec<T>{};
}

template <class T>
UNSPOOL_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
UNSPOOL_INLINE void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}

// The first n lanes, n below all of them.
#if defined(__AVX512F__)
UNSPOOL_INLINE Vec<float> load_some(const float* p, int64_t n) { return _mm512_maskz_loadu_ps((1u << n) - 1, p); }
UNSPOOL_INLINE Vec<double> load_some(const double* p, int64_t n) { return _mm512_maskz_loadu_pd((1u << n) - 1, p); }
UNSPOOL_INLINE void store_some(float* p, Vec<float> v, int64_t n) { _mm512_mask_storeu_ps(p, (1u << n) - 1, v); }
UNSPOOL_INLINE void store_some(double* p, Vec<double> v, int64_t n) { _mm512_mask_storeu_pd(p, (1u << n) - 1, v); }
#elif defined(__AVX2__)
UNSPOOL_INLINE __m256i first_lanes(const float*, int64_t n) {
    return (__m256i)(VectorOf<float>::Bits{0, 1, 2, 3, 4, 5, 6, 7} < std::int32_t(n));
}
UNSPOOL_INLINE __m256i first_lanes(const double*, int64_t n) {
    return (__m256i)(VectorOf<double>::Bits{0, 1, 2, 3} < n);
}
UNSPOOL_INLINE Vec<float> load_some(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(p, n)); }
UNSPOOL_INLINE Vec<double> load_some(const double* p, int64_t n) { return _mm256_maskload_pd(p, first_lanes(p, n)); }
UNSPOOL_INLINE void store_some(float* p, Vec<float> v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(p, n), v); }
UNSPOOL_INLINE void store_some(double* p, Vec<double> v, int64_t n) { _mm256_maskstore_pd(p, first_lanes(p, n), v); }
#else
template <class T>
UNSPOOL_INLINE Vec<T> load_some(const T* p, int64_t n) {
    Vec<T> v{};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
}
template <class T>
UNSPOOL_INLINE void store_some(T* p, Vec<T> v, int64_t n) {
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif

// The first n lanes; the others are zero when loaded and untouched when stored.
template <class T>
UNSPOOL_INLINE Vec<T> load(const T* p, int64_t n) {
    if (n >= kLanes<T>) return load(p);
    return n > 0 ? load_some(p, n) : Vec<T>{};
}

template <class T>
UNSPOOL_INLINE void store(T* p, Vec<T> v, int64_t n) {
    if (n >= kLanes<T>) return store(p, v);
    if (n > 0) store_some(p, v, n);
}

// Words of 32 bits, one for each lane of a Vec<float>, and halves of 16, two for each.
using Floats = Vec<float>;
using Words = VectorOf<float>::Bits;
typedef std::int16_t Halves __attribute__((vector_size(UNSPOOL_VECTOR_BYTES)));

UNSPOOL_INLINE Words load_words(const void* p) {
    Words v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// Sums of the products of neighbouring halves, one for each word.
UNSPOOL_INLINE Words multiply_pairs(Halves a, Halves b) {
#if defined(__AVX512BW__)
    return (Words)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Words)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (Words)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
    const int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    return (Words)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
#else
    Words sum;
    for (int i = 0; i < kLanes<float>; ++i) sum[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    return sum;
#endif
}

// A comparison with NaN is false, so that both keep a NaN in x.
template <class V>
UNSPOOL_INLINE V clamp(V x, V low, V high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

// e^(times x) = power (1 + fraction), power = 2^n.
template <class V>
struct Exponential {
    V power, fraction;
};

// times x / ln 2 = n + r and |r| <= 1/2: 2^r - 1 by a polynomial of degree 6, minimax in relative error (1.1e-8); r
// is rounded once, where there is a fused multiply-add.
UNSPOOL_INLINE Exponential<Vec<float>> exponential(Vec<float> x, float times) {
    using Bits = VectorOf<float>::Bits;
    constexpr float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
    const float scale_to_bits = times * 1.44269504f;
    const Vec<float> shifted = x * scale_to_bits + shifter;
    const Vec<float> r = x * scale_to_bits - (shifted - shifter);
    Vec<float> p = r * 1.54032173175e-4f + 1.33907343532e-3f;
    p = p * r + 9.61823841443e-3f;
    p = p * r + 5.55035743644e-2f;
    p = p * r + 2.40226497892e-1f;
    p = p * r + 6.93147187926e-1f;
    const Vec<float> power = (Vec<float>)(((Bits)shifted + 127) << 23);
    return {power, p * r};
}

// times x = n ln 2 + r and |r| <= ln 2 / 2: e^r - 1 by a Taylor polynomial of degree 13 (truncation below 1e-17); ln 2
// in two parts, the first of which is exact times n.
UNSPOOL_INLINE Exponential<Vec<double>> exponential(Vec<double> x, double times) {
    x *= times;
    using Bits = VectorOf<double>::Bits;
    constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52
    const Vec<double> shifted = x * 1.4426950408889634 + shifter;
    const Vec<double> n = shifted - shifter;
    const Vec<double> r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    Vec<double> p = r * (1.0 / 6227020800) + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * (r * r) + r;
    return {(Vec<double>)(((Bits)shifted + 1023) << 52), p};
}

// tanh x = e / (e + 2), e = e^2x - 1.
template <class V>
UNSPOOL_INLINE V tanh(V x) {
    const auto [power, fraction] = exponential(clamp<V>(x, V{} - 20, V{} + 20), 2);
    const V e = power * fraction + (power - 1);
    return e / (e + 2);
}

// σ(x) = 1 / (1 + e^-x), for x as far from 0 as 2^n is a number; never quite 0.
template <class V>
UNSPOOL_INLINE V sigmoid(V x) {
    constexpr int limit = sizeof(V{}[0]) == sizeof(float) ? 87 : 700;
    const auto [power, fraction] = exponential(clamp<V>(x, V{} - limit, V{} + limit), -1);
    return 1 / (1 + (power * fraction + power));
}

// e^x for x <= 0; 0 where x is below -700, and for -∞.
UNSPOOL_INLINE Vec<double> exp_of_negative(Vec<double> x) {
    constexpr double least = -700;
    const auto [power, fraction] = exponential(clamp<Vec<double>>(x, Vec<double>{} + least, Vec<double>{} - least), 1);
    return x < least ? Vec<double>{} : power * fraction + power;
}

// ln x for a normal x > 0; NaN stays NaN. x = 2^n (1 + f) with √½ <= 1 + f < √2, and with s = f / (2 + f)
//     ln(1 + f) = 2 artanh s = f - (f²/2 - s (f²/2 + R(s²)))
// where R is the minimax polynomial of fdlibm's e_log.c (below 1 ulp); ln 2 in two parts, as above.
UNSPOOL_INLINE Vec<double> ln(Vec<double> x) {
    using Bits = VectorOf<double>::Bits;
    constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52: its low bits are an integer's
    constexpr int64_t one = 0x3ff0000000000000, root_of_half = 0x3fe6a09e00000000, mantissa = 0x000fffffffffffff;
    const Bits bits = (Bits)x + (one - root_of_half);
    const Vec<double> n = (Vec<double>)((bits >> 52) - 1023 + (Bits)broadcast(shifter)) - shifter;
    const Vec<double> f = (Vec<double>)((bits & mantissa) + root_of_half) - 1;
    const Vec<double> s = f / (f + 2), z = s * s, half = f * f * 0.5;
    Vec<double> p = z * 1.479819860511658591e-01 + 1.531383769920937332e-01;
    p = p * z + 1.818357216161805012e-01;
    p = p * z + 2.222219843214978396e-01;
    p = p * z + 2.857142874366239149e-01;
    p = p * z + 3.999999999940941908e-01;
    p = p * z + 6.666666666666735130e-01;
    const Vec<double> low = s * (half + p * z) + n * 1.90821492927058770002e-10;
    return n * 6.93147180369123816490e-01 - (half - low - f) + (x - x);
}

}  // namespace unspool::UNSPOOL_ISA
