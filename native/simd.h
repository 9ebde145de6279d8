// One vector type per instruction set, written with the compilers' vector extensions: the same source becomes
// AVX-512, AVX2, SSE2 or NEON code according to the flags it is compiled with.
#pragma once

#include <cstdint>
#include <cstring>

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

// The first n lanes; the others are zero when loaded and untouched when stored.
template <class T>
UNSPOOL_INLINE Vec<T> load(const T* p, int64_t n) {
    if (n >= kLanes<T>) return load(p);
    Vec<T> v{};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
}

template <class T>
UNSPOOL_INLINE void store(T* p, Vec<T> v, int64_t n) {
    if (n >= kLanes<T>) return store(p, v);
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

// A comparison with NaN is false, so that both keep a NaN in x.
template <class V>
UNSPOOL_INLINE V clamp(V x, V low, V high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

// tanh, float32: an odd rational function of degree 9 over 8, minimax in relative error on [-8, 8] (6.5e-9 before
// rounding; at most 4.5 ulp, 2.7e-7, after it).
UNSPOOL_INLINE Vec<float> tanh(Vec<float> x) {
    using V = Vec<float>;
    x = clamp<V>(x, broadcast(-8.0f), broadcast(8.0f));
    const V s = x * x;
    V p = s * 1.52310651859e-8f + 2.18951495118e-5f;
    V q = s * 8.52271771074e-7f + 3.41134126855e-4f;
    p = p * s + 3.57162851092e-3f;
    q = q * s + 2.61645598299e-2f;
    p = p * s + 1.34445239467e-1f;
    q = q * s + 4.67778512881e-1f;
    p = p * s + 9.99999993619e-1f;
    q = q * s + 1.0f;
    return x * p / q;
}

UNSPOOL_INLINE Vec<float> sigmoid(Vec<float> x) { return tanh(x * 0.5f) * 0.5f + 0.5f; }

// e^x - 1, float64: x = n ln 2 + r, and a Taylor polynomial of degree 13 on |r| <= ln 2 / 2 (truncation below 1e-17).
UNSPOOL_INLINE Vec<double> expm1(Vec<double> x) {
    using V = Vec<double>;
    using Bits = VectorOf<double>::Bits;
    constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to the nearest integer
    const V shifted = x * 1.4426950408889634 + shifter;
    const V n = shifted - shifter;
    const V r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    V p = r * (1.0 / 6227020800) + 1.0 / 479001600;
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
    p = p * r * r + r;
    const V scale = (V)(((Bits)shifted + 1023) << 52);
    return scale * p + (scale - 1.0);
}

UNSPOOL_INLINE Vec<double> tanh(Vec<double> x) {
    const Vec<double> e = expm1(2.0 * clamp<Vec<double>>(x, broadcast(-20.0), broadcast(20.0)));
    return e / (e + 2.0);
}

UNSPOOL_INLINE Vec<double> sigmoid(Vec<double> x) {
    return 1.0 / (2.0 + expm1(clamp<Vec<double>>(-x, broadcast(-700.0), broadcast(700.0))));
}

}  // namespace unspool::UNSPOOL_ISA
