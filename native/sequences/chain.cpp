// The kernels of chain.h, compiled once for each instruction set.
//
// A group is as many sequences as a vector has lanes, one in each lane. Its rows are [tag][lane], so that a step needs
// no sum and no maximum across a vector, wastes no lane whatever K is, and has K independent chains of operations. What
// one lane does depends on no other one. Sequences are sorted by length, longest first, so that those of a group end at
// about the same time; a lane whose sequence has ended, or that has none, idles with a length behind it.
//
//     emissions (T, B, K)   ->   e[j] = | e of sequence 0 | e of sequence 1 | ... |     one vector for each tag j
//     sums[j]   =  Σ_i weights[i] factors[i, j]                                        a vector times a number
#include "chain.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "../memory.h"
#include "../simd.h"
#include "../threads.h"

namespace unspool::UNSPOOL_ISA {
namespace {

using V = Vec<double>;
constexpr int64_t L = kLanes<double>;
constexpr double kNever = -std::numeric_limits<double>::infinity();

// The largest exponential of a row is 1, and those below e^-700 are 0. A sum of fewer than 2^60 products which is at
// least this has lost less than its last bit by that.
constexpr double kTrusted = 1e-260;
constexpr int64_t kSmall = 1 << 15;  // multiply-adds that are not worth a second thread
constexpr int64_t kChunk = 8;        // steps whose products for the transitions are summed in registers

// log Σ_k exp(term(k)) as it is written, for the few sums that need it.
template <class Term>
double log_sum(int64_t terms, Term term) {
    double most = kNever, sum = 0;
    for (int64_t k = 0; k < terms; ++k) {
        const double x = term(k);
        if (std::isnan(x)) return x;
        most = std::max(most, x);
    }
    if (most == kNever) return kNever;
    for (int64_t k = 0; k < terms; ++k)
        if (const double x = term(k); x > kNever) sum += std::exp(x - most);
    return most + std::log(sum);
}

int64_t length(const Chain& c, int64_t b) { return c.lengths ? c.lengths[b] : c.steps; }
int64_t at(const Chain& c, int64_t t, int64_t b) { return (t * c.batch + b) * c.tags; }
double emission(const Chain& c, int64_t t, int64_t b, int64_t j) {
    return c.emissions32 ? double(c.emissions32[at(c, t, b) + j]) : c.emissions[at(c, t, b) + j];
}

// Up to L sequences, and the lengths of all lanes, the longest first; those without a sequence have 0.
struct Group {
    int64_t count = 0, steps = 0;
    int64_t sequence[L] = {};
    V lengths{};

    V live(int64_t t) const { return lengths > double(t) ? V{} + 1 : V{}; }
    bool lives(int64_t t, int64_t lane) const { return double(t) < lengths[lane]; }
};

// The sequences, the longest first.
std::vector<int64_t> ordered(const Chain& c) {
    std::vector<int64_t> order(c.batch);
    std::iota(order.begin(), order.end(), 0);
    const auto before = [&](int64_t a, int64_t b) {
        return c.lengths[a] == c.lengths[b] ? a < b : c.lengths[a] > c.lengths[b];
    };
    if (c.lengths) std::sort(order.begin(), order.end(), before);
    return order;
}

Group group_of(const Chain& c, const std::vector<int64_t>& order, int64_t g) {
    Group group;
    for (int64_t k = g * L; k < std::min(c.batch, (g + 1) * L); ++k) {
        group.sequence[group.count] = order[k];
        group.lengths[group.count++] = double(length(c, order[k]));
    }
    group.steps = int64_t(group.lengths[0]);
    return group;
}

// Calls body(group, its number) for all groups; threads take them as they come.
template <class Body>
void each_group(const Chain& c, Body body) {
    const auto order = ordered(c);
    const int64_t groups = (c.batch + L - 1) / L;
    const bool small = c.steps * c.batch * c.tags * c.tags < kSmall;
    std::atomic<int64_t> next{0};
    parallel(small ? 1 : int(std::min<int64_t>(c.threads, groups)), [&](int) {
        for (int64_t g; (g = next++) < groups;) body(group_of(c, order, g), g);
    });
}

// exp(A - top), top being the largest of A: row i has the factors from tag i to each j, or in `reverse` those from each
// j to tag i.
struct Factors {
    const double* transitions;
    const int64_t K, along, across;  // strides of i and j in A
    double top = kNever;
    Buffer<double> values;

    Factors(const double* A, int64_t tags, bool reverse)
        : transitions(A), K(tags), along(reverse ? 1 : tags), across(reverse ? tags : 1), values(K * K) {
        for (int64_t k = 0; k < K * K; ++k) top = std::max(top, A[k]);
        if (top == kNever) top = 0;
        for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < K; ++j) values[i * K + j] = std::exp(at(i, j) - top);
    }
    double at(int64_t i, int64_t j) const { return transitions[i * along + j * across]; }
};

// sums[j] = Σ_i weights[i] factors[i, j] for N tags j.
template <int N>
void multiply(const double* weights, const Factors& f, int64_t j, double* sums) {
    V total[N] = {};
    const double* factors = f.values.data() + j;
    for (int64_t i = 0; i < f.K; ++i, factors += f.K) {
        const V w = load(weights + i * L);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) total[n] += w * factors[n];
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(sums + (j + n) * L, total[n]);
}

// One step of a recursion: logs[j] = log Σ_i exp(row[i] + A_ij) - top, where the largest of `row` is 0. The weights are
// its exponentials, and the sums are left as they are: too small where a logarithm had to be made from the equation.
void step(const Factors& f, const double* row, double* weights, double* sums, double* logs) {
    const int64_t K = f.K;
    for (int64_t i = 0; i < K; ++i) store(weights + i * L, exp_of_negative(load(row + i * L)));
    int64_t j = 0;
    for (; j + 8 <= K; j += 8) multiply<8>(weights, f, j, sums);
    if (K - j >= 4) multiply<4>(weights, f, j, sums), j += 4;
    if (K - j >= 2) multiply<2>(weights, f, j, sums), j += 2;
    if (K - j == 1) multiply<1>(weights, f, j, sums);
    V least = broadcast(1.0);
    for (j = 0; j < K; ++j) {
        const V s = load(sums + j * L);
        least = s < least ? s : least;
        store(logs + j * L, ln(s));
    }
    for (int64_t lane = 0; lane < L; ++lane)
        for (j = 0; least[lane] < kTrusted && j < K; ++j)
            if (const int64_t at = j * L + lane; sums[at] < kTrusted)
                logs[at] = log_sum(K, [&](int64_t i) { return row[i * L + lane] + f.at(i, j); }) - f.top;
}

// Subtracts the largest element of each lane, which is returned; a row of -∞ stays, and gives 0.
V normalise(double* row, int64_t K) {
    V most = load(row);
    for (int64_t j = 1; j < K; ++j) {
        const V x = load(row + j * L);
        most = x > most ? x : most;
    }
    most = most == kNever ? V{} : most;
    for (int64_t j = 0; j < K; ++j) store(row + j * L, load(row + j * L) - most);
    return most;
}

// Rows of one group.
struct Rows {
    const int64_t K;
    Buffer<double> memory;
    double *emission, *alpha, *beta, *row, *weights, *sums, *logs, *other;

    explicit Rows(const Chain& c) : K(c.tags), memory(8 * K * L) {
        double* next = memory.data();
        for (double** one : {&emission, &alpha, &beta, &row, &weights, &sums, &logs, &other}) {
            *one = next;
            next += K * L;
        }
    }
    // e_t of a group's sequences; 0 where a sequence has ended, whatever lies in the padding.
    void fetch(const Chain& c, const Group& group, int64_t t) {
        for (int64_t lane = 0; lane < L; ++lane) {
            double* to = emission + lane;
            if (!group.lives(t, lane))
                for (int64_t j = 0; j < K; ++j) to[j * L] = 0;
            else if (const int64_t from = at(c, t, group.sequence[lane]); c.emissions32)
                for (int64_t j = 0; j < K; ++j) to[j * L] = c.emissions32[from + j];
            else
                for (int64_t j = 0; j < K; ++j) to[j * L] = c.emissions[from + j];
        }
    }
};

// Writes the lanes of a row into the sequences' gradients of e_t; 0 where one has ended.
template <class Number>
void put(Number* out, const Chain& c, const Group& group, int64_t t, const double* row) {
    for (int64_t lane = 0; lane < group.count; ++lane) {
        Number* to = out + at(c, t, group.sequence[lane]);
        const bool live = group.lives(t, lane);
        for (int64_t j = 0; j < c.tags; ++j) to[j] = live ? Number(row[j * L + lane]) : Number(0);
    }
}

// The forward recursion: log Z of each lane. visit(t, shift) sees α_t in r.row, less its largest element, and what was
// subtracted more than at the step before; behind the end of a sequence the row stays.
template <class Visit>
V alphas(const Chain& c, const Factors& f, Rows& r, const Group& group, Visit visit) {
    const int64_t K = c.tags;
    r.fetch(c, group, 0);
    for (int64_t j = 0; j < K; ++j) store(r.row + j * L, load(r.emission + j * L) + c.start[j]);
    V total = normalise(r.row, K);
    visit(0, total);
    for (int64_t t = 1; t < group.steps; ++t) {
        step(f, r.row, r.weights, r.sums, r.logs);
        r.fetch(c, group, t);
        for (int64_t j = 0; j < K; ++j) store(r.logs + j * L, load(r.logs + j * L) + load(r.emission + j * L));
        const V live = group.live(t), shift = normalise(r.logs, K) + f.top;
        for (int64_t j = 0; j < K; ++j) store(r.row + j * L, live > 0 ? load(r.logs + j * L) : load(r.row + j * L));
        total = live > 0 ? total + shift : total;
        visit(t, shift);
    }
    for (int64_t j = 0; j < K; ++j) store(r.logs + j * L, load(r.row + j * L) + c.end[j]);
    total += normalise(r.logs, K);
    V sum{};
    for (int64_t j = 0; j < K; ++j) sum += exp_of_negative(load(r.logs + j * L));
    return sum == 0 ? broadcast(kNever) : total + ln(sum);
}

// The backward recursion. visit(t) sees in r.beta β_t less a constant of the step, in r.sums its exponential where that
// can be trusted, and in r.row and r.weights e_t+1 + β_t+1 and its exponential, less another constant. At the last step
// of a sequence β is `end`, and there is no t + 1.
template <class Visit>
void betas(const Chain& c, const Factors& f, Rows& r, const Group& group, Visit visit) {
    const int64_t K = c.tags;
    Buffer<double> last(2 * K);  // β at the last step, and its exponential
    const double most = *std::max_element(c.end, c.end + K);
    for (int64_t j = 0; j < K; ++j) last[j] = most == kNever ? kNever : c.end[j] - most;
    for (int64_t j = 0; j < K; ++j) last[K + j] = exp_of_negative(broadcast(last[j]))[0];
    std::fill_n(r.row, K * L, 0.0);
    std::fill_n(r.weights, K * L, 0.0);
    for (int64_t t = group.steps - 1; t >= 0; --t) {
        const V live = group.live(t + 1);
        if (t + 1 < group.steps) {
            r.fetch(c, group, t + 1);
            for (int64_t j = 0; j < K; ++j) store(r.row + j * L, load(r.emission + j * L) + load(r.beta + j * L));
            normalise(r.row, K);
            step(f, r.row, r.weights, r.sums, r.beta);
        }
        for (int64_t j = 0; j < K; ++j) {
            store(r.beta + j * L, live > 0 ? load(r.beta + j * L) : broadcast(last[j]));
            store(r.sums + j * L, live > 0 ? load(r.sums + j * L) : broadcast(last[K + j]));
        }
        visit(t);
    }
}

// s(labels) of sequence b.
double score(const Chain& c, int64_t b) {
    const int64_t n = length(c, b);
    double out = 0;
    for (int64_t t = 0, before = -1; t < n; ++t) {
        const int64_t y = c.labels[t * c.batch + b];
        out += t == 0 ? c.start[y] : c.transitions[before * c.tags + y];
        out += emission(c, t, b, y);
        if (t == n - 1) out += c.end[y];
        before = y;
    }
    return out;
}

// to[i, j] += Σ_s a[s][i] b[s][j] for a tile of M by N pairs of tags and some steps s, of rows [tag][lane].
template <int M, int N>
void add_tile(double* to, int64_t K, const double* a, const double* b, int64_t steps) {
    V total[M][N];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) total[m][n] = load(to + (m * K + n) * L);
    for (int64_t s = 0; s < steps; ++s, a += K * L, b += K * L)
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
            const V w = load(a + m * L);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) total[m][n] += w * load(b + n * L);
        }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) store(to + (m * K + n) * L, total[m][n]);
}

template <int M>
void add_rows(double* to, int64_t K, const double* a, const double* b, int64_t steps) {
    int64_t j = 0;
    for (; j + 4 <= K; j += 4) add_tile<M, 4>(to + j * L, K, a, b + j * L, steps);
    for (; j < K; ++j) add_tile<M, 1>(to + j * L, K, a, b + j * L, steps);
}

// What one group adds to the gradients of the potentials,
//     dA[i, j] = Σ_t ξ_t[i, j],    ξ_t[i, j] = exp(α_t[i] + A[i, j] + e_t+1[j] + β_t+1[j]) / Z
// in which exp(A) is the same for all t and is left out till the end. `others` has the steps that were made from the
// equation, and the labels.
class Gradients {
    const int64_t K_;
    Buffer<double> products_, chunk_;  // (K, K, L); the exponentials of α and of e + β, divided by Z, (2, kChunk, K, L)
    int64_t steps_ = 0;

    void flush() {
        constexpr int M = UNSPOOL_REGISTERS >= 32 ? 4 : 2;
        const double *a = alpha(0), *b = beta(0);
        int64_t i = 0;
        for (; i + M <= K_; i += M) add_rows<M>(products_.data() + i * K_ * L, K_, a + i * L, b, steps_);
        for (; i < K_; ++i) add_rows<1>(products_.data() + i * K_ * L, K_, a + i * L, b, steps_);
        steps_ = 0;
    }
    double* alpha(int64_t s) { return chunk_.data() + s * K_ * L; }
    double* beta(int64_t s) { return alpha(kChunk + s); }

  public:
    double *others, *start, *end;

    Gradients(int64_t K, double* memory)
        : K_(K),
          products_(K * K * L),
          chunk_(2 * kChunk * K * L),
          others(memory),
          start(memory + K * K),
          end(start + K) {
        products_.zero();
        std::fill_n(memory, size(K), 0.0);
    }
    static int64_t size(int64_t K) { return K * K + 2 * K; }

    // Of one step; weights that are to count are multiplied by scale.
    void add(const double* alphas, const double* weights, V scale) {
        std::memcpy(alpha(steps_), alphas, K_ * L * sizeof(double));
        double* to = beta(steps_);
        for (int64_t j = 0; j < K_; ++j) store(to + j * L, scale == 0 ? V{} : load(weights + j * L) * scale);
        if (++steps_ == kChunk) flush();
    }

    void finish(const Factors& reverse) {
        flush();
        for (int64_t i = 0; i < K_; ++i)
            for (int64_t j = 0; j < K_; ++j) {
                double sum = 0;
                for (int64_t lane = 0; lane < L; ++lane) sum += products_[(i * K_ + j) * L + lane];
                others[i * K_ + j] += sum * reverse.values[j * K_ + i];
            }
    }
};

// The gradients of Σ_lane d log Z at step t: those of e are d p(y_t), and go into r.other. With both recursions'
// exponentials p(y_t) = exp(α) exp(β) / norm, and the same norm serves ξ. A lane whose norm is too small to be trusted
// is made from the equations.
void posterior(const Factors& f, Rows& r, const Group& group, int64_t t, V d, Gradients* sums) {
    const int64_t K = r.K;
    double* alphas = r.logs;  // the exponentials
    V norm{};
    for (int64_t j = 0; j < K; ++j) {
        const V a = exp_of_negative(load(r.alpha + j * L));
        store(alphas + j * L, a);
        norm += a * load(r.sums + j * L);
    }
    const V good = norm >= kTrusted ? group.live(t) : V{}, follows = group.live(t + 1);
    const V scale = good > 0 ? d / norm : V{};
    for (int64_t j = 0; j < K; ++j) store(r.other + j * L, load(alphas + j * L) * load(r.sums + j * L) * scale);
    if (sums) sums->add(alphas, r.weights, follows > 0 ? scale : V{});
    for (int64_t lane = 0; lane < group.count; ++lane) {
        if (good[lane] > 0 || !group.lives(t, lane)) continue;
        const auto share = [&](double log, double all) { return all == kNever ? 0 : d[lane] * std::exp(log - all); };
        const auto log = [&](int64_t j) { return r.alpha[j * L + lane] + r.beta[j * L + lane]; };
        const double all = log_sum(K, log);
        for (int64_t j = 0; j < K; ++j) r.other[j * L + lane] = share(log(j), all);
        if (!sums || !group.lives(t + 1, lane)) continue;
        const auto pair = [&](int64_t k) {
            return r.alpha[k / K * L + lane] + f.transitions[k] + r.row[k % K * L + lane];
        };
        const double both = log_sum(K * K, pair);
        for (int64_t k = 0; k < K * K; ++k) sums->others[k] += share(pair(k), both);
    }
}

// Takes the labels' part from the gradients of a step.
void subtract_labels(const Chain& c, Rows& r, const Group& group, int64_t t, V d, Gradients* sums) {
    for (int64_t lane = 0; lane < group.count; ++lane) {
        if (!group.lives(t, lane)) continue;
        const int64_t* y = c.labels + t * c.batch + group.sequence[lane];
        r.other[y[0] * L + lane] -= d[lane];
        if (sums && group.lives(t + 1, lane)) sums->others[y[0] * c.tags + y[c.batch]] -= d[lane];
    }
}

// The gradients of the first and of the last potentials.
void add_borders(Rows& r, const Group& group, int64_t t, Gradients& sums) {
    for (int64_t lane = 0; lane < group.count; ++lane) {
        if (!group.lives(t, lane)) continue;
        for (int64_t j = 0; t == 0 && j < r.K; ++j) sums.start[j] += r.other[j * L + lane];
        for (int64_t j = 0; !group.lives(t + 1, lane) && j < r.K; ++j) sums.end[j] += r.other[j * L + lane];
    }
}

// The N best paths of a sequence. Row r of `scores` has, for each tag, the r-th best of the paths that end there; of
// equal ones the one with the lower tag before comes first. The best row is made by vectors, the others one by one.
class Paths {
    const Chain& c_;
    const int64_t K_, W_, N_;
    const double* A_;                // (K, W), behind its columns -∞
    Buffer<double> scores_, next_;   // (N, W)
    Buffer<int32_t> before_, used_;  // (T, N, K): tag · N + row of the path before, -1 where there is none; (K)

    // Takes the best path not yet taken, r = first .. N-1 times, each having a further weight(i) if it ends at tag i.
    template <class Weight, class Take>
    void take(int64_t first, Weight weight, Take result) {
        for (int64_t r = first; r < N_; ++r) {
            double best = kNever;
            int64_t from = -1;
            for (int64_t i = 0; i < K_; ++i) {
                if (used_[i] == N_) continue;
                const double s = scores_[used_[i] * W_ + i] + weight(i);
                if (s > best) best = s, from = i;
            }
            result(r, best, from < 0 ? -1 : from * N_ + used_[from]++);
        }
    }

    void extend(int64_t t, int64_t b) {
        int32_t* before = before_.data() + t * N_ * K_;
        for (int64_t j0 = 0; j0 < W_; j0 += L) {
            V best = broadcast(kNever), from = broadcast(-1.0);
            for (int64_t i = 0; i < K_; ++i) {
                const V s = scores_[i] + load(A_ + i * W_ + j0);
                from = s > best ? broadcast(double(i)) : from;
                best = s > best ? s : best;
            }
            for (int64_t j = j0; j < std::min(j0 + L, K_); ++j) {
                const auto i = int64_t(from[j - j0]);
                const double e = emission(c_, t, b, j);
                next_[j] = best[j - j0] + e;
                before[j] = i < 0 ? -1 : int32_t(i * N_);
                if (N_ == 1) continue;
                std::fill_n(used_.data(), K_, 0);
                if (i >= 0) used_[i] = 1;
                take(
                    1, [&](int64_t k) { return A_[k * W_ + j]; },
                    [&](int64_t r, double s, int64_t path) {
                        next_[r * W_ + j] = s + e;
                        before[r * K_ + j] = int32_t(path);
                    });
            }
        }
        for (int64_t k = 0; k < N_ * W_; ++k) scores_[k] = next_[k];
    }

  public:
    static int64_t width(int64_t K) { return (K + L - 1) / L * L; }

    Paths(const Chain& c, const double* A)
        : c_(c),
          K_(c.tags),
          W_(width(K_)),
          N_(c.paths),
          A_(A),
          scores_(N_ * W_),
          next_(N_ * W_),
          before_(c.steps * N_ * K_),
          used_(K_) {
        std::fill_n(next_.data(), N_ * W_, kNever);
    }

    void run(int64_t b) {
        const int64_t n = length(c_, b);
        for (int64_t t = 0; t < c_.steps; ++t) std::fill_n(c_.best + (t * c_.batch + b) * N_, N_, -1);
        double* out = c_.scores + b * N_;
        std::fill_n(out, N_, kNever);
        if (n == 0) return void(out[0] = 0);
        std::fill_n(scores_.data(), N_ * W_, kNever);
        for (int64_t j = 0; j < K_; ++j) scores_[j] = c_.start[j] + emission(c_, 0, b, j);
        for (int64_t t = 1; t < n; ++t) extend(t, b);
        std::fill_n(used_.data(), K_, 0);
        take(
            0, [&](int64_t i) { return c_.end[i]; },
            [&](int64_t r, double s, int64_t path) {
                out[r] = s;
                for (int64_t t = n - 1; path >= 0; --t) {
                    c_.best[(t * c_.batch + b) * N_ + r] = path / N_;
                    path = t > 0 ? before_[(t * N_ + path % N_) * K_ + path / N_] : -1;
                }
            });
    }
};

// The probability of one span, from both recursions of its group, [step][tag][lane], and the shifts of the first.
// Within the span the forward recursion runs on over the tags of the sets alone (Culotta & McCallum 2004):
//     f_t[j] = α_t[j] where the set has j at the first step; then e_t[j] + log Σ_i exp(f_t-1[i] + A[i, j])
//     p = Σ_j exp(f_t[j] + β_t[j]) / Σ_j exp(α_t[j] + β_t[j])        at the last step
double span(const Chain& c, int64_t s, int64_t b, const double* alpha, const double* beta, const double* shifts) {
    const int64_t K = c.tags, first = c.first_step[s], steps = c.first_set[s + 1] - c.first_set[s];
    const std::uint8_t* set = c.sets + c.first_set[s] * K;
    std::vector<double> f(K), next(K);
    for (int64_t j = 0; j < K; ++j) f[j] = set[j] ? alpha[(first * K + j) * L] : kNever;
    for (int64_t t = first + 1; t < first + steps; ++t) {
        set += K;
        for (int64_t j = 0; j < K; ++j) {
            const auto term = [&](int64_t i) { return f[i] + c.transitions[i * K + j]; };
            next[j] = set[j] ? log_sum(K, term) + emission(c, t, b, j) - shifts[t * L] : kNever;
        }
        f.swap(next);
    }
    const double *a = alpha + (first + steps - 1) * K * L, *after = beta + (first + steps - 1) * K * L;
    const double inside = log_sum(K, [&](int64_t j) { return f[j] + after[j * L]; });
    const double all = log_sum(K, [&](int64_t j) { return a[j * L] + after[j * L]; });
    return inside == kNever ? 0 : std::min(std::exp(inside - all), 1.0);
}

}  // namespace

void chain_forward(const Chain& c) {
    const Factors f(c.transitions, c.tags, false);
    const int64_t size = c.tags * L;
    each_group(c, [&](const Group& group, int64_t g) {
        Rows r(c);
        const V log_z = alphas(c, f, r, group, [&](int64_t t, V) {
            if (c.alpha) std::memcpy(c.alpha + (g * c.steps + t) * size, r.row, size * sizeof(double));
        });
        for (int64_t lane = 0; lane < group.count; ++lane) {
            const int64_t b = group.sequence[lane];
            c.value[b] = group.lives(0, lane) ? log_z[lane] - (c.labels ? score(c, b) : 0) : 0;
        }
    });
}

void chain_backward(const Chain& c) {
    const int64_t K = c.tags, groups = (c.batch + L - 1) / L, size = Gradients::size(K);
    const Factors f(c.transitions, K, true);
    Buffer<double> memory(c.dtransitions ? groups * size : 0);
    each_group(c, [&](const Group& group, int64_t g) {
        Rows r(c);
        std::optional<Gradients> own;
        if (c.dtransitions) own.emplace(K, memory.data() + g * size);
        Gradients* sums = own ? &*own : nullptr;
        V d{};
        for (int64_t lane = 0; lane < group.count; ++lane) d[lane] = c.dvalue[group.sequence[lane]];
        const auto write = [&](int64_t t) {
            c.demissions32 ? put(c.demissions32, c, group, t, r.other) : put(c.demissions, c, group, t, r.other);
        };
        for (int64_t t = group.steps; t < c.steps; ++t) write(t);
        betas(c, f, r, group, [&](int64_t t) {
            std::memcpy(r.alpha, c.kept + (g * c.steps + t) * K * L, K * L * sizeof(double));
            posterior(f, r, group, t, d, sums);
            if (c.labels) subtract_labels(c, r, group, t, d, sums);
            write(t);
            if (sums) add_borders(r, group, t, *sums);
        });
        if (sums) sums->finish(f);
    });
    if (!c.dtransitions) return;
    double* const outputs[] = {c.dtransitions, c.dstart, c.dend};
    const int64_t sizes[] = {K * K, K, K};
    for (int64_t n = 0, from = 0; n < 3; from += sizes[n++])
        for (int64_t k = 0; k < sizes[n]; ++k) {
            double sum = 0;
            for (int64_t g = 0; g < groups; ++g) sum += memory[g * size + from + k];
            outputs[n][k] = sum;
        }
}

void chain_best(const Chain& c) {
    const int64_t K = c.tags, W = Paths::width(K);
    Buffer<double> A(K * W);
    for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < W; ++j) A[i * W + j] = j < K ? c.transitions[i * K + j] : kNever;
    each_group(c, [&](const Group& group, int64_t) {
        Paths paths(c, A.data());
        for (int64_t lane = 0; lane < group.count; ++lane) paths.run(group.sequence[lane]);
    });
}

void chain_spans(const Chain& c) {
    const int64_t K = c.tags;
    const Factors f(c.transitions, K, false), reverse(c.transitions, K, true);
    each_group(c, [&](const Group& group, int64_t) {
        int64_t spans = 0;
        for (int64_t lane = 0; lane < group.count; ++lane)
            spans += c.first_span[group.sequence[lane] + 1] - c.first_span[group.sequence[lane]];
        if (spans == 0) return;
        Rows r(c);
        Buffer<double> alpha(group.steps * K * L), beta(group.steps * K * L), shifts(group.steps * L);
        const auto keep = [&](Buffer<double>& to, int64_t t, const double* row) {
            std::memcpy(to.data() + t * K * L, row, K * L * sizeof(double));
        };
        alphas(c, f, r, group, [&](int64_t t, V shift) {
            keep(alpha, t, r.row);
            store(shifts.data() + t * L, shift);
        });
        betas(c, reverse, r, group, [&](int64_t t) { keep(beta, t, r.beta); });
        for (int64_t lane = 0; lane < group.count; ++lane) {
            const int64_t b = group.sequence[lane];
            for (int64_t s = c.first_span[b]; s < c.first_span[b + 1]; ++s)
                c.probability[s] = span(c, s, b, alpha.data() + lane, beta.data() + lane, shifts.data() + lane);
        }
    });
}

}  // namespace unspool::UNSPOOL_ISA
