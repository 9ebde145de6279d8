// Compiled once for each instruction set, with its flags and with UNSPOOL_ISA as its name.
#include "kernels.h"

#include <algorithm>
#include <chrono>

#include "../simd.h"

#if !defined(UNSPOOL_FLOAT64)
#define UNSPOOL_FLOAT64 UNSPOOL_ISA
#endif

// float32.cpp and float64.cpp have the kernels, so that two cores compile them in half the time. A set may have those in
// float64 of another one.
namespace unspool::UNSPOOL_FLOAT64 {

template <class T>
void forward(const Problem<T>& p);
template <class T>
void backward(const Problem<T>& p);

}  // namespace unspool::UNSPOOL_FLOAT64

namespace unspool::UNSPOOL_ISA {

template <class T>
void forward(const Problem<T>& p);
template <class T>
void backward(const Problem<T>& p);

// chain.cpp has these.
void chain_forward(const Chain& c);
void chain_backward(const Chain& c);
void chain_best(const Chain& c);
void chain_spans(const Chain& c);

// A chain of independent fused multiply-adds in every accumulator register, the fastest thing the core can do.
double fma_peak(double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr int64_t rounds = 1 << 20;
    Vec<float> acc[12] = {}, a = broadcast(0.999f), b = broadcast(1e-3f);
    double best = 0;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    do {
        const auto begin = Clock::now();
        for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
            for (int j = 0; j < 12; ++j) acc[j] = acc[j] * a + b;
        const double took = std::chrono::duration<double>(Clock::now() - begin).count();
        best = std::max(best, 2.0 * 12 * kLanes<float> * rounds / took);
    } while (Clock::now() < end);
    Vec<float> sum{};
    for (const auto& v : acc) sum += v;
    return sum[0] > 0 ? best : 0;
}

extern const Kernels kernels;
const Kernels kernels{UNSPOOL_TEXT(UNSPOOL_ISA),
                      supported,
                      forward<float>,
                      UNSPOOL_FLOAT64::forward<double>,
                      backward<float>,
                      UNSPOOL_FLOAT64::backward<double>,
                      chain_forward,
                      chain_backward,
                      chain_best,
                      chain_spans,
                      fma_peak};

}  // namespace unspool::UNSPOOL_ISA
