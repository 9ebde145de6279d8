// Products for single steps, of one session or of many.
//
// A step of one sequence reads every weight once and does two operations with it: it is bound by the bandwidth of the
// cache that holds the weights. So the weights are packed once, when the network is loaded, in the order in which a
// step reads them, and may be smaller than float32. A matrix lies in panels of NV vectors of its rows:
//
//     [panel][k][NV][lane]      one pass over k, straight through memory, finishes NV vectors of sums:
//
//     panel p:   k=0 | i i i i i i i i | f f f f f f f f | g g g g g g g g | o o o o o o o o |
//                k=1 | i i i i i i i i | f ...                                                    times x[k] each
//
// of which `UnitOrder` (layers.h) makes all gates of a vector of units. Small weights keep that picture: `group`
// neighbours in k share a lane of 32 bits, so that a vector of them is one load of the same width.
//
//     float32    group 1    w                             one multiply-add
//     bfloat16   group 2    w[2k] | w[2k+1] << 16         both halves become floats by a shift and a mask
//     int8       group 4    w[4k] ... w[4k+3]             16-bit products, summed in 32-bit integers
//
// For int8 x is rounded to 16 bits once a step. Even and odd k are taken apart by a mask and a shift, which is why x is
// kept in the order 0 2 1 3. Sums are exact integers, so that their order changes nothing.
//
// A multiply-add takes four cycles and two begin in each, so that some eight sums must be under way. There are two ways
// to have them, and both add up a number in the same order, so that the bits of a session do not depend on how many it
// is stepped with:
//
//     one row      several panels side by side         x[k] times  p0: v0 v1 v2  p1: v0 v1 v2  p2: v0 v1 v2
//     many rows    a tile of rows by one panel         x0[k], x1[k], x2[k], ...  times  p: v0 v1 v2
//
//     sum = start + x[0] w[0] + x[1] w[1] + ...        one chain of multiply-adds for each number
//
// A matrix of too few panels for that has several chains, each over a part of k: one row runs them side by side, a tile
// one after another, and both add them to the first one in turn.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "../memory.h"
#include "../simd.h"
#include "../words.h"

namespace unspool::UNSPOOL_ISA {

constexpr int kVector = kLanes<float>;
constexpr std::int64_t kPad = 16;  // features of a row are padded with zeros to a multiple of it, in every set

constexpr std::int64_t padded(std::int64_t n, std::int64_t to = kPad) { return (n + to - 1) / to * to; }

// What the three kinds of weights differ in. `Source` is a vector that they are multiplied with, as their product
// wants it; k counts groups. A kind has `factor`, what is needed of x for one k, `weights`, a vector of them as floats
// or pairs, and `add`, which multiplies the two and adds to a sum.
struct Float32 {
    static constexpr Number number = Number::float32;
    static constexpr int group = 1;
    using Stored = float;
    using Sum = Floats;
    struct Source {
        const float* data;
        static constexpr float scale = 1;
    };
    static constexpr bool copies = false;
    static Source source(const float* x, std::int64_t, std::int16_t*) { return {x}; }

    UNSPOOL_INLINE static float factor(const Source& x, std::int64_t k) { return x.data[k]; }
    UNSPOOL_INLINE static Floats weights(const float* w) { return load(w); }
    UNSPOOL_INLINE static void add(Sum& sum, float x, Floats w) { sum += x * w; }
};

struct Bfloat16 {
    static constexpr Number number = Number::bfloat16;
    static constexpr int group = 2;
    using Stored = std::uint16_t;
    using Sum = Floats;
    using Source = Float32::Source;
    static constexpr bool copies = false;
    static Source source(const float* x, std::int64_t, std::int16_t*) { return {x}; }

    struct Pair {
        float first, second;
    };
    struct Weights {
        Floats first, second;
    };
    UNSPOOL_INLINE static Pair factor(const Source& x, std::int64_t k) { return {x.data[2 * k], x.data[2 * k + 1]}; }
    UNSPOOL_INLINE static Weights weights(const std::uint16_t* w) {
        const Words both = load_words(w);
        return {(Floats)(both << 16), (Floats)(both & (std::int32_t)0xffff0000)};
    }
    UNSPOOL_INLINE static void add(Sum& sum, Pair x, const Weights& w) {
        sum += x.first * w.first;
        sum += x.second * w.second;
    }
};

// x is rounded to integers of 16 bits, less where the sum of so many products could leave 32. Weights of even k are
// stored with 128 added, which a mask, cheaper than shifts, leaves as it is; `offset` takes it off the sum.
struct Int8 {
    static constexpr Number number = Number::int8;
    static constexpr int group = 4;
    using Stored = std::int8_t;
    using Sum = Words;
    struct Source {
        const std::int16_t* data;
        float scale;
        std::int32_t offset;  // 128 times the sum of the even ones
    };
    static constexpr bool copies = true;
    static constexpr std::int64_t most = 2147483647 / 191;  // products in a sum: |x| <= 1, and (127 + 255) / 2

    // to[4k ...] becomes x[4k], x[4k+2], x[4k+1], x[4k+3] in units of `scale`.
    static Source source(const float* x, std::int64_t count, std::int16_t* to) {
        Floats most{};
        for (std::int64_t i = 0; i < count; i += kVector) {
            const Floats v = load(x + i), magnitude = v < Floats{} ? -v : v;
            most = magnitude > most ? magnitude : most;
        }
        float largest = 0;
        for (int lane = 0; lane < kVector; ++lane) largest = std::max(largest, most[lane]);
        const float range = std::floor(std::min(32767.0, 2147483647.0 / (191.0 * double(count))));  // see `most`
        if (!(largest > 0)) return std::fill_n(to, count, std::int16_t(0)), Source{to, 0, 0};
        const float times = range / largest;
        if (!(times < 3e38f)) return std::fill_n(to, count, std::int16_t(0)), Source{to, 0, 0};
        constexpr float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
        alignas(64) std::int32_t integers[kPad];
        std::int32_t even = 0;
        for (std::int64_t i = 0; i < count; i += kPad) {
            for (std::int64_t j = 0; j < kPad; j += kVector) {
                const Words w = (Words)(load(x + i + j) * times + shifter);
                std::memcpy(integers + j, &w, sizeof w);
            }
            for (std::int64_t j = 0; j < kPad; j += 4) {
                to[i + j] = std::int16_t(integers[j]);
                to[i + j + 1] = std::int16_t(integers[j + 2]);
                to[i + j + 2] = std::int16_t(integers[j + 1]);
                to[i + j + 3] = std::int16_t(integers[j + 3]);
                even += to[i + j] + to[i + j + 1];
            }
        }
        return {to, 1 / times, 128 * even};
    }

    struct Pairs {
        Halves even, odd;
    };
    UNSPOOL_INLINE static Pairs factor(const Source& x, std::int64_t k) {
        std::int32_t even, odd;
        std::memcpy(&even, x.data + 4 * k, sizeof even);
        std::memcpy(&odd, x.data + 4 * k + 2, sizeof odd);
        return {(Halves)(even - Words{}), (Halves)(odd - Words{})};
    }
    UNSPOOL_INLINE static Pairs weights(const std::int8_t* w) {
        const Halves both = (Halves)load_words(w);
        return {both & std::int16_t(0xff), both >> 8};
    }
    UNSPOOL_INLINE static void add(Sum& sum, const Pairs& x, const Pairs& w) {
        sum += multiply_pairs(x.even, w.even);
        sum += multiply_pairs(x.odd, w.odd);
    }
};

// What one product makes the sums of: some panels for one row, or one panel for some rows. Sum i, NV vectors, belongs
// to panel_of(i) and row_of(i).
struct Block {
    std::int64_t panel, row, panels, rows;
    std::int64_t count() const { return panels * rows; }
    std::int64_t panel_of(std::int64_t i) const { return rows > 1 ? panel : panel + i; }
    std::int64_t row_of(std::int64_t i) const { return rows > 1 ? row + i : row; }
};

// A matrix of a network in panels. `order(panel, v, lane)` says which row goes where; -1 is a row of zeros.
template <class W, int NV>
class WeightPanels {
    using Source = typename W::Source;
    using Sum = typename W::Sum;
    static constexpr bool exact = !std::is_same_v<Sum, Floats>;  // in integers: chains change nothing
    static constexpr int split = 2;                              // chains of a matrix of one panel
    // Vectors that a row has under way: fewer where a load brings 64 bytes for one addition, as two panels of a matrix
    // in the L2 cache then displace each other from the L1.
    static constexpr int under_way = kVector == 16 && W::group != 2 ? 6 : 12;

    Buffer<typename W::Stored> data_;
    Buffer<float> scales_;
    std::int64_t panels_ = 0, groups_ = 0;
    bool narrow_ = false;

  public:
    static constexpr int width = NV * kVector;
    static constexpr int tile = kAccumulators / NV;  // rows that share a pass over the weights
    static constexpr int together = under_way / NV;  // panels that a row takes side by side

    template <class Order>
    void pack(const Tensor& matrix, std::int64_t columns, std::int64_t stride, std::int64_t offset, std::int64_t panels,
              const Order& order) {
        panels_ = panels, groups_ = padded(columns) / W::group, narrow_ = panels == 1 && NV < 4;
        data_.resize(panels * panel_size());
        data_.zero();
        if constexpr (W::number == Number::int8)
            for (std::int64_t i = 0; i < panels * panel_size(); i += 2) data_[i] = -128;
        if (W::number == Number::int8) scales_.resize(panels * width), scales_.zero();
        const auto* from = static_cast<const typename W::Stored*>(matrix.data);
        const std::int64_t length = matrix_columns(matrix);
        for (std::int64_t p = 0; p < panels; ++p)
            for (int j = 0; j < width; ++j) {
                const std::int64_t r = order(p, j / kVector, j % kVector);
                if (r < 0) continue;
                if (W::number == Number::int8) scales_[p * width + j] = matrix.scale[r];
                for (std::int64_t k = 0; k < columns; ++k)
                    put(((p * groups_ + k / W::group) * width + j) * W::group + k % W::group,
                        from[r * length + k * stride + offset]);
            }
    }
    std::int64_t panels() const { return panels_; }
    std::int64_t bytes() const { return panels_ * groups_ * width * 4; }
    std::int64_t depth() const { return groups_ * W::group; }

    // Sum i of `sums` becomes start[i * step ...] + the product of its panel and x[its row]. Of rows there are always
    // `tile`, whatever of them is wanted.
    UNSPOOL_INLINE void multiply(const Block& of, const Source* x, const float* start, std::int64_t step,
                                 float* sums) const {
        x += of.row;
        const std::int64_t part = std::uint64_t(groups_) / split;  // kPad has whole ones
        if (of.rows == 1 && narrow_) sums_of<1, 1, split>(of.panel, x, 0, part, start, step, sums);
        else if (of.rows == 1) one_row<together>(of.panel, of.panels, x, start, step, sums);
        else if (!narrow_ || exact) sums_of<tile, 1, 1>(of.panel, x, 0, groups_, start, step, sums);
        else
            for (int s = 0; s < split; ++s)
                sums_of<tile, 1, 1>(of.panel, x, s * part, part, s ? nullptr : start, step, sums);
    }

  private:
    std::int64_t panel_size() const { return groups_ * width * W::group; }

    // All panels of a row: P at a time, which is `together`, and what is left.
    template <int P>
    UNSPOOL_INLINE void one_row(std::int64_t p, std::int64_t panels, const Source* x, const float* start,
                                std::int64_t step, float* sums) const {
        for (; panels >= P; p += P, panels -= P, start += P * step, sums += P * width)
            sums_of<1, P, 1>(p, x, 0, groups_, start, step, sums);
        if constexpr (P > 1)
            if (panels) one_row<P - 1>(p, panels, x, start, step, sums);
    }

    // R rows by P panels, one of which is 1, in S chains side by side, each over `part` of k. Without `start` they are
    // added to `sums`.
    template <int R, int P, int S>
    [[gnu::noinline]] void sums_of(std::int64_t p0, const Source* x, std::int64_t begin, std::int64_t part,
                                   const float* start, std::int64_t step, float* sums) const {
        constexpr int n = R * P;
        const std::int64_t panel = panel_size();
        Sum sum[S][n][NV] = {};
        if (!exact && start)
#pragma GCC unroll 12
            for (int i = 0; i < n; ++i)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) sum[0][i][v] = (Sum)load(start + i * step + v * kVector);
        const auto* w = data_.data() + p0 * panel + begin * width * W::group;
        for (std::int64_t k = begin; k < begin + part; ++k, w += width * W::group)
#pragma GCC unroll 4
            for (int s = 0; s < S; ++s) {
                const auto* at = w + s * part * width * W::group;
                // The fewer of rows and vectors stay in registers beside the sums.
                if constexpr (R > NV) {
                    decltype(W::weights(w)) weights[NV];
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) weights[v] = W::weights(at + v * kVector * W::group);
#pragma GCC unroll 12
                    for (int r = 0; r < R; ++r) {
                        const auto factor = W::factor(x[r], k + s * part);
#pragma GCC unroll 4
                        for (int v = 0; v < NV; ++v) W::add(sum[s][r][v], factor, weights[v]);
                    }
                } else {
                    decltype(W::factor(x[0], 0)) factor[R];
#pragma GCC unroll 12
                    for (int r = 0; r < R; ++r) factor[r] = W::factor(x[r], k + s * part);
#pragma GCC unroll 12
                    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
                        for (int v = 0; v < NV; ++v) {
                            const auto weights = W::weights(at + p * panel + v * kVector * W::group);
#pragma GCC unroll 12
                            for (int r = 0; r < R; ++r) W::add(sum[s][p * R + r][v], factor[r], weights);
                        }
                }
            }
#pragma GCC unroll 12
        for (int i = 0; i < n; ++i)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 4
                for (int s = 1; s < S; ++s) sum[0][i][v] += sum[s][i][v];
                float* const to = sums + i * width + v * kVector;
                if constexpr (exact) {
                    const Source& of = x[R > 1 ? i : 0];
                    const float* scale = &scales_[(p0 + (P > 1 ? i : 0)) * width + v * kVector];
                    store(to, load(start + i * step + v * kVector) +
                                  __builtin_convertvector(sum[0][i][v] - of.offset, Floats) * (of.scale * load(scale)));
                } else {
                    store(to, start ? sum[0][i][v] : load(to) + sum[0][i][v]);
                }
            }
    }

    void put(std::int64_t at, typename W::Stored value) {
        data_[at] = value;
        if constexpr (W::number == Number::int8)
            if (at % 2 == 0) data_[at] = std::int8_t(value ^ -128);
    }
    static std::int64_t matrix_columns(const Tensor& matrix) {
        std::int64_t n = 1;
        for (std::size_t i = 1; i < matrix.shape.size(); ++i) n *= matrix.shape[i];
        return n;
    }
};

}  // namespace unspool::UNSPOOL_ISA
