// The layers of a saved network, a step at a time, for any number of sessions: each makes the pre-activations of a
// panel of units from its input and its state, and hands them to the cell, the same code as in training (cells.h).
//
//     feed[r].x or .token   -> Input::add -+
//                                          +-> pre-activations of a panel -> cell -> outs[r], and the state
//     states[r] = h, then c -> hidden_    -+
//
// Sessions are rows. Up to kRows of them go through the whole network before the next ones come, so that their features
// stay in the L2 cache while every panel of weights is read once for a tile of them.
//
// One session alone is bound by two things, and the order of `sweep` answers both. The weights: panels are gone through
// there and back in turn (`Scratch::backwards`), so that the last ones of a step, still in the L1 cache, are the first
// ones of the next. And latency: a cell is a chain of some forty dependent operations, so that all products come first,
// and the cells of all panels after them, where several are under way at once.
//
// A new state goes into `outs` first and is copied into the state when the whole layer is done, as every panel reads
// all of the old one. All features are padded to kPad with zeros, which the products then need not treat apart.
#pragma once

#include <memory>
#include <utility>

#include "../cells.h"
#include "panels.h"

namespace unspool::UNSPOOL_ISA {

constexpr std::int64_t kRows = 96;  // sessions that go through the network together

struct Feed {
    const float* x;      // padded features, or null for
    std::int64_t token;  // a token
};

// The vectors that a product multiplies, as its kind of weights wants them: int8 wants copies in 16 bits, which are
// made here once a step, for all panels. Tiles that rows do not fill are filled with the last one.
template <class W>
class Sources {
    Buffer<std::int16_t> copies_;
    std::vector<typename W::Source> list_;

  public:
    void reserve(std::int64_t rows, std::int64_t depth) {
        list_.resize(std::max<std::size_t>(list_.size(), rows > 1 ? padded(rows, kAccumulators) : 1));
        if (W::copies) copies_.resize(rows * depth);
    }
    template <class From>
    const typename W::Source* prepare(std::int64_t rows, std::int64_t depth, const From& from) {
        for (std::int64_t r = 0; r < rows; ++r)
            list_[r] = W::source(from(r), depth, W::copies ? &copies_[r * depth] : nullptr);
        if (rows > 1) std::fill_n(list_.begin() + rows, padded(rows, kAccumulators) - rows, list_[rows - 1]);
        return list_.data();
    }
};

// Intermediate results of up to kRows sessions, and which way the panels are gone through: there and back, so that the
// first ones of a step are still in the L1 cache from the step before.
template <class W>
struct Scratch {
    Sources<W> x, h, mid;
    std::vector<Sources<W>> taps;
    std::vector<const typename W::Source*> tap_lists;
    Buffer<float> sums, gates, middle;
    bool backwards = false;
};

// The cell of a vector of units, in both of its stages, where it has two.
template <class Pointwise>
UNSPOOL_INLINE Floats whole(const Pointwise& cell, const Place<float>& at, Floats* a, std::int64_t u) {
    if constexpr (requires { cell.carry(at, a, u, kVector, false); }) cell.carry(at, a, u, kVector, false);
    return cell.forward(at, a, u, kVector, false);
}

// What `sweep` needs.
template <int NV, class W>
void reserve_sums(std::int64_t rows, std::int64_t panels, Scratch<W>& scratch) {
    scratch.sums.resize(std::max(panels, padded(rows, WeightPanels<W, NV>::tile)) * NV * kVector);
}

// The products of a row, some panels at a time, there or back.
template <int Parts, int NV, int Together, class Product>
UNSPOOL_INLINE void one_row(std::int64_t r, std::int64_t panels, bool backwards, const Product& product, float* sums) {
    const std::int64_t groups = (panels + Together - 1) / Together;
    for (std::int64_t i = 0; i < groups; ++i) {
        const std::int64_t g = backwards ? groups - 1 - i : i;
        const std::int64_t begin = g * panels / groups, end = (g + 1) * panels / groups;
        for (int part = 0; part < Parts; ++part)
            product(part, Block{begin, r, end - begin, 1}, sums + begin * NV * kVector);
    }
}

// For all panels and rows, product(part, block, sums) makes pre-activations and finish(p, r, a) uses them. Of rows that
// fill tiles, or half of the last one, the parts of a panel follow each other, so that the weights of each stay in the
// L1 cache. Of a single row all products come first and then the cells, whose long chains of operations hide each
// other. There is one place where cells are computed: in a copy of it a compiler might round a sum of products another
// way.
template <int Parts, class W, int NV, class Product, class Finish>
UNSPOOL_INLINE void sweep(std::int64_t rows, std::int64_t panels, Scratch<W>& scratch, const Product& product,
                          const Finish& finish) {
    constexpr int tile = WeightPanels<W, NV>::tile, together = WeightPanels<W, NV>::together, size = NV * kVector;
    const std::int64_t tiled = rows % tile >= (tile + 1) / 2 ? rows : rows / tile * tile;
    const std::int64_t passes = tiled ? panels : 0;
    for (std::int64_t i = 0; i < passes + rows - tiled; ++i) {
        const bool many = i < passes;
        const std::int64_t p = scratch.backwards ? panels - 1 - i : i;
        const std::int64_t first = many ? 0 : tiled + i - passes, last = many ? tiled : first + 1;
        for (int part = many ? 0 : Parts - 1; part < Parts; ++part)
            for (std::int64_t r = first; r < last; r += tile) {
                float* sums = &scratch.sums[many ? r * size : 0];
                const Block done =
                    many ? Block{p, r, 1, std::min<std::int64_t>(tile, tiled - r)} : Block{0, r, panels, 1};
                if (many) product(part, done, sums);
                else one_row<Parts, NV, together>(r, panels, scratch.backwards, product, sums);
                if (part + 1 < Parts) continue;
                for (std::int64_t j = 0; j < done.count(); ++j, sums += size) {
                    Floats a[NV];
                    for (int v = 0; v < NV; ++v) a[v] = load(sums + v * kVector);
                    finish(done.panel_of(j), done.row_of(j), a);
                }
            }
    }
}

// Where the rows of a matrix of G gates of H units go: `Each` vectors of every gate in a panel.
template <int G, int Each>
struct UnitOrder {
    std::int64_t H, first = 0;
    std::int64_t panels() const { return (H + Each * kVector - 1) / (Each * kVector); }
    std::int64_t operator()(std::int64_t p, int v, int lane) const {
        const std::int64_t unit = (p * Each + v % Each) * kVector + lane;
        return unit < H ? first + v / Each * H + unit : -1;
    }
};

constexpr int kEach = kVector >= 16 ? 2 : 4;  // vectors of units in a panel of one gate

// A vector of numbers for each panel: biases, or the products of one token.
template <int NV>
struct Starts {
    Buffer<float> data;

    template <class Order>
    void pack(const Order& order, const float* a, const float* b) {
        const std::int64_t count = order.panels() * NV * kVector;
        data.resize(count);
        for (std::int64_t j = 0; j < count; ++j) {
            const std::int64_t r = order(j / (NV * kVector), j / kVector % NV, j % kVector);
            data[j] = r < 0 ? 0 : (a ? a[r] : 0) + (b ? b[r] : 0);
        }
    }
    const float* at(std::int64_t p) const { return &data[p * NV * kVector]; }
};

// The product of a layer's input: of features; or the rows of a table, one for each token, which was made when the
// network was loaded (W_ih times its embedding), so that a step has no product at all there.
template <class W, int NV>
struct Input {
    WeightPanels<W, NV> weights;
    Buffer<float> table;
    std::int64_t stride = 0;

    template <class Order>
    void pack(const Tensor& matrix, std::int64_t inputs, const Order& order, const std::vector<float>* products,
              std::int64_t rows) {
        if (!products) return weights.pack(matrix, inputs, 1, 0, order.panels(), order);
        const std::int64_t tokens = std::int64_t(products->size()) / rows;
        Starts<NV> one;
        stride = order.panels() * NV * kVector;
        table.resize(tokens * stride);
        for (std::int64_t token = 0; token < tokens; ++token) {
            one.pack(order, products->data() + token * rows, nullptr);
            std::copy_n(one.data.data(), stride, &table[token * stride]);
        }
    }
    std::int64_t bytes() const { return stride ? stride * 4 : weights.bytes(); }

    void reserve(Sources<W>& sources, std::int64_t rows) const {
        if (!stride) sources.reserve(rows, weights.depth());
    }
    const typename W::Source* prepare(Sources<W>& sources, std::int64_t rows, const Feed* feed) const {
        if (stride) return nullptr;
        return sources.prepare(rows, weights.depth(), [&](std::int64_t r) { return feed[r].x; });
    }
    // The sums of a block become start + the product.
    UNSPOOL_INLINE void begin(const Block& block, const Feed* feed, const typename W::Source* x,
                              const Starts<NV>& start, float* sums) const {
        constexpr int size = NV * kVector;
        if (!stride) return weights.multiply(block, x, start.at(block.panel), block.rows > 1 ? 0 : size, sums);
        for (std::int64_t i = 0; i < block.count(); ++i, sums += size) {
            const std::int64_t p = block.panel_of(i);
            const float* product = &table[feed[block.row_of(i)].token * stride + p * size];
            for (int v = 0; v < size; v += kVector) store(sums + v, load(start.at(p) + v) + load(product + v));
        }
        if (block.rows > 1) std::fill_n(sums, (WeightPanels<W, NV>::tile - block.rows) * size, 0.0f);
    }
};

// The sums of a block go on with another product.
template <class W, int NV>
UNSPOOL_INLINE void go_on(const WeightPanels<W, NV>& weights, const Block& block, const typename W::Source* x,
                          float* sums) {
    weights.multiply(block, x, sums, NV * kVector, sums);
}

// Features from `size` to `stride` are zero: no panel writes them, and products read them.
template <class Target>
UNSPOOL_INLINE void clear_tails(std::int64_t rows, const Target& target, std::int64_t size, std::int64_t stride) {
    for (std::int64_t r = 0; size < stride && r < rows; ++r) std::fill(target(r) + size, target(r) + stride, 0.0f);
}

// What a layer is made of: the weights of one layer in one direction, as the folder has them; absent ones are null.
struct LayerWeights {
    std::int64_t I, H, R;
    Tensor w_ih, w_hh, w_hr;
    const float *b_ih, *b_hh, *b_hr, *peephole;
    const std::vector<float>* products;  // of all tokens with w_ih: (tokens, G·H)
    std::int64_t rows;                   // G·H
};

// A layer in one direction. Its weights do not change, so that threads may step sessions of their own with it.
template <class W>
class Layer {
  public:
    std::int64_t state = 0;  // numbers of a session's state: h, padded, then c, padded
    std::int64_t out = 0;    // features of the output, padded as the layer writes them
    virtual ~Layer() = default;
    virtual std::int64_t bytes() const = 0;
    // All memory that steps of so many rows need, so that none fails when states are half renewed.
    virtual void reserve(std::int64_t rows, Scratch<W>& scratch) const = 0;
    // states[r] is gone through and renewed; outs[r] gets the output.
    virtual void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
                      Scratch<W>& scratch) const = 0;
};

// y = φ(W x + b): the head, and the second product of a step.
template <class W>
struct Linear {
    UnitOrder<1, 2> order{};
    WeightPanels<W, 2> weights;
    Starts<2> bias;
    Activation activation = Activation::identity;

    void pack(const Tensor& matrix, std::int64_t inputs, std::int64_t outputs, const float* b, Activation phi) {
        order.H = outputs, activation = phi;
        weights.pack(matrix, inputs, 1, 0, order.panels(), order);
        bias.pack(order, b, nullptr);
    }
    std::int64_t size() const { return order.panels() * 2 * kVector; }
    void reserve(std::int64_t rows, Scratch<W>& scratch) const {
        scratch.mid.reserve(rows, weights.depth());
        reserve_sums<2>(rows, order.panels(), scratch);
    }
    template <class From>
    void operator()(std::int64_t count, Scratch<W>& scratch, const From& from, float* const* outs) const {
        const auto* x = scratch.mid.prepare(count, weights.depth(), from);
        sweep<1, W, 2>(
            count, order.panels(), scratch,
            [&](int, const Block& block, float* sums) {
                weights.multiply(block, x, bias.at(block.panel), block.rows > 1 ? 0 : 2 * kVector, sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                for (int v = 0; v < 2; ++v) store(outs[r] + (2 * p + v) * kVector, activate<float>(activation, a[v]));
            });
        clear_tails(count, [&](std::int64_t r) { return outs[r]; }, order.H, padded(size()));
    }
};

// Elman, and Jordan, whose output is fed back.
template <class W>
class PlainLayer final : public Layer<W> {
    static constexpr int NV = kEach;
    UnitOrder<1, NV> order_;
    Input<W, NV> input_;
    WeightPanels<W, NV> hidden_;
    Starts<NV> bias_;
    Linear<W> readout_;
    ElmanCell<float> cell_;
    std::int64_t size_;
    bool jordan_;

  public:
    [[gnu::cold]] PlainLayer(const LayerWeights& w, Activation phi, Activation psi, bool jordan)
        : order_{w.H}, cell_{w.H, phi}, size_(order_.panels() * NV * kVector), jordan_(jordan) {
        input_.pack(w.w_ih, w.I, order_, w.products, w.rows);
        hidden_.pack(w.w_hh, w.R, 1, 0, order_.panels(), order_);
        bias_.pack(order_, w.b_ih, w.b_hh);
        if (jordan) readout_.pack(w.w_hr, w.H, w.R, w.b_hr, psi);
        this->state = this->out = padded(jordan ? readout_.size() : size_);
    }
    std::int64_t bytes() const override {
        return input_.bytes() + hidden_.bytes() + (jordan_ ? readout_.weights.bytes() : 0);
    }
    [[gnu::cold]] void reserve(std::int64_t rows, Scratch<W>& scratch) const override {
        input_.reserve(scratch.x, rows), scratch.h.reserve(rows, hidden_.depth());
        reserve_sums<NV>(rows, order_.panels(), scratch);
        if (jordan_) scratch.middle.resize(rows * padded(size_)), readout_.reserve(rows, scratch);
    }
    void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
              Scratch<W>& scratch) const override {
        const std::int64_t stride = padded(size_);
        const auto target = [&](std::int64_t r) { return jordan_ ? &scratch.middle[r * stride] : outs[r]; };
        const auto* x = input_.prepare(scratch.x, rows, feed);
        const auto* h = scratch.h.prepare(rows, hidden_.depth(), [&](std::int64_t r) { return states[r]; });
        sweep<2, W, NV>(
            rows, order_.panels(), scratch,
            [&](int part, const Block& block, float* sums) {
                if (part) return go_on(hidden_, block, h, sums);
                input_.begin(block, feed, x, bias_, sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                for (int v = 0; v < NV; ++v) {
                    const std::int64_t u = (NV * p + v) * kVector;
                    store(target(r) + u, whole(cell_, Place<float>{}, a + v, u));
                }
            });
        clear_tails(rows, target, order_.H, stride);
        if (jordan_) readout_(rows, scratch, target, outs);
        for (std::int64_t r = 0; r < rows; ++r) std::copy_n(outs[r], this->state, states[r]);
    }
};

// LSTM, of which the gates of a vector of units are one panel; with a projection the cells' outputs go to `middle`.
template <class W, bool Forget>
class LstmLayer final : public Layer<W> {
    static constexpr int G = Forget ? 4 : 3;
    UnitOrder<G, 1> order_;
    Input<W, G> input_;
    WeightPanels<W, G> hidden_;
    Starts<G> bias_;
    Linear<W> projection_;
    Buffer<float> peephole_;
    LstmCell<float, Forget> cell_;
    std::int64_t size_;
    bool projects_;

  public:
    [[gnu::cold]] explicit LstmLayer(const LayerWeights& w)
        : order_{w.H}, cell_{0, nullptr}, size_(order_.panels() * kVector), projects_(w.w_hr.data != nullptr) {
        input_.pack(w.w_ih, w.I, order_, w.products, w.rows);
        hidden_.pack(w.w_hh, w.R, 1, 0, order_.panels(), order_);
        bias_.pack(order_, w.b_ih, w.b_hh);
        if (projects_) projection_.pack(w.w_hr, w.H, w.R, nullptr, Activation::identity);
        if (w.peephole) {
            peephole_.resize((G - 1) * size_);
            peephole_.zero();
            for (int g = 0; g < G - 1; ++g) std::copy_n(w.peephole + g * w.H, w.H, &peephole_[g * size_]);
        }
        cell_.H = size_, cell_.peephole = w.peephole ? peephole_.data() : nullptr;
        this->out = padded(projects_ ? projection_.size() : size_);
        this->state = this->out + padded(size_);
    }
    std::int64_t bytes() const override {
        return input_.bytes() + hidden_.bytes() + (projects_ ? projection_.weights.bytes() : 0);
    }
    [[gnu::cold]] void reserve(std::int64_t rows, Scratch<W>& scratch) const override {
        input_.reserve(scratch.x, rows), scratch.h.reserve(rows, hidden_.depth());
        reserve_sums<G>(rows, order_.panels(), scratch);
        if (projects_) scratch.middle.resize(rows * padded(size_)), projection_.reserve(rows, scratch);
    }
    void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
              Scratch<W>& scratch) const override {
        const std::int64_t stride = padded(size_);
        const auto target = [&](std::int64_t r) { return projects_ ? &scratch.middle[r * stride] : outs[r]; };
        const auto* x = input_.prepare(scratch.x, rows, feed);
        const auto* h = scratch.h.prepare(rows, hidden_.depth(), [&](std::int64_t r) { return states[r]; });
        sweep<2, W, G>(
            rows, order_.panels(), scratch,
            [&](int part, const Block& block, float* sums) {
                if (part) return go_on(hidden_, block, h, sums);
                input_.begin(block, feed, x, bias_, sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                Place<float> at{};
                at.c_prev = at.c = states[r] + this->out;
                store(target(r) + p * kVector, whole(cell_, at, a, p * kVector));
            });
        clear_tails(rows, target, size_, stride);
        if (projects_) projection_(rows, scratch, target, outs);
        for (std::int64_t r = 0; r < rows; ++r) std::copy_n(outs[r], this->out, states[r]);
    }
};

// GRU. The part of n that x makes and q, which r multiplies, are different sums: after the input's part the first one
// is put away, and its registers go on with q.
template <class W>
class GruLayer final : public Layer<W> {
    UnitOrder<3, 1> order_;
    Input<W, 3> input_;
    WeightPanels<W, 3> hidden_;
    Starts<3> bias_, bias_q_;  // of r, z, n; and of q alone
    GruCell<float> cell_;

  public:
    [[gnu::cold]] explicit GruLayer(const LayerWeights& w) : order_{w.H}, cell_{order_.panels() * kVector, nullptr} {
        input_.pack(w.w_ih, w.I, order_, w.products, w.rows);
        hidden_.pack(w.w_hh, w.R, 1, 0, order_.panels(), order_);
        std::vector<float> start(w.rows);
        for (std::int64_t r = 0; w.b_ih && r < w.rows; ++r) start[r] = w.b_ih[r] + (r < 2 * w.H ? w.b_hh[r] : 0);
        bias_.pack(order_, start.data(), nullptr);
        bias_q_.pack(order_, w.b_hh, nullptr);
        this->state = this->out = padded(cell_.H);
    }
    std::int64_t bytes() const override { return input_.bytes() + hidden_.bytes(); }
    [[gnu::cold]] void reserve(std::int64_t rows, Scratch<W>& scratch) const override {
        input_.reserve(scratch.x, rows), scratch.h.reserve(rows, hidden_.depth());
        reserve_sums<3>(rows, order_.panels(), scratch);
        scratch.gates.resize(rows * this->out);
    }
    void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
              Scratch<W>& scratch) const override {
        const auto* x = input_.prepare(scratch.x, rows, feed);
        const auto* h = scratch.h.prepare(rows, hidden_.depth(), [&](std::int64_t r) { return states[r]; });
        sweep<2, W, 3>(
            rows, order_.panels(), scratch,
            [&](int part, const Block& block, float* sums) {
                if (part) return go_on(hidden_, block, h, sums);
                input_.begin(block, feed, x, bias_, sums);
                for (std::int64_t i = 0; i < block.count(); ++i) {
                    float* const n = sums + (3 * i + 2) * kVector;
                    const std::int64_t p = block.panel_of(i);
                    store(&scratch.gates[block.row_of(i) * this->out + p * kVector], load(n));
                    store(n, load(bias_q_.at(p) + 2 * kVector));
                }
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                Place<float> at{};
                at.gates = &scratch.gates[r * this->out], at.h = states[r];
                store(outs[r] + p * kVector, whole(cell_, at, a, p * kVector));
            });
        clear_tails(rows, [&](std::int64_t r) { return outs[r]; }, cell_.H, this->out);
        for (std::int64_t r = 0; r < rows; ++r) std::copy_n(outs[r], this->out, states[r]);
    }
};

// The GRU that resets before the product, in two sweeps.
template <class W>
class GruResetLayer final : public Layer<W> {
    UnitOrder<2, 1> order_;
    UnitOrder<1, 2> new_order_;
    Input<W, 2> input_, new_input_;
    WeightPanels<W, 2> hidden_, new_hidden_;
    Starts<2> bias_, new_bias_;
    std::int64_t size_;

  public:
    [[gnu::cold]] explicit GruResetLayer(const LayerWeights& w)
        : order_{w.H}, new_order_{w.H, 2 * w.H}, size_(new_order_.panels() * 2 * kVector) {
        input_.pack(w.w_ih, w.I, order_, w.products, w.rows);
        new_input_.pack(w.w_ih, w.I, new_order_, w.products, w.rows);
        hidden_.pack(w.w_hh, w.R, 1, 0, order_.panels(), order_);
        new_hidden_.pack(w.w_hh, w.R, 1, 0, new_order_.panels(), new_order_);
        bias_.pack(order_, w.b_ih, w.b_hh);
        new_bias_.pack(new_order_, w.b_ih, w.b_hh);
        this->state = this->out = padded(size_);
    }
    std::int64_t bytes() const override {
        return input_.bytes() + hidden_.bytes() + new_input_.bytes() + new_hidden_.bytes();
    }
    [[gnu::cold]] void reserve(std::int64_t rows, Scratch<W>& scratch) const override {
        input_.reserve(scratch.x, rows), scratch.h.reserve(rows, hidden_.depth());
        scratch.mid.reserve(rows, new_hidden_.depth());
        reserve_sums<2>(rows, std::max(order_.panels(), new_order_.panels()), scratch);
        scratch.gates.resize(rows * 2 * this->out), scratch.middle.resize(rows * this->out);
    }
    void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
              Scratch<W>& scratch) const override {
        const std::int64_t stride = this->out;
        const auto middle = [&](std::int64_t r) { return &scratch.middle[r * stride]; };
        const auto place_of = [&](std::int64_t r) {
            Place<float> at{};
            at.gates = &scratch.gates[r * 2 * stride], at.h = at.fed = states[r];
            return at;
        };
        // The first sweep may end before the second: what is between must be numbers.
        std::fill_n(scratch.gates.data(), rows * 2 * stride, 0.0f);
        std::fill_n(scratch.middle.data(), rows * stride, 0.0f);
        const GruResetCell<float> reset{stride};
        const GruNewCell<float> next{stride};
        const auto* x = input_.prepare(scratch.x, rows, feed);
        const auto* h = scratch.h.prepare(rows, hidden_.depth(), [&](std::int64_t r) { return states[r]; });
        sweep<2, W, 2>(
            rows, order_.panels(), scratch,
            [&](int part, const Block& block, float* sums) {
                if (part) return go_on(hidden_, block, h, sums);
                input_.begin(block, feed, x, bias_, sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                store(middle(r) + p * kVector, whole(reset, place_of(r), a, p * kVector));
            });
        const auto* s = scratch.mid.prepare(rows, new_hidden_.depth(), middle);
        sweep<2, W, 2>(
            rows, new_order_.panels(), scratch,
            [&](int part, const Block& block, float* sums) {
                if (part) return go_on(new_hidden_, block, s, sums);
                new_input_.begin(block, feed, x, new_bias_, sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                for (int v = 0; v < 2; ++v) {
                    const std::int64_t u = (2 * p + v) * kVector;
                    store(outs[r] + u, whole(next, place_of(r), a + v, u));
                }
            });
        clear_tails(rows, [&](std::int64_t r) { return outs[r]; }, size_, this->out);
        for (std::int64_t r = 0; r < rows; ++r) std::copy_n(outs[r], this->out, states[r]);
    }
};

// An integer in a session's state.
inline std::int64_t integer_at(const float* state) {
    std::int64_t value;
    std::memcpy(&value, state, sizeof value);
    return value;
}
inline void put_integer(float* state, std::int64_t value) { std::memcpy(state, &value, sizeof value); }

// A ring of past inputs, each with `inputs` numbers in `width`, behind the place of the oldest. For others it begins
// with the oldest, wherever that lies, so that equal states are equal arrays.
struct Ring {
    static constexpr std::int64_t kPlace = kPad;  // numbers before the ring
    std::int64_t past, inputs, width;

    std::int64_t size() const { return padded(kPlace + past * width); }
    const float* at(const float* state, std::int64_t i) const {
        return state + kPlace + (integer_at(state) + i) % past * width;
    }
    // The new input takes the place of the oldest.
    void push(const float* x, float* state) const {
        if (!past) return;
        const std::int64_t oldest = integer_at(state);
        std::copy_n(x, width, state + kPlace + oldest * width);
        put_integer(state, (oldest + 1) % past);
    }
    void read(const float* state, float* to) const {
        for (std::int64_t i = 0; i < past; ++i) std::copy_n(at(state, i), inputs, to + i * inputs);
    }
    void write(float* state, const float* from) const {
        put_integer(state, 0);
        for (std::int64_t i = 0; i < past; ++i) std::copy_n(from + i * inputs, inputs, state + kPlace + i * width);
    }
};

// A time-delay layer: its state is a ring of past inputs.
template <class W>
class TimeDelayLayer final : public Layer<W> {
    UnitOrder<1, 2> order_;
    std::vector<WeightPanels<W, 2>> taps_;
    Starts<2> bias_;
    Activation activation_;
    std::int64_t inputs_, dilation_;

  public:
    // w: (H, I, K)
    [[gnu::cold]] TimeDelayLayer(const Tensor& w, const float* bias, Activation phi, std::int64_t dilation)
        : order_{w.shape[0]}, taps_(w.shape[2]), activation_(phi), inputs_(padded(w.shape[1])), dilation_(dilation) {
        for (std::size_t k = 0; k < taps_.size(); ++k)
            taps_[k].pack(w, w.shape[1], w.shape[2], std::int64_t(k), order_.panels(), order_);
        bias_.pack(order_, bias, nullptr);
        this->out = padded(order_.panels() * 2 * kVector);
        this->state = ring(inputs_).size();
    }
    std::int64_t past() const { return std::int64_t(taps_.size() - 1) * dilation_; }
    std::int64_t bytes() const override { return std::int64_t(taps_.size()) * taps_[0].bytes(); }

    [[gnu::cold]] void reserve(std::int64_t rows, Scratch<W>& scratch) const override {
        const std::size_t count = std::max(scratch.taps.size(), taps_.size());
        scratch.taps.resize(count), scratch.tap_lists.resize(count);
        for (std::size_t k = 0; k < taps_.size(); ++k) scratch.taps[k].reserve(rows, taps_[k].depth());
        reserve_sums<2>(rows, order_.panels(), scratch);
    }
    void step(std::int64_t rows, const Feed* feed, float* const* states, float* const* outs,
              Scratch<W>& scratch) const override {
        // Tap k sees the input of `ahead` steps after the oldest that is kept, and the last one sees the new input.
        auto& x = scratch.tap_lists;
        for (std::size_t k = 0; k < taps_.size(); ++k) {
            const std::int64_t ahead = std::int64_t(k) * dilation_;  // of the oldest
            x[k] = scratch.taps[k].prepare(rows, taps_[k].depth(), [&](std::int64_t r) -> const float* {
                if (ahead == past()) return feed[r].x;
                return ring(inputs_).at(states[r], ahead);
            });
        }
        sweep<1, W, 2>(
            rows, order_.panels(), scratch,
            [&](int, const Block& block, float* sums) {
                taps_[0].multiply(block, x[0], bias_.at(block.panel), block.rows > 1 ? 0 : 2 * kVector, sums);
                for (std::size_t k = 1; k < taps_.size(); ++k) go_on(taps_[k], block, x[k], sums);
            },
            [&](std::int64_t p, std::int64_t r, Floats* a) {
                for (int v = 0; v < 2; ++v) store(outs[r] + (2 * p + v) * kVector, activate<float>(activation_, a[v]));
            });
        clear_tails(rows, [&](std::int64_t r) { return outs[r]; }, order_.H, this->out);
        for (std::int64_t r = 0; r < rows; ++r) remember(feed[r].x, states[r]);
    }
    void remember(const float* x, float* state) const { ring(inputs_).push(x, state); }
    Ring ring(std::int64_t inputs) const { return {past(), inputs, inputs_}; }
};

// The layer of a cell.
template <class W>
[[gnu::cold]] std::unique_ptr<Layer<W>> make_layer(Cell cell, const LayerWeights& w, Activation phi, Activation psi) {
    switch (cell) {
        case Cell::elman: return std::make_unique<PlainLayer<W>>(w, phi, psi, false);
        case Cell::jordan: return std::make_unique<PlainLayer<W>>(w, phi, psi, true);
        case Cell::gru: return std::make_unique<GruLayer<W>>(w);
        case Cell::gru_reset_before: return std::make_unique<GruResetLayer<W>>(w);
        case Cell::lstm: return std::make_unique<LstmLayer<W, true>>(w);
        case Cell::lstm_without_forget: return std::make_unique<LstmLayer<W, false>>(w);
    }
    __builtin_unreachable();
}

}  // namespace unspool::UNSPOOL_ISA
