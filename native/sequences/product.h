// Matrix products c = start + a B for the training kernels.
//
// The right-hand side B, (depth, columns), is copied once a call into panels, in the order in which it is read:
//
//     B         columns ->              panels    [panel][k][width]
//     k   | a0 a1 a2 a3 | b0 b1 ..      panel 0:  k=0: a0 a1 a2 a3   k=1: a0 a1 a2 a3  ...
//     |   | a0 a1 a2 a3 | b0 b1 ..      panel 1:  k=0: b0 b1 0  0    ...   zeros behind the last column
//
// A register tile is R rows of the left-hand side times one panel of NV vectors: R x NV sums stay in registers while k
// goes through the whole depth, and each step of k loads NV vectors of the panel, straight through memory, and spreads
// R numbers of the left-hand side:
//
//                    panel p, row k:   [ v0 ][ v1 ]
//     a[r0][k]    ->                   acc00 acc01       24 sums where there are 32 registers,
//     a[r0+1][k]  ->                   acc10 acc11       12 where there are 16
//     ...
//
// The left-hand side and the results are lists of pointers to rows, so that rows that are gathered (the steps of
// sequences of unequal length), strided or padded cost nothing special.
//
// Blocks: kDepth of k and kBlockRows of rows at a time, so that the block of the left-hand side stays in the L2 cache
// while every panel goes past it. What was tried and failed is in docs/log.md: other blocks, software prefetch, adding
// the start after the product, the left-hand side packed tile by tile.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "../memory.h"
#include "../simd.h"

namespace unspool::UNSPOOL_ISA {

constexpr int64_t kDepth = 512;  // of a packed block: its panels stream from the L2 cache faster than they are used
template <int NV>
constexpr int kTileRows = kAccumulators / NV;  // of a tile that is NV vectors wide
// Of a tile of few rows, which keeps `kSplit` partial sums of each (see `multiply`).
template <int NV>
constexpr int kSplit = NV >= 4 ? 2 : 4;
template <int NV>
constexpr int kFewRows = std::max(1, kAccumulators / NV / kSplit<NV>);

// The left operand of a tile: R rows, each contiguous over k, or R neighbouring columns of a block with rows over k.
template <class T, int R>
struct LeftRows {
    const T* row[R];
    explicit LeftRows(const T* const* rows, int64_t k0) {
        for (int r = 0; r < R; ++r) row[r] = rows[r] + k0;
    }
    LeftRows(const T* block, int64_t stride) {
        for (int r = 0; r < R; ++r) row[r] = block + r * stride;
    }
    UNSPOOL_INLINE T operator()(int r, int64_t k) const { return row[r][k]; }
};
template <class T, int R>
struct LeftColumns {
    const T* column;
    int64_t stride;
    UNSPOOL_INLINE T operator()(int r, int64_t k) const { return column[k * stride + r]; }
};

// acc[r][v] += sum over k of a(r, k) w[k][v], for w, the panel from the first k on.
//
// A multiply-add takes four cycles and two begin in each, so that eight sums must be under way. Products of few rows keep
// two or four partial sums of each (`split`), which take turns over k and are added in the end. A tile that leaves a
// register free takes four k in a round of its loop, which gains 9 % in training; in the cells' tiles, which need all
// sixteen registers of AVX2, the compiler would put sums on the stack instead.
//
// The order in which a row is summed depends on `split` and on nothing else: not on its tile, nor on the rows beside it.
//
// The pragmas unroll loops whose bounds are template arguments: without them the sums would not stay in registers.
template <class T, int R, int NV, int split, class Left>
UNSPOOL_INLINE void multiply(int64_t depth, const Left& a, const T* w, Vec<T> (&acc)[R][NV]) {
    constexpr int lanes = kLanes<T>, width = NV * lanes;
    Vec<T> sum[split][R][NV] = {};
    int64_t k = 0;
    constexpr bool free_register = R * NV + std::min(R, NV) + 1 < UNSPOOL_REGISTERS;
    if constexpr (split == 1 && free_register)
        for (; k + 4 <= depth; k += 4, w += 4 * width)
#pragma GCC unroll 4
            for (int s = 0; s < 4; ++s)
#pragma GCC unroll 12
                for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) acc[r][v] += a(r, k + s) * load(w + s * width + v * lanes);
    for (; k + split <= depth; k += split, w += split * width)
#pragma GCC unroll 4
        for (int s = 0; s < split; ++s)
#pragma GCC unroll 12
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) {
                    Vec<T>& to = s == 0 ? acc[r][v] : sum[s][r][v];
                    to += a(r, k + s) * load(w + s * width + v * lanes);
                }
    for (; k < depth; ++k, w += width)
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][v] += a(r, k) * load(w + v * lanes);
#pragma GCC unroll 4
    for (int s = 1; s < split; ++s)
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][v] += sum[s][r][v];
}

// Covers rows begin ... end with tiles of Most rows, and what is left with tiles of half as many, and so on down to
// one: calls body.operator()<R, split>(first row).
template <int Most, int split, class Body>
UNSPOOL_INLINE void for_tiles(int64_t begin, int64_t end, const Body& body) {
    for (; end - begin >= Most; begin += Most) body.template operator()<Most, split>(begin);
    if constexpr (Most > 1) for_tiles<(Most + 1) / 2, split>(begin, end, body);
}

// The same for all rows of tiles that are NV vectors wide. `whole`: how many rows the whole product has, of which other
// threads may have some; it decides how they are summed, so that the bits are the same on any number of threads.
template <int NV, class Body>
UNSPOOL_INLINE void cover(int64_t rows, int64_t whole, const Body& body) {
    if (whole <= kFewRows<NV>) for_tiles<kFewRows<NV>, kSplit<NV>>(0, rows, body);
    else for_tiles<kTileRows<NV>, 1>(0, rows, body);
}

// The right-hand side of a product, in panels of `width` columns: [panel][k][width], zero where the columns end. For
// four rows or fewer in all of a call packing costs more than it gains: then it is only the list of the columns, each
// contiguous over k, null for zero, and `multiply_panel` makes a dot product for each.
constexpr int64_t kUnpackedRows = 4;
template <class T>
struct Panels {
    int64_t columns = 0, depth = 0;
    int width = 0;
    Buffer<T> data;
    std::vector<const T*> unpacked;

    void resize(int64_t new_columns, int64_t new_depth, int new_width) {
        columns = new_columns, depth = new_depth, width = new_width;
        data.resize(panels() * depth * width);
    }
    int64_t panels() const { return (columns + width - 1) / width; }
    const T* panel(int64_t p, int64_t k) const { return data.data() + (p * depth + k) * width; }
    T* panel(int64_t p) { return data.data() + p * depth * width; }
};

// a · b over contiguous vectors, with four sums under way: the product of few rows, where B is not packed.
template <class T>
UNSPOOL_INLINE T dot(int64_t depth, const T* a, const T* b) {
    Vec<T> sums[4] = {};
    int64_t k = 0;
    for (; k + 4 * kLanes<T> <= depth; k += 4 * kLanes<T>)
        for (int i = 0; i < 4; ++i) sums[i] += load(a + k + i * kLanes<T>) * load(b + k + i * kLanes<T>);
    for (; k < depth; k += kLanes<T>) sums[0] += load(a + k, depth - k) * load(b + k, depth - k);
    const Vec<T> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    T total = 0;
    for (int lane = 0; lane < kLanes<T>; ++lane) total += sum[lane];
    return total;
}

// The same as multiply_panel for `rows` rows, of NV vectors each, where the columns are not packed. It runs in few and
// small calls, so that there is one of it for all tiles.
template <class T>
[[gnu::noinline]] void multiply_unpacked(const Panels<T>& b, int64_t p, int64_t k0, int64_t depth, const T* const* a,
                                         int rows, T* acc) {
    for (int c = 0; c < b.width && p * b.width + c < b.columns; ++c)
        if (const T* column = b.unpacked[p * b.width + c])
            for (int r = 0; r < rows; ++r) acc[r * b.width + c] += dot(depth, a[r], column + k0);
}

// acc[r][v] += a(r, k) times panel p of b over k0 ... k0 + depth.
template <class T, int R, int NV, int split, class Left>
UNSPOOL_INLINE void multiply_panel(const Panels<T>& b, int64_t p, int64_t k0, int64_t depth, const Left& a,
                                   Vec<T> (&acc)[R][NV]) {
    if constexpr (R <= kUnpackedRows && std::is_same_v<Left, LeftRows<T, R>>)
        if (!b.unpacked.empty()) {
            Vec<T> sums[R][NV];
            std::memcpy(sums, acc, sizeof acc);
            multiply_unpacked(b, p, k0, depth, a.row, R, (T*)sums);
            std::memcpy(acc, sums, sizeof acc);
            return;
        }
    multiply<T, R, NV, split>(depth, a, b.panel(p, k0), acc);
}

// Panel p over k0 ... k0 + depth, from columns given as contiguous vectors over k; null is a column of zeros.
template <class T>
void pack_columns(Panels<T>& out, int64_t p, const T* const* columns, int64_t k0, int64_t depth) {
    constexpr int lanes = kLanes<T>;
    Buffer<T> zeros;
    // A transposition, one vector of columns after the other: each column is read straight through.
    for (int c = 0; c < out.width; c += lanes) {
        const T* from[lanes];
        for (int lane = 0; lane < lanes; ++lane) {
            const int64_t index = p * out.width + c + lane;
            from[lane] = index < out.columns ? columns[index] : nullptr;
            if (from[lane]) continue;
            zeros.resize(depth);
            zeros.zero();
            from[lane] = zeros.data();
        }
        T* to = out.panel(p) + k0 * out.width + c;
        for (int64_t k = 0; k < depth; ++k, to += out.width) {
            Vec<T> row;
#pragma GCC unroll 16
            for (int lane = 0; lane < lanes; ++lane) row[lane] = from[lane][k];
            store(to, row);
        }
    }
}

// Panel p from rows, one for each k, contiguous over the columns; times the rows of `scale`, where there are any.
template <class T>
void pack_rows(Panels<T>& out, int64_t p, const T* const* rows, const T* const* scale = nullptr) {
    T* to = out.panel(p);
    const int64_t begin = p * out.width, count = std::min<int64_t>(out.width, out.columns - begin);
    for (int64_t k = 0; k < out.depth; ++k, to += out.width)
        for (int64_t c = 0; c < out.width; c += kLanes<T>) {
            const Vec<T> row = load(rows[k] + begin + c, count - c);
            store(to + c, scale ? row * load(scale[k] + begin + c, count - c) : row);
        }
}

template <class T>
constexpr int kPlainWidth = 2 * kLanes<T>;
// Rows of a block. The plain product's tiles are two vectors wide, which leaves one register free (see `multiply`).
constexpr int64_t kBlockRows = 16 * kTileRows<2>;

// c[r] = start[r] + (row r of the left operand) B over k0 ... k0 + depth, for at most kBlockRows rows, of `whole`.
// left.operator()<R>(r) gives R rows from r on; start(r) the row to begin with, or null for zero.
template <class T, class Left, class Start>
void block_product(int64_t rows, int64_t whole, const Left& left, const Panels<T>& b, int64_t k0, int64_t depth, T* const* c,
                   const Start& start) {
    constexpr int lanes = kLanes<T>;
    for (int64_t p = 0; p < b.panels(); ++p) {
        const int64_t u = p * b.width, n0 = b.columns - u, n1 = n0 - lanes;
        cover<2>(rows, whole, [&]<int R, int split>(int64_t r0) {
            Vec<T> acc[R][2];
            for (int r = 0; r < R; ++r) {
                const T* from = start(r0 + r);
                acc[r][0] = from ? load(from + u, n0) : Vec<T>{};
                acc[r][1] = from && n1 > 0 ? load(from + u + lanes, n1) : Vec<T>{};
            }
            multiply_panel<T, R, 2, split>(b, p, k0, depth, left.template operator()<R>(r0), acc);
            for (int r = 0; r < R; ++r) {
                store(c[r0 + r] + u, acc[r][0], n0);
                if (n1 > 0) store(c[r0 + r] + u + lanes, acc[r][1], n1);
            }
        });
    }
}

// c[r] = start + a[r] B for `rows` rows, of `whole` (see `cover`), where start is c[r] itself (accumulate), a bias, or zero.
template <class T>
void product(int64_t rows, int64_t whole, const T* const* a, const Panels<T>& b, T* const* c, const T* bias, bool accumulate,
             Buffer<T>& scratch) {
    const bool copy = b.panels() >= 16;  // rows far apart, read for each panel again, are worth bringing together
    if (copy) scratch.resize(kBlockRows * kDepth);
    for (int64_t first = 0; first < rows; first += kBlockRows) {
        const int64_t count = std::min(kBlockRows, rows - first);
        for (int64_t k0 = 0; k0 < b.depth; k0 += kDepth) {
            const int64_t depth = std::min(kDepth, b.depth - k0);
            if (copy)
                for (int64_t r = 0; r < count; ++r) std::copy_n(a[first + r] + k0, depth, &scratch[r * depth]);
            const auto left = [&]<int R>(int64_t r) {
                return copy ? LeftRows<T, R>(&scratch[r * depth], depth) : LeftRows<T, R>(a + first + r, k0);
            };
            block_product(count, whole, left, b, k0, depth, c + first,
                          [&](int64_t r) { return k0 || accumulate ? c[first + r] : bias; });
        }
    }
}

}  // namespace unspool::UNSPOOL_ISA
