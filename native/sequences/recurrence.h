// The loop over time, forward and backward, for any cell.
//
//     forward    weights into panels; then every thread, for its own sequences:
//                    for chunks of time steps:  pre-activations = x W_ih' + b       one product for all of the chunk
//                        for each step:         tile of pre-activations += h W_hh'  and the cell on the tile,
//                                               which writes h, c, and the gates that backward wants
//     backward   weights into panels of the transposed; then every thread, for its own sequences:
//                    for each step from the end:  the cell's derivative makes dgates;  dh = dgates W_hh
//                    dx = dgates W_ih             one product for all steps
//                then, all threads together:      dW = sum over the steps of dgates' x   (WeightGradient)
//
// Threads take sequences, not units. The sequences of a batch are independent, so that a thread runs its own from the
// first step to the last and waits for nobody; libraries that divide the units must wait for each other at every step.
// With lengths the sequences are dealt out longest first, and the rows of a step are those that still last, a prefix.
//
// The cell sits on the product. A tile ends with the pre-activations of all gates of some units of some sequences in
// registers; the cell is applied there, and what goes to memory is h. For that the columns of W_hh' are put in the
// order [panel][unit vector][gate][lane], so that one tile has all gates of its units (`Fused`). With k, in memory,
// that is [panel][k][unit vector][gate][lane].
//
// x and h in one product. With x beside h in the left-hand side and W_ih' above W_hh' in the panels, the step needs no
// pre-activations from memory: they are never written. That gains 10 % at small sizes and loses where the weights of
// both no longer stay in the cache, since then each step reads W_ih again: it is done for I + R up to kStepDepth / 2,
// and for some rows at least (`joined`).
//
// The same bits on any number of threads. No sum is divided between threads, and the order within one is decided by the
// problem: by the sizes of the whole batch, never by the rows that a thread happens to have.
//
// Chunks. Without that, the projection is made for about 192 rows at a time, so that it is still in the L2 cache when
// the steps read it.
//
// Weight gradients are never added up in the loop over time, where each step would read and write all of dW: dgates of
// all steps are kept, and dW is one product over T·B, of which each thread makes some rows.
//
// A cell that needs a second product in its step (a projection, Jordan's output, the GRU that resets before the
// product) is two pointwise parts, First and Second; what lies between them is `mid`.
#pragma once

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "../cells.h"
#include "../threads.h"
#include "kernels.h"
#include "product.h"

namespace unspool::UNSPOOL_ISA {

// Columns of a recurrent product in the order its register tile wants them: [panel][unit vector][gate][lane]. Of the
// LSTM a panel is one vector of units times four gates:
//
//     | i i i i i i i i | f f f f f f f f | g g g g g g g g | o o o o o o o o |     units u0 ... u0 + 7 (AVX2)
//
// A cell of one gate has two vectors of units in a panel instead, as a tile one vector wide would need as many loads of
// the left-hand side as multiplications.
template <class T, class Pointwise>
struct Fused {
    static constexpr int unit_vectors = Pointwise::gates == 1 ? 2 : 1;
    static constexpr int vectors = unit_vectors * Pointwise::gates;
    static constexpr int width = vectors * kLanes<T>;
    static constexpr int units = unit_vectors * kLanes<T>;

    static std::vector<const T*> columns(const T* w, int64_t H, int64_t depth) {
        std::vector<const T*> out;
        for (int64_t u0 = 0; u0 < H; u0 += units)
            for (int v = 0; v < unit_vectors; ++v)
                for (int g = 0; g < Pointwise::gates; ++g)
                    for (int lane = 0; lane < kLanes<T>; ++lane) {
                        const int64_t u = u0 + v * kLanes<T> + lane;
                        out.push_back(u < H ? w + (g * H + u) * depth : nullptr);
                    }
        return out;
    }
};

// Packs a matrix on several threads, where it is worth waking them. With `few` rows to come it only notes the columns.
template <class T>
void pack_all_columns(Panels<T>& out, std::vector<const T*> columns, int64_t depth, int width, bool few, int threads) {
    if (few) {
        out.columns = columns.size(), out.depth = depth, out.width = width;
        out.unpacked = std::move(columns);
        return;
    }
    out.resize(columns.size(), depth, width);
    const int tasks = out.columns * depth < 65536 ? 1 : threads;
    parallel(tasks, [&](int task) {
        for (int64_t p = task; p < out.panels(); p += tasks) pack_columns(out, p, columns.data(), 0, depth);
    });
}

// The columns of two matrices, one below the other: of W_ih' and W_hh', for the product of [x h].
template <class T>
void pack_all_columns(Panels<T>& out, const std::vector<const T*>& above, int64_t depth_above,
                      const std::vector<const T*>& below, int64_t depth_below, int width, int threads) {
    out.resize(above.size(), depth_above + depth_below, width);
    const int tasks = out.columns * out.depth < 65536 ? 1 : threads;
    parallel(tasks, [&](int task) {
        for (int64_t p = task; p < out.panels(); p += tasks) {
            pack_columns(out, p, above.data(), 0, depth_above);
            pack_columns(out, p, below.data(), depth_above, depth_below);
        }
    });
}

template <class T>
void pack_all_rows(Panels<T>& out, const std::vector<const T*>& rows, int64_t columns, int threads) {
    out.resize(columns, rows.size(), kPlainWidth<T>);
    const int tasks = columns * out.depth < 65536 ? 1 : threads;
    parallel(tasks, [&](int task) {
        for (int64_t p = task; p < out.panels(); p += tasks) pack_rows(out, p, rows.data());
    });
}

template <class T>
std::vector<const T*> rows_of(const T* matrix, int64_t rows, int64_t columns) {
    std::vector<const T*> out(rows);
    for (int64_t r = 0; r < rows; ++r) out[r] = matrix + r * columns;
    return out;
}

constexpr int64_t kStepDepth = 2 * kDepth;  // few rows leave a panel more of the cache

// One product of one time step and the cell on top of it, for all rows: operand[r] W', then the cell's forward. The
// first `inputs` columns of the operand are x, or none.
//
// The loop over panels is outside, so that a panel is read from memory once and serves all rows. Where the depth is
// more than kStepDepth it is cut, and between its parts the sums wait in the rows' gates.
//
// The GRU's q must not be added to the part of n that x makes. Where x and h are in one product (`divided`), the tile
// stops after x; `between` puts a_n away and begins q in its register.
template <class T, class Pointwise>
void step_forward(const Pointwise& cell, const std::vector<Place<T>>& places, int64_t count, int64_t whole,
                  const T* const* operand, const Panels<T>& w, bool save, int64_t inputs) {
    using F = Fused<T, Pointwise>;
    constexpr int lanes = kLanes<T>;
    constexpr bool divided = requires(Vec<T>* a) { cell.between(places[0], a, 0, 0); };
    const int64_t H = cell.H;
    for (int64_t p = 0; p < w.panels(); ++p) {
        for (int64_t k0 = 0; k0 < w.depth; k0 += kStepDepth) {
            const int64_t depth = std::min(kStepDepth, w.depth - k0);
            const bool last = k0 + depth == w.depth;
            cover<F::vectors>(count, whole, [&]<int R, int split>(int64_t r0) {
                const Place<T>* at = &places[r0];
                const auto slot = [&](int r, int g) { return at[r].gates + (Pointwise::first + g) * H; };
                Vec<T> acc[R][F::vectors];
                for (int r = 0; r < R; ++r)
                    for (int v = 0; v < F::vectors; ++v) {
                        const int g = v % Pointwise::gates;
                        const int64_t u = p * F::units + v / Pointwise::gates * lanes, n = H - u;
                        acc[r][v] = n <= 0    ? Vec<T>{}
                                    : k0 == 0 ? cell.start(at[r], g, u, n)
                                              : load<T>(slot(r, g) + u, n);
                        if constexpr (divided)
                            if (inputs) acc[r][v] = load(at[r].start + Pointwise::input_slot(g) * H + u, n);
                    }
                int64_t k = k0;
                if constexpr (divided)
                    if (inputs) {
                        multiply_panel<T, R, F::vectors, split>(w, p, 0, inputs, LeftRows<T, R>(operand + r0, 0), acc);
                        for (int r = 0; r < R; ++r) cell.between(at[r], acc[r], p * F::units, H - p * F::units);
                        k = inputs;
                    }
                multiply_panel<T, R, F::vectors, split>(w, p, k, k0 + depth - k, LeftRows<T, R>(operand + r0, k), acc);
                if constexpr (F::unit_vectors == 1 && requires { cell.carry(at[0], acc[0], 0, 0, save); })
                    if (last) {
#pragma GCC unroll 12
                        for (int r = 0; r < R; ++r) cell.carry(at[r], acc[r], p * F::units, H - p * F::units, save);
                    }
#pragma GCC unroll 12
                for (int r = 0; r < R; ++r)
                    for (int i = 0; i < F::unit_vectors; ++i) {
                        const int64_t u = p * F::units + i * lanes, n = H - u;
                        if (n <= 0) continue;
                        const Vec<T>* a = acc[r] + i * Pointwise::gates;
                        if (!last) {
                            for (int g = 0; g < Pointwise::gates; ++g) store(slot(r, g) + u, a[g], n);
                            continue;
                        }
                        const Vec<T> out = cell.forward(at[r], a, u, n, save);
                        store(at[r].out + u, out, n);
                        if (at[r].fed_next) store(at[r].fed_next + u, out * load(at[r].mask + u, n), n);
                    }
            });
        }
    }
}

// The cell's derivative for all rows. It is no tile: what it reads is in memory, and the product comes after it.
template <class T, class Pointwise>
void step_backward(const Pointwise& cell, const std::vector<Place<T>>& places, int64_t count) {
    for (int64_t r = 0; r < count; ++r)
        for (int64_t u = 0; u < cell.H; u += kLanes<T>) cell.backward(places[r], u, cell.H - u);
}

// One layer over whole sequences. First and Second are the cell's one or two products of a time step.
template <class T, class First, class Second>
class Recurrence {
    static constexpr bool kTwo = !std::is_same_v<Second, None>;
    static constexpr bool kReadout = std::is_same_v<Second, Readout<T>>;
    static constexpr bool kGru = std::is_same_v<First, GruCell<T>>;
    static constexpr bool kCarries = First::carries;
    static constexpr int kInputGates = kGru || (kTwo && !kReadout) ? 3 : First::gates;

    const Problem<T>& p;
    First first;
    Second second;
    int workers;
    std::vector<std::vector<int64_t>> rows_of_worker;  // sequences of each thread, longest first
    // Multiplies x in the product of the time step, [x h] by the weights of both: more weights to read at each step,
    // which needs some rows to pay, but no pre-activations to write and read again.
    bool joined;

    int64_t length(int64_t b) const { return p.lengths ? p.lengths[b] : p.steps; }
    int64_t time(int64_t b, int64_t s) const { return p.reverse ? length(b) - 1 - s : s; }
    int64_t at(int64_t b, int64_t s) const { return time(b, s) * p.batch + b; }
    bool resets(int64_t b, int64_t s) const { return p.reset && p.reset[at(b, s)]; }
    // The input's gates lie in the order n r z for the GRU, and in the weights' own otherwise.
    static int gate_of_slot(int slot) { return kGru ? (slot + 2) % 3 : slot; }

    // Processing step s of sequence b: h[t-1] and c[t-1], wherever they lie.
    const T* previous(int64_t b, int64_t s, const T* sequence, const T* initial, const T* start, int64_t n) const {
        if (resets(b, s)) return start;
        return s == 0 ? initial + b * n : sequence + at(b, s - 1) * n;
    }
    const T* previous_h(int64_t b, int64_t s) const { return previous(b, s, p.y, p.h0, p.start_h, p.state); }
    const T* previous_c(int64_t b, int64_t s) const { return previous(b, s, p.cells, p.c0, p.start_c, p.hidden); }

  public:
    // Small problems are for one thread: to wake a second one takes as long as 400,000 operations.
    Recurrence(const Problem<T>& problem, First f, Second g) : p(problem), first(f), second(g) {
        const double work = 2.0 * p.steps * p.batch * First::gates * p.hidden * (p.inputs + p.state);
        workers = work < 4e5 ? 1 : int(std::min<int64_t>(p.threads, p.batch));
        std::vector<int64_t> order(p.batch);
        std::iota(order.begin(), order.end(), 0);
        if (p.lengths)
            std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return length(a) > length(b); });
        rows_of_worker.resize(workers);
        // Else each step reads more weights than the caches hold; and the GRU's product must lie in one block.
        const bool fits = p.inputs + p.state <= kStepDepth / 2;
        joined = kInputGates == First::gates && fits && !p.tokens && p.batch >= 4;
        for (int64_t i = 0; i < p.batch; ++i) {
            const int64_t worker = p.lengths ? i % workers : i * workers / p.batch;
            rows_of_worker[worker].push_back(order[i]);
        }
    }

    void forward();
    void backward();

  private:
    struct Weights {
        Panels<T> x, h, mid;
        Buffer<T> bias, table;
    };
    // The projected input of a step with a token; step: its place in (T, B).
    const T* table_row(const Weights& w, int64_t step) const {
        const bool whole = p.inputs <= p.steps * p.batch;
        return &w.table[(whole ? p.tokens[step] : step) * kInputGates * p.hidden];
    }
    void tabulate(Weights& w, const std::vector<const T*>& inputs) const;
    std::vector<const T*> input_columns() const;
    void input_bias(Buffer<T>& bias) const;
    struct ForwardRoom;
    struct BackwardRoom;
    bool saves() const { return p.gates != nullptr; }
    T* gates_at(ForwardRoom& room, int64_t r, int64_t s) const;
    void mask_states(ForwardRoom& room) const;
    void project(const Weights& w, ForwardRoom& room, int64_t begin, int64_t end) const;
    void lay_out(const Weights& w, ForwardRoom& room, int64_t r, int64_t s) const;
    void forward_rows(const Weights& w, const std::vector<int64_t>& rows) const;
    void lay_out(BackwardRoom& room, int64_t r, int64_t s, T* dmid) const;
    void step_back(const Weights& w, BackwardRoom& room, int64_t count) const;
    void pass_on(BackwardRoom& room, int64_t r, int64_t s, T* dstart) const;
    void input_gradient(const Weights& w, const std::vector<int64_t>& rows, Buffer<T>& scratch) const;
    void backward_rows(const Weights& w, const std::vector<int64_t>& rows, T* dmid, T* dstart) const;
    void token_gradient(const std::vector<const T*>& d) const;
    void weight_gradients(const T* dmid) const;
    void peephole_gradient() const;
};

template <class T, class First, class Second>
std::vector<const T*> Recurrence<T, First, Second>::input_columns() const {
    std::vector<const T*> columns;
    for (int slot = 0; slot < kInputGates; ++slot)
        for (int64_t u = 0; u < p.hidden; ++u)
            columns.push_back(p.w_ih + (gate_of_slot(slot) * p.hidden + u) * p.inputs);
    return columns;
}

template <class T, class First, class Second>
void Recurrence<T, First, Second>::input_bias(Buffer<T>& bias) const {
    const int64_t H = p.hidden;
    bias.resize(kInputGates * H);
    for (int slot = 0; slot < kInputGates; ++slot) {
        const int64_t g = gate_of_slot(slot);
        const bool hidden_too = p.b_hh && !(kGru && g == 2);
        for (int64_t u = 0; u < H; ++u)
            bias[slot * H + u] = (p.b_ih ? p.b_ih[g * H + u] : T(0)) + (hidden_too ? p.b_hh[g * H + u] : T(0));
    }
}

// x W_ih' + b for each token: of the whole vocabulary where the sequences are longer than it, else of each of their
// steps, (T, B, ·).
template <class T, class First, class Second>
void Recurrence<T, First, Second>::tabulate(Weights& w, const std::vector<const T*>& inputs) const {
    const int64_t width = inputs.size(), steps = p.steps * p.batch, rows = std::min(p.inputs, steps);
    w.table.resize(rows * width);
    const int tasks = rows * width < 65536 ? 1 : p.threads;
    parallel(tasks, [&](int task) {
        const int64_t end = width * (task + 1) / tasks;
        for (int64_t j0 = width * task / tasks; j0 < end; j0 += 16)
            for (int64_t i = 0; i < rows; ++i) {
                const int64_t token = rows == p.inputs ? i : p.tokens[i];
                if (token < 0 || token >= p.inputs) continue;  // behind a sequence's end
                for (int64_t j = j0; j < std::min(j0 + 16, end); ++j)
                    w.table[i * width + j] = inputs[j][token] + w.bias[j];
            }
    });
}

template <class T, class First, class Second>
void Recurrence<T, First, Second>::forward() {
    const int64_t steps = p.steps * p.batch;
    Weights w;
    const auto inputs = input_columns();
    const bool few = steps <= kUnpackedRows;
    const auto pack = [&](Panels<T>& out, std::vector<const T*> columns, int64_t depth, int width) {
        pack_all_columns(out, std::move(columns), depth, width, few, p.threads);
    };
    input_bias(w.bias);
    using F = Fused<T, First>;
    const auto hidden = F::columns(p.w_hh, p.hidden, p.state);
    if (joined) {
        pack_all_columns(w.h, F::columns(p.w_ih, p.hidden, p.inputs), p.inputs, hidden, p.state, F::width, p.threads);
    } else {
        if (p.tokens) tabulate(w, inputs);
        else pack(w.x, inputs, p.inputs, kPlainWidth<T>);
        pack(w.h, hidden, p.state, F::width);
    }
    if constexpr (kTwo) {
        const T* from = kReadout ? p.w_hr : p.w_hh + First::gates * p.hidden * p.state;
        pack(w.mid, Fused<T, Second>::columns(from, second.H, p.hidden), p.hidden, Fused<T, Second>::width);
    }
    parallel(workers, [&](int worker) { forward_rows(w, rows_of_worker[worker]); });
}

// The room of a thread on its way forward. Rows are in the order of `rows`, the longest sequence first; s counts steps
// in the order of processing, and `at` finds the place of a step in (T, B). Where the backward pass is to come, gates
// and cell states go where it will find them; otherwise they live here, those of one chunk and of one step.
//
//     fed    h times the dropout mask, as the product reads it: two rows for each sequence, for this step and the next
//            one in turn, and a third one for the state at a reset
//     both   [x h] side by side, where one product multiplies both. Reading the two from where they lie cost more than
//            the copy, as each tile then has two loops.
template <class T, class First, class Second>
struct Recurrence<T, First, Second>::ForwardRoom {
    const std::vector<int64_t>& rows;
    int64_t n, chunk;
    Buffer<T> scratch, both, gates, cells, mid, fed;
    std::vector<Place<T>> first, second;
    std::vector<const T*> operand, x;  // of a step; of a chunk
    std::vector<T*> projected;         // of a chunk

    ForwardRoom(const Recurrence& of, const std::vector<int64_t>& sequences)
        : rows(sequences),
          n(rows.size()),
          chunk(of.joined ? 1 : std::max<int64_t>(1, 192 / n)),
          both(of.joined ? n * (of.p.inputs + of.p.state) : 0),
          gates(of.saves() ? 0 : chunk * n * First::slots * of.p.hidden),
          cells(of.saves() || !of.p.c0 ? 0 : n * of.p.hidden),
          mid(kTwo && !of.saves() ? n * of.p.hidden : 0),
          fed(of.p.mask ? 3 * n * of.p.state : 0),
          first(n),
          second(n),
          operand(n),
          x(chunk * n),
          projected(chunk * n) {}
};

template <class T, class First, class Second>
T* Recurrence<T, First, Second>::gates_at(ForwardRoom& room, int64_t r, int64_t s) const {
    const int64_t size = First::slots * p.hidden;
    return saves() ? p.gates + at(room.rows[r], s) * size : room.gates.data() + (s % room.chunk * room.n + r) * size;
}

// What the first step reads through the mask, and what a step at a reset does.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::mask_states(ForwardRoom& room) const {
    const int64_t R = p.state;
    for (int64_t r = 0; p.mask && r < room.n; ++r)
        for (int64_t u = 0; u < R; ++u) {
            const T keep = p.mask[room.rows[r] * R + u];
            room.fed[r * R + u] = p.h0[room.rows[r] * R + u] * keep;
            if (p.start_h) room.fed[(2 * room.n + r) * R + u] = p.start_h[u] * keep;
        }
}

// The pre-activations of a chunk of steps from x, for the sequences that last so long.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::project(const Weights& w, ForwardRoom& room, int64_t begin, int64_t end) const {
    int64_t count = 0;
    for (int64_t s = begin; s < end; ++s)
        for (int64_t r = 0; r < room.n && s < length(room.rows[r]); ++r, ++count) {
            const int64_t here = at(room.rows[r], s);
            room.projected[count] = gates_at(room, r, s);
            if (p.tokens) std::copy_n(table_row(w, here), kInputGates * p.hidden, room.projected[count]);
            else room.x[count] = p.x + here * p.inputs;
        }
    if (p.tokens) return;
    product(count, p.steps * p.batch, room.x.data(), w.x, room.projected.data(), w.bias.data(), false, room.scratch);
}

// Where sequence r has its vectors at step s, and the left-hand side of its product.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::lay_out(const Weights& w, ForwardRoom& room, int64_t r, int64_t s) const {
    const int64_t H = p.hidden, R = p.state, b = room.rows[r], here = at(b, s);
    Place<T>& place = room.first[r] = Place<T>{};
    place.gates = gates_at(room, r, s);
    place.start = joined ? w.bias.data() : place.gates;
    place.h = place.fed = previous_h(b, s);
    place.out = p.y + here * R;
    if (p.mask) {
        place.mask = p.mask + b * R;
        place.fed = &room.fed[(resets(b, s) ? 2 * room.n + r : s % 2 * room.n + r) * R];
        place.fed_next = &room.fed[((s + 1) % 2 * room.n + r) * R];
    }
    room.operand[r] = place.fed;
    if (joined) {
        T* const both = &room.both[r * (p.inputs + R)];
        std::copy_n(p.x + here * p.inputs, p.inputs, both);
        std::copy_n(place.fed, R, both + p.inputs);
        room.operand[r] = both;
    }
    if (p.c0) {
        const bool elsewhere = saves() || s == 0 || resets(b, s);
        place.c_prev = elsewhere ? previous_c(b, s) : &room.cells[r * H];
        place.c = saves() ? p.cells + here * H : &room.cells[r * H];
    }
    // The first part then gives what the second one reads, and the second gives y. A readout's only gate is y.
    if constexpr (kTwo) {
        room.second[r] = place;
        if (kReadout) room.second[r].gates = place.out;
        place.out = saves() ? p.mid + here * H : &room.mid[r * H];
        place.fed_next = nullptr;
    }
}

// All time steps of a thread's sequences.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::forward_rows(const Weights& w, const std::vector<int64_t>& rows) const {
    if (rows.empty()) return;
    const int64_t H = p.hidden, R = p.state, longest = length(rows[0]);
    for (const int64_t b : rows) {  // of an empty sequence the state stays
        if (length(b) > 0) continue;
        std::copy_n(p.h0 + b * R, R, p.h_n + b * R);
        if (p.c0) std::copy_n(p.c0 + b * H, H, p.c_n + b * H);
    }
    ForwardRoom room(*this, rows);
    mask_states(room);
    for (int64_t s = 0; s < longest; ++s) {
        if (!joined && s % room.chunk == 0) project(w, room, s, std::min(s + room.chunk, longest));
        int64_t count = 0;
        for (; count < room.n && s < length(rows[count]); ++count) lay_out(w, room, count, s);
        step_forward(first, room.first, count, p.batch, room.operand.data(), w.h, saves(), joined ? p.inputs : 0);
        if constexpr (kTwo) {
            for (int64_t r = 0; r < count; ++r) room.operand[r] = room.first[r].out;
            step_forward(second, room.second, count, p.batch, room.operand.data(), w.mid, saves(), 0);
        }
        for (int64_t r = 0; r < count; ++r) {
            const int64_t b = rows[r];  // its last state, where it ends here
            if (s + 1 < length(b)) continue;
            std::copy_n(p.y + at(b, s) * R, R, p.h_n + b * R);
            if (p.c0) std::copy_n(room.first[r].c, H, p.c_n + b * H);
        }
    }
    for (const int64_t b : rows)
        for (int64_t t = length(b); t < p.steps; ++t) std::fill_n(p.y + (t * p.batch + b) * R, R, T(0));
}

// The transposed weights are packed from their rows, which are contiguous: dh = dgates W_hh has the depth G·H.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::backward() {
    const int64_t H = p.hidden, R = p.state;
    Weights w;
    pack_all_rows(w.h, rows_of(p.w_hh, First::gates * H, R), R, p.threads);
    if (p.dx) pack_all_rows(w.x, input_columns(), p.inputs, p.threads);
    Buffer<T> dmid;
    if constexpr (kTwo) {
        const T* from = kReadout ? p.w_hr : p.w_hh + First::gates * H * R;
        pack_all_rows(w.mid, rows_of(from, second.H, H), H, p.threads);
        if (kReadout) dmid.resize(p.steps * p.batch * R);
    }
    Buffer<T> dstart(p.dstart_h ? p.batch * (R + H) : 0);
    dstart.zero();
    parallel(workers, [&](int worker) { backward_rows(w, rows_of_worker[worker], dmid.data(), dstart.data()); });
    if (p.dstart_h) std::fill_n(p.dstart_h, R, T(0));
    if (p.dstart_c) std::fill_n(p.dstart_c, H, T(0));
    for (int64_t b = 0; p.dstart_h && b < p.batch; ++b) {
        const T* from = &dstart[b * (R + H)];
        for (int64_t u = 0; u < R; ++u) p.dstart_h[u] += from[u];
        for (int64_t u = 0; p.dstart_c && u < H; ++u) p.dstart_c[u] += from[R + u];
    }
    weight_gradients(dmid.data());
    if (p.dpeephole) peephole_gradient();
}

// The room of a thread on its way back. dh and dc hold, for every row, the gradient of the state that a step gave, and
// then of the one that it began with.
//
//     dfed     with a mask: the gradient of what the product read; before that, what the product of a second part read
//     middle   the gradient of what lies between the two parts
template <class T, class First, class Second>
struct Recurrence<T, First, Second>::BackwardRoom {
    const std::vector<int64_t>& rows;
    int64_t n;
    Buffer<T> scratch, dh, dc, middle, dfed;
    std::vector<Place<T>> first, second;
    std::vector<const T*> left;  // of a product: gradients of gates
    std::vector<T*> right;       // and what it makes

    BackwardRoom(const Recurrence& of, const std::vector<int64_t>& sequences)
        : rows(sequences),
          n(rows.size()),
          dh(n * of.p.state),
          dc(of.p.c0 ? n * of.p.hidden : 0),
          middle(kTwo ? n * of.p.hidden : 0),
          dfed(of.p.mask ? n * of.p.state : 0),
          first(n),
          second(n),
          left(n),
          right(n) {
        dh.zero();
        dc.zero();
    }
};

// Where sequence r has its vectors at step s.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::lay_out(BackwardRoom& room, int64_t r, int64_t s, T* dmid) const {
    const int64_t H = p.hidden, R = p.state, b = room.rows[r], here = at(b, s), gate_row = First::slots * H;
    Place<T>& place = room.first[r] = Place<T>{};
    place.gates = p.gates + here * gate_row;
    place.dgates = p.dgates + here * gate_row;
    place.h = place.fed = previous_h(b, s);
    place.dout = p.dy ? p.dy + here * R : nullptr;
    place.dh = &room.dh[r * R];
    place.mask = p.mask ? p.mask + b * R : nullptr;
    if (p.c0) place.c_prev = previous_c(b, s), place.c = p.cells + here * H, place.dc = &room.dc[r * H];
    if constexpr (kTwo) {
        room.second[r] = place;
        place.dout = &room.middle[r * H];
        if (kReadout) {
            place.dh = nullptr;
            room.second[r].gates = p.y + here * R;
            room.second[r].dgates = dmid + here * R;
        } else if (p.mask) {
            place.fed = &room.dfed[r * R];
            for (int64_t u = 0; u < R; ++u) room.dfed[r * R + u] = place.h[u] * place.mask[u];
        }
    }
}

// The products of a step: from the gradients of the gates to those of what they were made of.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::step_back(const Weights& w, BackwardRoom& room, int64_t count) const {
    const auto multiply = [&](const Panels<T>& by, bool add) {
        product(count, p.batch, room.left.data(), by, room.right.data(), (const T*)nullptr, add, room.scratch);
    };
    if constexpr (kTwo) {
        step_backward(second, room.second, count);
        for (int64_t r = 0; r < count; ++r) {
            room.left[r] = room.second[r].dgates + Second::first * second.H;
            room.right[r] = &room.middle[r * p.hidden];
        }
        multiply(w.mid, false);
    }
    step_backward(first, room.first, count);
    for (int64_t r = 0; r < count; ++r) {
        room.left[r] = room.first[r].dgates + First::first * p.hidden;
        room.right[r] = p.mask ? &room.dfed[r * p.state] : &room.dh[r * p.state];
    }
    multiply(w.h, kCarries && !p.mask);
}

// Between two steps: dh and dc of sequence r go on to the step before, to the state at a reset, or to the initial one.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::pass_on(BackwardRoom& room, int64_t r, int64_t s, T* dstart) const {
    const int64_t H = p.hidden, R = p.state, b = room.rows[r];
    T *dh = &room.dh[r * R], *dc = p.c0 ? &room.dc[r * H] : nullptr;
    // What went through the mask is in dfed, and what went past the product is in dh already.
    for (int64_t u = 0; p.mask && u < R; ++u)
        dh[u] = (kCarries ? dh[u] : T(0)) + room.dfed[r * R + u] * room.first[r].mask[u];
    if (resets(b, s)) {
        const int64_t sum = b * (R + H);
        for (int64_t u = 0; p.dstart_h && u < R; ++u) dstart[sum + u] += dh[u];
        for (int64_t u = 0; p.dstart_h && dc && u < H; ++u) dstart[sum + R + u] += dc[u];
        std::fill_n(dh, R, T(0));
        if (dc) std::fill_n(dc, H, T(0));
    }
    if (s > 0) return;
    std::copy_n(dh, R, p.dh0 + b * R);
    if (dc) std::copy_n(dc, H, p.dc0 + b * H);
}

// All time steps of a thread's sequences, from the last one of each. The rows are the longest sequences first, so that
// sequences join at the end of the list when the loop comes to their last step. An empty one never does.
//
// dmid: gradients of the readout's pre-activations, (T, B, R), kept for its weights. dstart: of each sequence, the sum
// of the gradients of the state at its resets, (B, R + H).
template <class T, class First, class Second>
void Recurrence<T, First, Second>::backward_rows(const Weights& w, const std::vector<int64_t>& rows, T* dmid,
                                                 T* dstart) const {
    if (rows.empty()) return;
    const int64_t H = p.hidden, R = p.state;
    BackwardRoom room(*this, rows);
    for (const int64_t b : rows) {  // of an empty sequence the last state is the first
        if (length(b) > 0) continue;
        if (p.dh_n) std::copy_n(p.dh_n + b * R, R, p.dh0 + b * R);
        else std::fill_n(p.dh0 + b * R, R, T(0));
        if (p.dc_n) std::copy_n(p.dc_n + b * H, H, p.dc0 + b * H);
        else if (p.dc0) std::fill_n(p.dc0 + b * H, H, T(0));
    }
    int64_t count = 0;
    for (int64_t s = length(rows[0]) - 1; s >= 0; --s) {
        for (; count < room.n && length(rows[count]) == s + 1; ++count) {
            if (p.dh_n) std::copy_n(p.dh_n + rows[count] * R, R, &room.dh[count * R]);
            if (p.dc_n) std::copy_n(p.dc_n + rows[count] * H, H, &room.dc[count * H]);
        }
        for (int64_t r = 0; r < count; ++r) lay_out(room, r, s, dmid);
        step_back(w, room, count);
        for (int64_t r = 0; r < count; ++r) pass_on(room, r, s, dstart);
    }
    if (p.dx) input_gradient(w, rows, room.scratch);
}

// dx of all steps in one product; padding gets zeros.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::input_gradient(const Weights& w, const std::vector<int64_t>& rows,
                                                  Buffer<T>& scratch) const {
    std::vector<const T*> a;
    std::vector<T*> c;
    for (const int64_t b : rows)
        for (int64_t t = 0; t < p.steps; ++t) {
            T* dx = p.dx + (t * p.batch + b) * p.inputs;
            if (t >= length(b)) {
                std::fill_n(dx, p.inputs, T(0));
            } else {
                a.push_back(p.dgates + (t * p.batch + b) * First::slots * p.hidden);
                c.push_back(dx);
            }
        }
    product(a.size(), p.steps * p.batch, a.data(), w.x, c.data(), (const T*)nullptr, false, scratch);
}

// Time steps of a block of a weight gradient, so that both sides of it stay in the L1 cache: 256 were slower (80 -> 84
// GF/s), and so was all of x packed at once, as each block then fetches it from the L3 cache again.
constexpr int64_t kGradientDepth = 128;

// dW = sum over all steps of d' x: `count` rows of d, from `offset` on, into as many rows of dw and db, row i into row
// (i + shift) % count.
template <class T>
struct WeightGradient {
    const std::vector<const T*>& d;
    int64_t offset, count, shift;
    const std::vector<const T*>& x;
    const std::vector<const T*>* scale;  // multiplies x, row by row; or null
    int64_t columns;
    T *dw, *db;  // (count, columns), (count); null if not wanted

    // The rows of d in [begin, end): blocks of time steps outside, so that a block of x, packed once, serves all of
    // them. The biases' gradients are sums over the same blocks.
    void add_up(int64_t begin, int64_t end) const {
        const int64_t steps = d.size();
        Panels<T> packed;
        Buffer<T> left(kBlockRows * kGradientDepth), sums(db ? end - begin : 0);
        std::vector<T*> c(kBlockRows);
        sums.zero();
        for (int64_t k0 = 0; k0 < std::max<int64_t>(steps, 1); k0 += kGradientDepth) {
            const int64_t depth = std::min(kGradientDepth, steps - k0);
            packed.resize(dw ? columns : 0, depth, kPlainWidth<T>);
            for (int64_t p = 0; p < packed.panels(); ++p)
                pack_rows(packed, p, x.data() + k0, scale ? scale->data() + k0 : nullptr);
            for (int64_t g0 = begin; g0 < end; g0 += kBlockRows) {
                const int64_t rows = std::min(kBlockRows, end - g0);
                for (int64_t k = 0; k < depth; ++k) {
                    const T* from = d[k0 + k] + offset + g0;
                    std::copy_n(from, rows, &left[k * kBlockRows]);
                }
                for (int64_t r = 0; db && r < rows; r += kLanes<T>) {
                    Vec<T> sum{};
                    for (int64_t k = 0; k < depth; ++k) sum += load(&left[k * kBlockRows + r]);
                    T* to = &sums[g0 - begin + r];
                    store(to, load<T>(to, rows - r) + sum, rows - r);
                }
                if (!dw) continue;
                for (int64_t r = 0; r < rows; ++r) c[r] = dw + (g0 + r + shift) % count * columns;
                const auto left_from = [&]<int R>(int64_t r) { return LeftColumns<T, R>{&left[r], kBlockRows}; };
                block_product(rows, count, left_from, packed, 0, depth, c.data(),
                              [&](int64_t r) -> const T* { return k0 ? c[r] : nullptr; });
            }
        }
        for (int64_t i = begin; db && i < end; ++i) db[(i + shift) % count] = sums[i - begin];
    }
};

// dW_ih' of tokens: the gradients d of all steps, each added to the row of its token. A thread takes 64 columns of d at
// a time, so that the sums of all tokens for them stay in the cache.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::token_gradient(const std::vector<const T*>& d) const {
    const int64_t H = p.hidden, width = kInputGates * H;
    const int tasks = width * p.inputs < 65536 ? 1 : p.threads;
    parallel(tasks, [&](int task) {
        constexpr int64_t block = 64;
        Buffer<T> sums(p.inputs * block);
        const int64_t end = width * (task + 1) / tasks;
        for (int64_t j0 = width * task / tasks; j0 < end; j0 += block) {
            const int64_t count = std::min(block, end - j0);
            sums.zero();
            size_t next = 0;
            for (int64_t s = 0; s < p.steps; ++s)
                for (int64_t b = 0; b < p.batch; ++b) {
                    if (s >= length(b)) continue;
                    const T* from = d[next++] + j0;
                    T* to = &sums[p.tokens[at(b, s)] * block];
                    for (int64_t j = 0; j < count; ++j) to[j] += from[j];
                }
            for (int64_t j = j0; j < j0 + count; ++j)
                for (int64_t i = 0; i < p.inputs; ++i)
                    p.dw_ih[(gate_of_slot(j / H) * H + j % H) * p.inputs + i] = sums[i * block + j - j0];
        }
    });
}

// The rows of all steps that there are, and one job for each weight; every thread makes its part of every job, rows of
// dW from the same to the same, so that no two of them write the same number.
template <class T, class First, class Second>
void Recurrence<T, First, Second>::weight_gradients(const T* dmid) const {
    const int64_t H = p.hidden, R = p.state;
    std::vector<const T*> d, x, h, mask, mid, d_readout;
    for (int64_t s = 0; s < p.steps; ++s)
        for (int64_t b = 0; b < p.batch; ++b) {
            if (s >= length(b)) continue;
            d.push_back(p.dgates + at(b, s) * First::slots * H);
            h.push_back(previous_h(b, s));
            if (p.x) x.push_back(p.x + at(b, s) * p.inputs);
            if (p.mask) mask.push_back(p.mask + b * R);
            if (kTwo) mid.push_back(p.mid + at(b, s) * H);
            if (kReadout) d_readout.push_back(dmid + at(b, s) * R);
        }
    std::vector<WeightGradient<T>> jobs;
    const auto add = [&](auto& grads, int64_t offset, int64_t count, int64_t shift, auto& rows, bool masked,
                         int64_t columns, T* dw, T* db) {
        if (dw || db) jobs.push_back({grads, offset, count, shift, rows, masked ? &mask : nullptr, columns, dw, db});
    };
    add(d, 0, kInputGates * H, gate_of_slot(0) * H, x, false, p.inputs, p.x ? p.dw_ih : nullptr, p.db_ih);
    // Where both biases are added to the same sums they have the same gradient.
    const bool same = p.db_ih && p.db_hh && !kGru && (!kTwo || kReadout);
    add(d, First::first * H, First::gates * H, 0, h, p.mask != nullptr, R, p.dw_hh, same ? nullptr : p.db_hh);
    if constexpr (kReadout) {
        add(d_readout, 0, R, 0, mid, false, H, p.dw_hr, p.db_hr);
    } else if constexpr (kTwo) {
        const int64_t done = First::gates * H;
        add(d, Second::first * H, H, 0, mid, false, H, p.dw_hh ? p.dw_hh + done * R : nullptr,
            p.db_hh ? p.db_hh + done : nullptr);
    }
    const double work = 2.0 * d.size() * First::gates * H * (p.inputs + R);
    const int tasks = work < 1e6 ? 1 : p.threads;
    parallel(tasks, [&](int task) {
        for (const auto& job : jobs) job.add_up(job.count * task / tasks, job.count * (task + 1) / tasks);
    });
    if (same) std::copy_n(p.db_ih, First::gates * H, p.db_hh);
    if (p.tokens && p.dw_ih) token_gradient(d);
}

// dp_i and dp_f see c[t-1], dp_o sees c[t].
template <class T, class First, class Second>
void Recurrence<T, First, Second>::peephole_gradient() const {
    const int64_t H = p.hidden, peeps = First::gates - 1;
    std::fill_n(p.dpeephole, peeps * H, T(0));
    for (int64_t s = 0; s < p.steps; ++s)
        for (int64_t b = 0; b < p.batch; ++b) {
            if (s >= length(b)) continue;
            const T *d = p.dgates + at(b, s) * First::slots * H, *c = p.cells + at(b, s) * H,
                    *before = previous_c(b, s);
            for (int64_t peep = 0; peep < peeps; ++peep) {
                const bool output = peep == peeps - 1;
                const T *da = d + (output ? First::gates - 1 : peep) * H, *seen = output ? c : before;
                T* dp = p.dpeephole + peep * H;
                for (int64_t u = 0; u < H; ++u) dp[u] += da[u] * seen[u];
            }
        }
}

// Calls body with the recurrence of p's cell.
template <class T, class Body>
void with_recurrence(const Problem<T>& p, Body&& body) {
    with_cell<T>(p, [&](auto first, auto second) {
        body(Recurrence<T, decltype(first), decltype(second)>(p, first, second));
    });
}

// What sequences/kernels.cpp lists.
template <class T>
void forward(const Problem<T>& p) {
    with_recurrence(p, [](auto&& recurrence) { recurrence.forward(); });
}

template <class T>
void backward(const Problem<T>& p) {
    with_recurrence(p, [](auto&& recurrence) { recurrence.backward(); });
}

}  // namespace unspool::UNSPOOL_ISA
