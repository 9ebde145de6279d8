// What the kernels offer to the rest: one table of functions for each instruction set, and the argument they take.
#pragma once

#include <cstdint>

namespace unspool {

enum class Cell : int { elman, jordan, gru, gru_reset_before, lstm, lstm_without_forget };
enum class Activation : int { identity, tanh, sigmoid, relu };

// One recurrent layer in one direction over B sequences of up to T steps. Every array is contiguous; layouts as in
// docs/notation.md. A null pointer is an absent option, or a gradient that nobody asked for.
template <class T>
struct Sequences {
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
    void (*forward_f32)(const Sequences<float>&);
    void (*forward_f64)(const Sequences<double>&);
    void (*backward_f32)(const Sequences<float>&);
    void (*backward_f64)(const Sequences<double>&);
    double (*fma_peak)(double seconds);  // float32 operations a second of one core
};

}  // namespace unspool
