// The cells: the facts of each in one row, and its pointwise part, forward and backward, for one vector of hidden units
// of one sequence. The loop over time, the products and the threads are the same for all cells and know nothing of them
// but what stands here; src/unspool/cells.py has the same equations for whole layers, in the same names.
//
// A cell's `gates` vectors enter `forward` in registers, as pre-activations a = x W_ih' + h W_hh' + b. With `save` the
// activated gates are kept in `slots` rows of H for the backward pass, which reads them and writes the gradients of the
// pre-activations in the same order:
//
//     of one sequence at one time step, [slot][unit]
//     LSTM     i  f  g  o
//     GRU      n  r  z  q      q = h W_hn' + b_hn, which r multiplies, so that it must be kept, too
//     Elman    h
//
// The products of x fill the slots 0 ... and those of h the slots `first` ... first + gates - 1: of the GRU x makes n r
// z and h makes r z q, so that both are one contiguous product.
//
// A cell has some of these functions; whoever calls asks whether it has them.
//
//     start      what the recurrent product of gate g is added to: the projected input, or a bias
//     between    where x and h are joined in one product (sequences/recurrence.h): called after x's part
//     carry      the first stage of forward. A cell with two stages (LSTM, GRU) lets the first stage of all rows of a
//                tile come before the second, so that their long chains of operations overlap
//     forward    the new h of one vector of units, from the accumulators
//     backward   the gradients of the pre-activations, and of what reaches h[t-1] and c[t-1] past the product
#pragma once

#include "simd.h"
#include "words.h"

namespace unspool {

// gates: rows of W_ih and W_hh in multiples of H. slots: vectors of H that are kept of each step for the backward pass.
// states: 1 for h, 2 for h and c. products: recurrent products of a time step, the readout (w_hr) included where the
// cell cannot be without it.
struct CellFacts {
    const char* name;
    Cell cell;
    int gates, slots, states, products;
};

// In the order of the enumeration.
inline constexpr CellFacts kCells[] = {
    {"elman", Cell::elman, 1, 1, 1, 1}, {"jordan", Cell::jordan, 1, 1, 1, 2},
    {"gru", Cell::gru, 3, 4, 1, 1},     {"gru_reset_before", Cell::gru_reset_before, 3, 3, 1, 2},
    {"lstm", Cell::lstm, 4, 4, 2, 1},   {"lstm_without_forget", Cell::lstm_without_forget, 3, 3, 2, 1},
};

constexpr const CellFacts& facts(Cell cell) { return kCells[static_cast<int>(cell)]; }
static_assert([] {
    for (const CellFacts& row : kCells)
        if (&facts(row.cell) != &row) return false;
    return true;
}());

// What an option may be: true or false; a nonlinearity of hidden units, or of outputs; Jordan's outputs, H if absent;
// the size of a projection, which is less than H, or 0 for none; an integer for each layer, or one for all.
enum class OptionKind { flag, hidden_activation, any_activation, outputs, projection, each_layer };

struct OptionRule {
    const char* name = nullptr;
    OptionKind kind = OptionKind::flag;
    std::int64_t number = 0;     // the default of a flag or an integer
    const char* word = nullptr;  // the default of an activation
};

inline constexpr OptionRule kBias{"bias", OptionKind::flag, true}, kBoth{"bidirectional", OptionKind::flag, false},
    kInitial{"learn_initial_state", OptionKind::flag, false};

// The cells of a configuration, their kernels and their options; these have the names, meanings and defaults of
// unspool.nn's layers. A cell with two kernels has one of them without the flag. A TDNN has none.
struct CellRules {
    const char* name;
    bool time_delay;
    Cell kernel, kernel_without;
    const char* flag;
    OptionRule options[6];  // up to the first without a name
};
inline constexpr CellRules kCellRules[] = {
    {"elman",
     false,
     Cell::elman,
     Cell::elman,
     nullptr,
     {kBias, kBoth, kInitial, {"nonlinearity", OptionKind::hidden_activation, 0, "tanh"}}},
    {"jordan",
     false,
     Cell::jordan,
     Cell::jordan,
     nullptr,
     {kBias,
      kBoth,
      kInitial,
      {"nonlinearity", OptionKind::hidden_activation, 0, "tanh"},
      {"output_size", OptionKind::outputs},
      {"output_nonlinearity", OptionKind::any_activation, 0, "identity"}}},
    {"gru",
     false,
     Cell::gru,
     Cell::gru_reset_before,
     "reset_after",
     {kBias, kBoth, kInitial, {"reset_after", OptionKind::flag, true}}},
    {"lstm",
     false,
     Cell::lstm,
     Cell::lstm_without_forget,
     "forget_gate",
     {kBias,
      kBoth,
      kInitial,
      {"proj_size", OptionKind::projection, 0},
      {"peephole", OptionKind::flag, false},
      {"forget_gate", OptionKind::flag, true}}},
    {"tdnn",
     true,
     Cell::elman,
     Cell::elman,
     nullptr,
     {kBias,
      {"nonlinearity", OptionKind::any_activation, 0, "tanh"},
      {"window", OptionKind::each_layer, 3},
      {"dilation", OptionKind::each_layer, 1}}},
};

}  // namespace unspool

namespace unspool::UNSPOOL_ISA {

// One sequence at one time step: where its vectors of H units begin. Unused pointers are null.
template <class T>
struct Place {
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
        case Activation::identity: return x;
    }
    __builtin_unreachable();
}

// The derivative of y = activate(kind, x), from y.
template <class T>
UNSPOOL_INLINE Vec<T> slope(Activation kind, Vec<T> y) {
    switch (kind) {
        case Activation::tanh: return T(1) - y * y;
        case Activation::sigmoid: return y * (T(1) - y);
        case Activation::relu: return y > Vec<T>{} ? broadcast(T(1)) : Vec<T>{};
        case Activation::identity: return broadcast(T(1));
    }
    __builtin_unreachable();
}

template <class T>
UNSPOOL_INLINE Vec<T> gradient_of_out(const Place<T>& at, int64_t u, int64_t n) {
    const Vec<T> dh = at.dh ? load<T>(at.dh + u, n) : Vec<T>{};
    return at.dout ? dh + load(at.dout + u, n) : dh;
}

// h = φ(a)
template <class T>
struct ElmanCell {
    static constexpr int gates = facts(Cell::elman).gates, slots = facts(Cell::elman).slots, first = 0;
    static constexpr bool carries = false;  // does h[t-1] reach h[t] other than through the product?
    int64_t H;
    Activation activation;

    UNSPOOL_INLINE Vec<T> start(const Place<T>& at, int, int64_t u, int64_t n) const { return load(at.start + u, n); }

    UNSPOOL_INLINE Vec<T> forward(const Place<T>& at, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> h = activate<T>(activation, a[0]);
        if (save) store(at.gates + u, h, n);
        return h;
    }

    UNSPOOL_INLINE void backward(const Place<T>& at, int64_t u, int64_t n) const {
        const Vec<T> dh = gradient_of_out(at, u, n), h = load<T>(at.gates + u, n);
        store(at.dgates + u, dh * slope<T>(activation, h), n);
    }
};

// y = ψ(h W' + b): the second product of a step, for Jordan's output and the LSTM's projection. It keeps nothing
// but y, so that its slot is y itself.
template <class T>
struct Readout : ElmanCell<T> {
    const T* bias;

    UNSPOOL_INLINE Vec<T> start(const Place<T>&, int, int64_t u, int64_t n) const {
        return bias ? load(bias + u, n) : Vec<T>{};
    }
};

// i, f, o = σ(a);  g = tanh(a);  c = f c + i g;  h = o tanh(c), the peepholes adding p_i c[t-1] and p_f c[t-1] to
// the pre-activations of i and f, and p_o c[t] to that of o. Without forget gate f = 1.
template <class T, bool Forget>
struct LstmCell {
    static constexpr CellFacts row = facts(Forget ? Cell::lstm : Cell::lstm_without_forget);
    static constexpr int gates = row.gates, slots = row.slots, first = 0;
    static constexpr int I = 0, F = 1, G = Forget ? 2 : 1, O = Forget ? 3 : 2;
    static constexpr bool carries = false;
    int64_t H;
    const T* peephole;  // (i, f, o) or (i, o), each H; or null

    UNSPOOL_INLINE Vec<T> start(const Place<T>& at, int g, int64_t u, int64_t n) const {
        return load(at.start + g * H + u, n);
    }
    UNSPOOL_INLINE Vec<T> peep(int which, int64_t u, int64_t n) const { return load(peephole + which * H + u, n); }

    // Leaves c and o in a[G] and a[O].
    UNSPOOL_INLINE void carry(const Place<T>& at, Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> c_prev = load(at.c_prev + u, n);
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
        store(at.c + u, c, n);
        if (save) {
            store(at.gates + I * H + u, i, n);
            if constexpr (Forget) store(at.gates + F * H + u, f, n);
            store(at.gates + G * H + u, g, n);
            store(at.gates + O * H + u, o, n);
        }
        a[G] = c;
        a[O] = o;
    }
    UNSPOOL_INLINE Vec<T> forward(const Place<T>&, const Vec<T>* a, int64_t, int64_t, bool) const {
        return a[O] * tanh(a[G]);
    }

    UNSPOOL_INLINE void backward(const Place<T>& at, int64_t u, int64_t n) const {
        const auto gate = [&](int k) { return load<T>(at.gates + k * H + u, n); };
        const auto keep = [&](int k, Vec<T> da) { store(at.dgates + k * H + u, da, n); };
        const Vec<T> dh = gradient_of_out(at, u, n), i = gate(I), g = gate(G), o = gate(O);
        const Vec<T> tanh_c = tanh(load<T>(at.c + u, n)), one = broadcast(T(1));
        const Vec<T> dao = dh * tanh_c * o * (one - o);
        Vec<T> dc = load<T>(at.dc + u, n) + dh * o * (one - tanh_c * tanh_c);
        if (peephole) dc += dao * peep(gates - 2, u, n);
        const Vec<T> dai = dc * g * i * (one - i);
        keep(O, dao);
        keep(I, dai);
        keep(G, dc * i * (one - g * g));
        if constexpr (Forget) {
            const Vec<T> f = gate(F), daf = dc * load(at.c_prev + u, n) * f * (one - f);
            keep(F, daf);
            dc = dc * f;
            if (peephole) dc += daf * peep(1, u, n);
        }
        if (peephole) dc += dai * peep(0, u, n);
        store(at.dc + u, dc, n);
    }
};

// r, z = σ(a);  n = tanh(a_n + r q) with q = h W_hn' + b_hn;  h = (1 - z) n + z h. Slots: n r z q.
template <class T>
struct GruCell {
    static constexpr int gates = facts(Cell::gru).gates, slots = facts(Cell::gru).slots, first = 1;
    static constexpr bool carries = true;
    int64_t H;
    const T* bias_q;

    UNSPOOL_INLINE Vec<T> start(const Place<T>& at, int g, int64_t u, int64_t n) const {
        if (g < 2) return load(at.start + (1 + g) * H + u, n);
        return bias_q ? load(bias_q + u, n) : Vec<T>{};
    }
    // Where the bias of gate g is.
    static constexpr int input_slot(int g) { return (g + 1) % 3; }
    // Between the products with x and with h, when one follows the other: a_n is put away, q begins.
    UNSPOOL_INLINE void between(const Place<T>& at, Vec<T>* a, int64_t u, int64_t n) const {
        store(at.gates + u, a[2], n);
        a[2] = bias_q ? load(bias_q + u, n) : Vec<T>{};
    }

    // The pre-activation of n, of which x makes a part and h another, and z; in a[0] and a[1].
    UNSPOOL_INLINE void carry(const Place<T>& at, Vec<T>* a, int64_t u, int64_t n, bool save) const {
        // Loaded first: its branch must not part r * q from the sum, or the two are one multiply-add in some tiles only.
        const Vec<T> input = load<T>(at.gates + u, n), r = sigmoid(a[0]);
        a[1] = sigmoid(a[1]);
        a[0] = input + r * a[2];
        if (save) {
            store(at.gates + H + u, r, n);
            store(at.gates + 2 * H + u, a[1], n);
            store(at.gates + 3 * H + u, a[2], n);
        }
    }
    UNSPOOL_INLINE Vec<T> forward(const Place<T>& at, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> new_h = tanh(a[0]);
        if (save) store(at.gates + u, new_h, n);
        return new_h + a[1] * (load(at.h + u, n) - new_h);
    }

    UNSPOOL_INLINE void backward(const Place<T>& at, int64_t u, int64_t n) const {
        const auto slot = [&](int k) { return load<T>(at.gates + k * H + u, n); };
        const auto keep = [&](int k, Vec<T> da) { store(at.dgates + k * H + u, da, n); };
        const Vec<T> dh = gradient_of_out(at, u, n), new_h = slot(0), r = slot(1), z = slot(2), q = slot(3);
        const Vec<T> one = broadcast(T(1)), dan = dh * (one - z) * (one - new_h * new_h);
        keep(0, dan);
        keep(1, dan * q * r * (one - r));
        keep(2, dh * (load(at.h + u, n) - new_h) * z * (one - z));
        keep(3, dan * r);
        store(at.dh + u, dh * z, n);
    }
};

// The GRU that resets before the product (Cho et al. 2014), in the two products of its step:
// r, z = σ(a), s = r h;  then n = tanh(a_n + s W_hn'), h = (1 - z) n + z h. Slots: r z n.
template <class T>
struct GruResetCell {
    static constexpr int gates = 2, slots = facts(Cell::gru_reset_before).slots, first = 0;
    static constexpr bool carries = true;
    int64_t H;

    UNSPOOL_INLINE Vec<T> start(const Place<T>& at, int g, int64_t u, int64_t n) const {
        return load(at.start + g * H + u, n);
    }

    UNSPOOL_INLINE Vec<T> forward(const Place<T>& at, const Vec<T>* a, int64_t u, int64_t n, bool) const {
        const Vec<T> r = sigmoid(a[0]);
        store(at.gates + u, r, n);
        store(at.gates + H + u, sigmoid(a[1]), n);
        return r * load(at.fed + u, n);
    }

    // dout is the gradient of s; what s passes on to h goes past the recurrent product, masked as h was.
    UNSPOOL_INLINE void backward(const Place<T>& at, int64_t u, int64_t n) const {
        const Vec<T> ds = load(at.dout + u, n), r = load<T>(at.gates + u, n), one = broadcast(T(1));
        store(at.dgates + u, ds * load(at.fed + u, n) * r * (one - r), n);
        const Vec<T> dh = at.mask ? ds * r * load(at.mask + u, n) : ds * r;
        store(at.dh + u, load<T>(at.dh + u, n) + dh, n);
    }
};

// The second product of that step: n and the new h.
template <class T>
struct GruNewCell {
    static constexpr int gates = 1, slots = facts(Cell::gru_reset_before).slots, first = 2;
    static constexpr bool carries = true;
    int64_t H;

    UNSPOOL_INLINE Vec<T> start(const Place<T>& at, int, int64_t u, int64_t n) const {
        return load(at.start + 2 * H + u, n);
    }

    UNSPOOL_INLINE Vec<T> forward(const Place<T>& at, const Vec<T>* a, int64_t u, int64_t n, bool save) const {
        const Vec<T> new_h = tanh(a[0]), z = load<T>(at.gates + H + u, n);
        if (save) store(at.gates + 2 * H + u, new_h, n);
        return new_h + z * (load(at.h + u, n) - new_h);
    }

    UNSPOOL_INLINE void backward(const Place<T>& at, int64_t u, int64_t n) const {
        const Vec<T> z = load<T>(at.gates + H + u, n), new_h = load<T>(at.gates + 2 * H + u, n);
        const Vec<T> dh = gradient_of_out(at, u, n), one = broadcast(T(1));
        store(at.dgates + H + u, dh * (load(at.h + u, n) - new_h) * z * (one - z), n);
        store(at.dgates + 2 * H + u, dh * (one - z) * (one - new_h * new_h), n);
        store(at.dh + u, dh * z, n);
    }
};

struct None {};  // the second part of a cell that has only one

// Calls body(first, second) with the parts of a problem's cell, which a problem of sequences/kernels.h names: the only
// place where the name of a cell becomes its code.
template <class T, class Problem, class Body>
void with_cell(const Problem& p, const Body& body) {
    const int64_t H = p.hidden;
    const auto read = [&](auto cell) { body(cell, Readout<T>{{p.state, p.output_activation}, p.b_hr}); };
    const auto with_or_without_readout = [&](auto cell) { p.w_hr ? read(cell) : body(cell, None{}); };
    switch (p.cell) {
        case Cell::elman: return body(ElmanCell<T>{H, p.activation}, None{});
        case Cell::jordan: return read(ElmanCell<T>{H, p.activation});
        case Cell::gru: return body(GruCell<T>{H, p.b_hh ? p.b_hh + 2 * H : nullptr}, None{});
        case Cell::gru_reset_before: return body(GruResetCell<T>{H}, GruNewCell<T>{H});
        case Cell::lstm: return with_or_without_readout(LstmCell<T, true>{H, p.peephole});
        case Cell::lstm_without_forget: return with_or_without_readout(LstmCell<T, false>{H, p.peephole});
    }
}

}  // namespace unspool::UNSPOOL_ISA
