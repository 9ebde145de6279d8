// What the training kernels offer to the rest: one table of functions for each instruction set, and the problem that
// they solve. All arrays are the caller's, contiguous, in the one layout that there is, time first: (T, B, ·), so that
// the step of one sequence is one row and the steps of all sequences are rows of one matrix. docs/notation.md has the
// letters; a null pointer is an absent option, or a gradient that nobody asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "../words.h"
#include "chain.h"

namespace unspool {

// One recurrent layer in one direction over B sequences of up to T steps: the kernels' side of unspool.ops.problem.
template <class T>
struct Problem {
    Cell cell;
    Activation activation, output_activation;
    std::int64_t steps, batch, inputs, hidden, state;  // T B I H R
    bool reverse;
    int threads;

    const T* x;                  // (T, B, I), or
    const std::int64_t* tokens;  // (T, B), 1-of-I
    const T *h0, *c0;            // (B, R), (B, H)
    const T *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *b_hr, *peephole;
    const std::int64_t* lengths;  // (B)
    const std::uint8_t* reset;    // (T, B)
    const T *start_h, *start_c;   // (R), (H)
    const T* mask;                // (B, R)

    T *y, *h_n, *c_n;        // (T, B, R), (B, R), (B, H)
    T *gates, *cells, *mid;  // kept for backward: (T, B, slots, H), (T, B, H), (T, B, H); null in inference

    const T *dy, *dh_n, *dc_n;
    T* dgates;  // as gates; backward writes it before it makes the weights' gradients of it
    T *dx, *dh0, *dc0, *dstart_h, *dstart_c;
    T *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr, *db_hr, *dpeephole;
};

struct Kernels {
    const char* name;
    bool (*supported)();
    void (*forward_f32)(const Problem<float>&);
    void (*forward_f64)(const Problem<double>&);
    void (*backward_f32)(const Problem<float>&);
    void (*backward_f64)(const Problem<double>&);
    void (*chain_forward)(const Chain&);
    void (*chain_backward)(const Chain&);
    void (*chain_best)(const Chain&);
    void (*chain_spans)(const Chain&);
    double (*fma_peak)(double seconds);  // float32 operations a second of one core
};

// Those that this machine can run, best first; sets.cpp has the list.
const std::vector<const Kernels*>& kernel_sets();

}  // namespace unspool
