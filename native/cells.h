// The pointwise part of each cell, forward and backward, for one vector of hidden units of one sequence.
// A cell's `gates` vectors enter as pre-activations a = x W_ih' + h W_hh' + b; with `save` the activated gates are kept
// in `slots` rows of H for the backward pass, which writes the gradients of the pre-activations in the same order.
// The products of x fill slots 0 ... and those of h fill slots `first` ... first + gates - 1.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace unspool::UNSPOOL_ISA {

// One sequence at one time step: where its vectors of H units begin. Unused pointers are null.
template <class T>
struct Row {
    T* gates;         // slots x H: pre-activations, then gates
    const T* start;   // slots x H: what the recurrent product is added to
    T* dgates;        // backward: their gradients
    const T* h;       // h[t-1]
    const T* fed;     // h[t-1] as it entered the recurrent product: times the dropout mask
    const T* c_prev;  // c[t-1]
    T* c;             // c[t]
    T* out;           // h[t], or what the second product of the step reads
    T* fed_next;      // out times the mask, when there is one
    const T* mask;
    const T* dout;  // backward: gradient of out from above; null is zero
    T* dh;          // backward: gradient of out from the future, then of h[t-1] past the recurrent product; or null
    T* dc;          // backward: gradient of c[t], then of c[t-1]
};

template <class T>
UNSPOOL_INLINE Vec<T> activate(Activation kind, Vec<T> x) {
    switch (kind) {
        case Activation::tanh: return tanh(x);
        case Activation::sigmoid: return sigmoid(x);
        case Activation::relu: return x < Vec<T>{} ? Vec<T>{} : x;
        default: return x;
    }
}

// The derivative of y = activate(kind, x), from y.
template <class T>
UNSPOOL_INLINE Vec<T> slope(Activation kind, Vec<T> y) {
    switch (kind) {
        case Activation::tanh: return T(1) - y * y;
        case Activation::sigmoid: return y * (T(1) - y);
        case Activation::relu: return y > Vec<T>{} ? broadcast(T(1)) : Vec<T>{};
        default: return broadcast(T(1));
    }
}

template <class T>
UNSPOOL_INLINE Vec<T> gradient_of_out(const Row<T>& row, int64_t u, int64_t n) {
    const Vec<T> dh = row.dh ? load<T>(row.dh + u, n) : Vec<T>{};
    return row.dout ? dh + load(row.dout + u, n) : dh;
}

// h = φ(a)
template <class T>
struct ElmanCell {
    static constexpr int gates = 1, slots = 1, first = 0;
    static constexpr bool carries = false;  // does h[t-1] reach h[t] other than through the product?
    int64_t H;
    Activation activation;

    UNSPOOL_INLINE Vec<T> start(const Row<T>& row, int, int64_t u, int64_t n) const { return load(row.start + u, n); }

    UNSPOOL_INLINE Vec<T> forward(const Row<T>& row, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> h = activate<T>(activation, a[0]);
        if (save) store(row.gates + u, h, n);
        return h;
    }

    UNSPOOL_INLINE void backward(const Row<T>& row, int64_t u, int64_t n) const {
        const Vec<T> dh = gradient_of_out(row, u, n), h = load<T>(row.gates + u, n);
        store(row.dgates + u, dh * slope<T>(activation, h), n);
    }
};

// y = ψ(h W' + b): the second product of a step, for Jordan's output and the LSTM's projection. It keeps nothing
// but y, so that its slot is y itself.
template <class T>
struct Readout : ElmanCell<T> {
    const T* bias;

    UNSPOOL_INLINE Vec<T> start(const Row<T>&, int, int64_t u, int64_t n) const {
        return bias ? load(bias + u, n) : Vec<T>{};
    }
};

// i, f, o = σ(a);  g = tanh(a);  c = f c + i g;  h = o tanh(c), the peepholes adding p_i c[t-1] and p_f c[t-1] to
// the pre-activations of i and f, and p_o c[t] to that of o. Without forget gate f = 1.
template <class T, bool Forget>
struct LstmCell {
    static constexpr int gates = Forget ? 4 : 3, slots = gates, first = 0;
    static constexpr int I = 0, F = 1, G = Forget ? 2 : 1, O = Forget ? 3 : 2;
    static constexpr bool carries = false;
    int64_t H;
    const T* peephole;  // (i, f, o) or (i, o), each H; or null

    UNSPOOL_INLINE Vec<T> start(const Row<T>& row, int g, int64_t u, int64_t n) const {
        return load(row.start + g * H + u, n);
    }
    UNSPOOL_INLINE Vec<T> peep(int which, int64_t u, int64_t n) const { return load(peephole + which * H + u, n); }

    // Leaves c and o in a[G] and a[O].
    UNSPOOL_INLINE void carry(const Row<T>& row, Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> c_prev = load(row.c_prev + u, n);
        Vec<T> ai = a[I], ao = a[O], f, c;
        if (peephole) ai += peep(0, u, n) * c_prev;
        const Vec<T> i = sigmoid(ai), g = tanh(a[G]);
        if constexpr (Forget) {
            Vec<T> af = a[F];
            if (peephole) af += peep(1, u, n) * c_prev;
            f = sigmoid(af);
            c = f * c_prev + i * g;
        } else {
            c = c_prev + i * g;
        }
        if (peephole) ao += peep(gates - 2, u, n) * c;
        const Vec<T> o = sigmoid(ao);
        store(row.c + u, c, n);
        if (save) {
            store(row.gates + I * H + u, i, n);
            if constexpr (Forget) store(row.gates + F * H + u, f, n);
            store(row.gates + G * H + u, g, n);
            store(row.gates + O * H + u, o, n);
        }
        a[G] = c;
        a[O] = o;
    }
    UNSPOOL_INLINE Vec<T> forward(const Row<T>&, const Vec<T>* a, int64_t, int64_t, bool) const {
        return a[O] * tanh(a[G]);
    }

    UNSPOOL_INLINE void backward(const Row<T>& row, int64_t u, int64_t n) const {
        const auto gate = [&](int k) { return load<T>(row.gates + k * H + u, n); };
        const auto keep = [&](int k, Vec<T> da) { store(row.dgates + k * H + u, da, n); };
        const Vec<T> dh = gradient_of_out(row, u, n), i = gate(I), g = gate(G), o = gate(O);
        const Vec<T> tanh_c = tanh(load<T>(row.c + u, n)), one = broadcast(T(1));
        const Vec<T> dao = dh * tanh_c * o * (one - o);
        Vec<T> dc = load<T>(row.dc + u, n) + dh * o * (one - tanh_c * tanh_c);
        if (peephole) dc += dao * peep(gates - 2, u, n);
        const Vec<T> dai = dc * g * i * (one - i);
        keep(O, dao);
        keep(I, dai);
        keep(G, dc * i * (one - g * g));
        if constexpr (Forget) {
            const Vec<T> f = gate(F), daf = dc * load(row.c_prev + u, n) * f * (one - f);
            keep(F, daf);
            dc = dc * f;
            if (peephole) dc += daf * peep(1, u, n);
        }
        if (peephole) dc += dai * peep(0, u, n);
        store(row.dc + u, dc, n);
    }
};

// r, z = σ(a);  n = tanh(a_n + r q) with q = h W_hn' + b_hn;  h = (1 - z) n + z h. Slots: n r z q.
template <class T>
struct GruCell {
    static constexpr int gates = 3, slots = 4, first = 1;
    static constexpr bool carries = true;
    int64_t H;
    const T* bias_q;

    UNSPOOL_INLINE Vec<T> start(const Row<T>& row, int g, int64_t u, int64_t n) const {
        if (g < 2) return load(row.start + (1 + g) * H + u, n);
        return bias_q ? load(bias_q + u, n) : Vec<T>{};
    }
    // Where the bias of gate g is.
    static constexpr int input_slot(int g) { return (g + 1) % 3; }
    // Between the products with x and with h, when one follows the other: a_n is put away, q begins.
    UNSPOOL_INLINE void between(const Row<T>& row, Vec<T>* a, int64_t u, int64_t n) const {
        store(row.gates + u, a[2], n);
        a[2] = bias_q ? load(bias_q + u, n) : Vec<T>{};
    }

    // The pre-activation of n, of which x makes a part and h another, and z; in a[0] and a[1].
    UNSPOOL_INLINE void carry(const Row<T>& row, Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> r = sigmoid(a[0]);
        a[1] = sigmoid(a[1]);
        a[0] = load<T>(row.gates + u, n) + r * a[2];
        if (save) {
            store(row.gates + H + u, r, n);
            store(row.gates + 2 * H + u, a[1], n);
            store(row.gates + 3 * H + u, a[2], n);
        }
    }
    UNSPOOL_INLINE Vec<T> forward(const Row<T>& row, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> new_h = tanh(a[0]);
        if (save) store(row.gates + u, new_h, n);
        return new_h + a[1] * (load(row.h + u, n) - new_h);
    }

    UNSPOOL_INLINE void backward(const Row<T>& row, int64_t u, int64_t n) const {
        const auto slot = [&](int k) { return load<T>(row.gates + k * H + u, n); };
        const auto keep = [&](int k, Vec<T> da) { store(row.dgates + k * H + u, da, n); };
        const Vec<T> dh = gradient_of_out(row, u, n), new_h = slot(0), r = slot(1), z = slot(2), q = slot(3);
        const Vec<T> one = broadcast(T(1)), dan = dh * (one - z) * (one - new_h * new_h);
        keep(0, dan);
        keep(1, dan * q * r * (one - r));
        keep(2, dh * (load(row.h + u, n) - new_h) * z * (one - z));
        keep(3, dan * r);
        store(row.dh + u, dh * z, n);
    }
};

// The GRU that resets before the product (Cho et al. 2014), in the two products of its step:
// r, z = σ(a), s = r h;  then n = tanh(a_n + s W_hn'), h = (1 - z) n + z h. Slots: r z n.
template <class T>
struct GruResetCell {
    static constexpr int gates = 2, slots = 3, first = 0;
    static constexpr bool carries = true;
    int64_t H;

    UNSPOOL_INLINE Vec<T> start(const Row<T>& row, int g, int64_t u, int64_t n) const {
        return load(row.start + g * H + u, n);
    }

    UNSPOOL_INLINE Vec<T> forward(const Row<T>& row, const Vec<T>* a, int64_t u, int64_t n, bool) const {
        const Vec<T> r = sigmoid(a[0]);
        store(row.gates + u, r, n);
        store(row.gates + H + u, sigmoid(a[1]), n);
        return r * load(row.fed + u, n);
    }

    // dout is the gradient of s; what s passes on to h goes past the recurrent product, masked as h was.
    UNSPOOL_INLINE void backward(const Row<T>& row, int64_t u, int64_t n) const {
        const Vec<T> ds = load(row.dout + u, n), r = load<T>(row.gates + u, n), one = broadcast(T(1));
        store(row.dgates + u, ds * load(row.fed + u, n) * r * (one - r), n);
        const Vec<T> dh = row.mask ? ds * r * load(row.mask + u, n) : ds * r;
        store(row.dh + u, load<T>(row.dh + u, n) + dh, n);
    }
};

template <class T>
struct GruNewCell {
    static constexpr int gates = 1, slots = 3, first = 2;
    static constexpr bool carries = true;
    int64_t H;

    UNSPOOL_INLINE Vec<T> start(const Row<T>& row, int, int64_t u, int64_t n) const {
        return load(row.start + 2 * H + u, n);
    }

    UNSPOOL_INLINE Vec<T> forward(const Row<T>& row, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> new_h = tanh(a[0]), z = load<T>(row.gates + H + u, n);
        if (save) store(row.gates + 2 * H + u, new_h, n);
        return new_h + z * (load(row.h + u, n) - new_h);
    }

    UNSPOOL_INLINE void backward(const Row<T>& row, int64_t u, int64_t n) const {
        const Vec<T> z = load<T>(row.gates + H + u, n), new_h = load<T>(row.gates + 2 * H + u, n);
        const Vec<T> dh = gradient_of_out(row, u, n), one = broadcast(T(1));
        store(row.dgates + H + u, dh * (load(row.h + u, n) - new_h) * z * (one - z), n);
        store(row.dgates + 2 * H + u, dh * (one - z) * (one - new_h * new_h), n);
        store(row.dh + u, dh * z, n);
    }
};

}  // namespace unspool::UNSPOOL_ISA
