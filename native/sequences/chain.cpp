// The kernels of chain.h, compiled once for each instruction set. Rows of K numbers are worked on in rows of W, K rounded
// up to whole vectors; the numbers between are logarithms of 0, or factors that only such ones meet.
#include "chain.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "../memory.h"
#include "../simd.h"
#include "../threads.h"

namespace unspool::UNSPOOL_ISA {
namespace {

using V = Vec<double>;
constexpr int64_t kWidth = kLanes<double>;
constexpr double kNever = -std::numeric_limits<double>::infinity();

// The largest exponential of a row is 1, and those below e^-700 are 0. A sum of fewer than 2^60 products which is at
// least this has lost less than its last bit by that.
constexpr double kTrusted = 1e-260;
constexpr int64_t kGroup = 8;        // sequences whose transitions' gradients are summed together
constexpr int64_t kSmall = 1 << 15;  // multiply-adds that are not worth a second thread

int64_t padded(int64_t K) { return (K + kWidth - 1) / kWidth * kWidth; }

double highest(const double* row, int64_t W) {
    V most = load(row);
    for (int64_t j = kWidth; j < W; j += kWidth) {
        const V x = load(row + j);
        most = x > most ? x : most;
    }
    double out = most[0];
    for (int lane = 1; lane < kWidth; ++lane) out = std::max(out, double(most[lane]));
    return out;
}

double sum_of(V v) {
    double out = v[0];
    for (int lane = 1; lane < kWidth; ++lane) out += v[lane];
    return out;
}

// Subtracts the largest element, which is returned; a row of -∞ stays, and gives 0.
double normalise(double* row, int64_t W) {
    double most = highest(row, W);
    if (most == kNever) most = 0;
    for (int64_t j = 0; j < W; j += kWidth) store(row + j, load(row + j) - most);
    return most;
}

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

// exp(A - top), top being the largest of A: row i has the factors from tag i to each j, or in `reverse` those from each
// j to tag i.
struct Factors {
    const double* transitions;
    const int64_t K, W, along, across;  // strides of i and j in A
    double top = kNever;
    Buffer<double> values;

    Factors(const double* A, int64_t tags, bool reverse)
        : transitions(A), K(tags), W(padded(tags)), along(reverse ? 1 : tags), across(reverse ? tags : 1),
          values(K * W) {
        for (int64_t k = 0; k < K * K; ++k) top = std::max(top, A[k]);
        if (top == kNever) top = 0;
        for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < W; ++j) values[i * W + j] = j < K ? std::exp(at(i, j) - top) : 1;
    }
    double at(int64_t i, int64_t j) const { return transitions[i * along + j * across]; }
};

// sums[j] = Σ_i weights[i] factors[i, j], for N vectors of j. Even and odd i have sums of their own, as a multiply-add
// takes four cycles, and two can begin in each.
template <int N>
void multiply(const double* weights, const Factors& f, int64_t j, double* sums) {
    V even[N] = {}, odd[N] = {};
    const double* row = f.values.data() + j;
    int64_t i = 0;
    for (; i + 2 <= f.K; i += 2, row += 2 * f.W) {
        const V a = broadcast(weights[i]), b = broadcast(weights[i + 1]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) even[n] += a * load(row + n * kWidth);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) odd[n] += b * load(row + f.W + n * kWidth);
    }
    for (int n = 0; n < N; ++n) {
        if (i < f.K) even[n] += broadcast(weights[i]) * load(row + n * kWidth);
        store(sums + j + n * kWidth, even[n] + odd[n]);
    }
}

// One step of a recursion: logs[j] = log Σ_i exp(row[i] + A_ij) - top, where the largest of `row` is 0. The weights are
// its exponentials, and the sums are left as they are: too small where a logarithm had to be made from the equation.
void step(const Factors& f, const double* row, double* weights, double* sums, double* logs) {
    for (int64_t i = 0; i < f.W; i += kWidth) store(weights + i, exp_of_negative(load(row + i)));
    int64_t j = 0;
    for (; j + 4 * kWidth <= f.W; j += 4 * kWidth) multiply<4>(weights, f, j, sums);
    if (const auto left = (f.W - j) / kWidth; left == 3) multiply<3>(weights, f, j, sums);
    else if (left == 2) multiply<2>(weights, f, j, sums);
    else if (left == 1) multiply<1>(weights, f, j, sums);
    V least = broadcast(1.0);
    for (j = 0; j < f.W; j += kWidth) {
        const V s = load(sums + j);
        least = s < least ? s : least;
        store(logs + j, ln(s));
    }
    bool trusted = true;
    for (int lane = 0; lane < kWidth; ++lane) trusted &= !(least[lane] < kTrusted);
    for (j = 0; !trusted && j < f.K; ++j)
        if (sums[j] < kTrusted) logs[j] = log_sum(f.K, [&](int64_t i) { return row[i] + f.at(i, j); }) - f.top;
}

// Rows of one thread. What lies behind the K-th element of the first four is never written but by vectors, and is the
// logarithm of 0; elsewhere it is whatever these make of it.
struct Rows {
    const int64_t K, W;
    Buffer<double> memory;
    double *emission, *border, *alpha, *beta, *row, *weights, *sums, *logs, *other;

    explicit Rows(const Chain& c) : K(c.tags), W(padded(c.tags)), memory(9 * W) {
        double** all[] = {&emission, &border, &alpha, &beta, &row, &weights, &sums, &logs, &other};
        double* next = memory.data();
        for (double** one : all) *one = std::exchange(next, next + W);
        std::fill_n(memory.data(), 9 * W, kNever);
    }
    // Into one of the rows, leaving what lies behind it.
    void copy(double* to, const double* from) const { std::memcpy(to, from, K * sizeof(double)); }
    void add(double* to, const double* a, const double* b) const {
        for (int64_t j = 0; j < W; j += kWidth) store(to + j, load(a + j) + load(b + j));
    }
};

int64_t length(const Chain& c, int64_t b) { return c.lengths ? c.lengths[b] : c.steps; }
int64_t at(const Chain& c, int64_t t, int64_t b) { return t * c.batch + b; }
const double* emission(const Chain& c, int64_t t, int64_t b) { return c.emissions + at(c, t, b) * c.tags; }

// The forward recursion of sequence b, which has a length of 1 at least: log Z. visit(t, shift) sees α_t in rows.row,
// less its largest element, and what was subtracted more than at the step before.
template <class Visit>
double alphas(const Chain& c, const Factors& f, Rows& r, int64_t b, Visit visit) {
    const int64_t n = length(c, b);
    r.copy(r.emission, emission(c, 0, b));
    r.copy(r.border, c.start);
    r.add(r.row, r.emission, r.border);
    double total = normalise(r.row, r.W);
    visit(0, total);
    for (int64_t t = 1; t < n; ++t) {
        step(f, r.row, r.weights, r.sums, r.logs);
        r.copy(r.emission, emission(c, t, b));
        r.add(r.row, r.logs, r.emission);
        const double shift = f.top + normalise(r.row, r.W);
        total += shift;
        visit(t, shift);
    }
    r.copy(r.border, c.end);
    r.add(r.row, r.row, r.border);
    return total + log_sum(r.K, [&](int64_t j) { return r.row[j]; });
}

// The backward recursion. visit(t) sees in r.beta β_t less a constant of the step, in r.sums its exponential where that
// can be trusted, and from the last step but one on, in r.row and r.weights, e_t+1 + β_t+1 and its exponential, less
// another constant.
template <class Visit>
void betas(const Chain& c, const Factors& f, Rows& r, int64_t b, Visit visit) {
    const int64_t n = length(c, b);
    r.copy(r.beta, c.end);
    normalise(r.beta, r.W);
    for (int64_t j = 0; j < r.W; j += kWidth) store(r.sums + j, exp_of_negative(load(r.beta + j)));
    visit(n - 1);
    for (int64_t t = n - 2; t >= 0; --t) {
        r.copy(r.emission, emission(c, t + 1, b));
        r.add(r.row, r.emission, r.beta);
        normalise(r.row, r.W);
        step(f, r.row, r.weights, r.sums, r.logs);
        r.copy(r.beta, r.logs);
        visit(t);
    }
}

// Calls body(group, first, end) for the sequences of each group; threads take the groups as they come.
template <class Body>
void each_group(const Chain& c, Body body) {
    const int64_t groups = (c.batch + kGroup - 1) / kGroup;
    const bool small = c.steps * c.batch * c.tags * c.tags < kSmall;
    std::atomic<int64_t> next{0};
    parallel(small ? 1 : int(std::min<int64_t>(c.threads, groups)), [&](int) {
        for (int64_t g; (g = next++) < groups;) body(g, g * kGroup, std::min(c.batch, (g + 1) * kGroup));
    });
}

// Calls body(rows, group, b) for each sequence b, those of a group in their order.
template <class Body>
void each_sequence(const Chain& c, Body body) {
    each_group(c, [&](int64_t group, int64_t first, int64_t end) {
        Rows rows(c);
        for (int64_t b = first; b < end; ++b) body(rows, group, b);
    });
}

// s(labels) of sequence b.
double score(const Chain& c, int64_t b) {
    const int64_t n = length(c, b);
    double out = c.start[c.labels[b]];
    for (int64_t t = 0; t < n; ++t) {
        const int64_t y = c.labels[at(c, t, b)];
        if (t > 0) out += c.transitions[c.labels[at(c, t - 1, b)] * c.tags + y];
        out += emission(c, t, b)[y];
    }
    return out + c.end[c.labels[at(c, n - 1, b)]];
}

// The sums of a group of sequences for the gradients of the transitions,
//     dA[i, j] = Σ_t ξ_t[i, j],    ξ_t[i, j] = exp(α_t[i] + A[i, j] + e_t+1[j] + β_t+1[j]) / Z
// in which exp(A) is the same for all t and is left out of `products` till the end; `others` has the steps that were
// made from the equation, and the labels.
struct Gradients {
    const int64_t W, size;
    double *products, *others, *start, *end;

    Gradients(int64_t K, double* memory)
        : W(padded(K)), size((2 * K + 2) * W), products(memory), others(memory + K * W), start(memory + 2 * K * W),
          end(start + W) {}
};

// The gradients of dvalue log Z at step t of sequence b: those of e are d p(y_t). With both recursions' exponentials
// p(y_t) = exp(α) exp(β) / norm, and norm serves ξ, too. Into r.other they go.
void posterior(const Factors& f, Rows& r, double d, bool pairs, const Gradients& sums) {
    const int64_t K = r.K, W = r.W;
    double* alphas = r.logs;  // the exponentials
    V norms{};
    for (int64_t j = 0; j < W; j += kWidth) {
        const V a = exp_of_negative(load(r.alpha + j));
        store(alphas + j, a);
        norms += a * load(r.sums + j);
    }
    if (const double norm = sum_of(norms); norm >= kTrusted) {
        const double scale = d / norm;
        for (int64_t j = 0; j < W; j += kWidth)
            store(r.other + j, load(alphas + j) * load(r.sums + j) * scale);
        if (!pairs) return;
        for (int64_t j = 0; j < W; j += kWidth) {
            const V w = load(r.weights + j) * scale;
            double* to = sums.products + j;
            for (int64_t i = 0; i < K; ++i, to += W) store(to, load(to) + alphas[i] * w);
        }
        return;
    }
    const auto probability = [d](double log, double all) { return all == kNever ? 0 : d * std::exp(log - all); };
    const double all = log_sum(K, [&](int64_t j) { return r.alpha[j] + r.beta[j]; });
    for (int64_t j = 0; j < K; ++j) r.other[j] = probability(r.alpha[j] + r.beta[j], all);
    if (!pairs) return;
    const auto log = [&](int64_t k) { return r.alpha[k / K] + f.transitions[k] + r.row[k % K]; };
    const double both = log_sum(K * K, log);
    for (int64_t k = 0; k < K * K; ++k) sums.others[k / K * W + k % K] += probability(log(k), both);
}

// The N best paths of a sequence. Row r of `scores` has, for each tag, the r-th best of the paths that end there; of equal
// ones the one with the lower tag before comes first. The best row is made by vectors, the others one by one.
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

    void extend(int64_t t, const double* e) {
        int32_t* before = before_.data() + t * N_ * K_;
        for (int64_t j0 = 0; j0 < W_; j0 += kWidth) {
            V best = broadcast(kNever), from = broadcast(-1.0);
            for (int64_t i = 0; i < K_; ++i) {
                const V s = scores_[i] + load(A_ + i * W_ + j0);
                from = s > best ? broadcast(double(i)) : from;
                best = s > best ? s : best;
            }
            for (int64_t j = j0; j < std::min(j0 + kWidth, K_); ++j) {
                const auto i = int64_t(from[j - j0]);
                next_[j] = best[j - j0] + e[j];
                before[j] = i < 0 ? -1 : int32_t(i * N_);
                if (N_ == 1) continue;
                std::fill_n(used_.data(), K_, 0);
                if (i >= 0) used_[i] = 1;
                take(1, [&](int64_t k) { return A_[k * W_ + j]; },
                     [&](int64_t r, double s, int64_t path) {
                         next_[r * W_ + j] = s + e[j];
                         before[r * K_ + j] = int32_t(path);
                     });
            }
        }
        for (int64_t k = 0; k < N_ * W_; ++k) scores_[k] = next_[k];
    }

  public:
    Paths(const Chain& c, const double* A)
        : c_(c), K_(c.tags), W_(padded(K_)), N_(c.paths), A_(A), scores_(N_ * W_), next_(N_ * W_),
          before_(c.steps * N_ * K_), used_(K_) {
        std::fill_n(next_.data(), N_ * W_, kNever);
    }

    void run(int64_t b) {
        const int64_t n = length(c_, b);
        for (int64_t t = 0; t < c_.steps; ++t) std::fill_n(c_.best + at(c_, t, b) * N_, N_, -1);
        double* out = c_.scores + b * N_;
        std::fill_n(out, N_, kNever);
        if (n == 0) return void(out[0] = 0);
        std::fill_n(scores_.data(), N_ * W_, kNever);
        for (int64_t j = 0; j < K_; ++j) scores_[j] = c_.start[j] + emission(c_, 0, b)[j];
        for (int64_t t = 1; t < n; ++t) extend(t, emission(c_, t, b));
        std::fill_n(used_.data(), K_, 0);
        take(0, [&](int64_t i) { return c_.end[i]; },
             [&](int64_t r, double s, int64_t path) {
                 out[r] = s;
                 for (int64_t t = n - 1; path >= 0; --t) {
                     c_.best[at(c_, t, b) * N_ + r] = path / N_;
                     path = t > 0 ? before_[(t * N_ + path % N_) * K_ + path / N_] : -1;
                 }
             });
    }
};

// The probability of one span of sequence b, from the rows of both its recursions, (n, K), and the shifts of the first.
// Within the span the forward recursion runs on over the tags of the sets alone (Culotta & McCallum 2004):
//     f_t[j] = α_t[j] where the set has j at the first step; then e_t[j] + log Σ_i exp(f_t-1[i] + A[i, j])
//     p = Σ_j exp(f_t[j] + β_t[j]) / Σ_j exp(α_t[j] + β_t[j])        at the last step
double span(const Chain& c, int64_t s, int64_t b, const double* alpha, const double* beta, const double* shifts,
            Rows& r) {
    const int64_t K = c.tags, first = c.first_step[s], steps = c.first_set[s + 1] - c.first_set[s];
    const std::uint8_t* set = c.sets + c.first_set[s] * K;
    double *f = r.row, *next = r.logs;
    for (int64_t j = 0; j < K; ++j) f[j] = set[j] ? alpha[first * K + j] : kNever;
    for (int64_t t = first + 1; t < first + steps; ++t) {
        set += K;
        for (int64_t j = 0; j < K; ++j) {
            const auto term = [&](int64_t i) { return f[i] + c.transitions[i * K + j]; };
            next[j] = set[j] ? log_sum(K, term) + emission(c, t, b)[j] - shifts[t] : kNever;
        }
        std::swap(f, next);
    }
    const int64_t last = (first + steps - 1) * K;
    const double inside = log_sum(K, [&](int64_t j) { return f[j] + beta[last + j]; });
    const double all = log_sum(K, [&](int64_t j) { return alpha[last + j] + beta[last + j]; });
    return inside == kNever ? 0 : std::min(std::exp(inside - all), 1.0);
}

}  // namespace

void chain_forward(const Chain& c) {
    const Factors f(c.transitions, c.tags, false);
    each_sequence(c, [&](Rows& r, int64_t, int64_t b) {
        if (length(c, b) == 0) return void(c.value[b] = 0);
        const double log_z = alphas(c, f, r, b, [&](int64_t t, double) {
            if (c.alpha) r.copy(c.alpha + at(c, t, b) * c.tags, r.row);
        });
        c.value[b] = c.labels ? log_z - score(c, b) : log_z;
    });
}

void chain_backward(const Chain& c) {
    const int64_t K = c.tags, W = padded(K), groups = (c.batch + kGroup - 1) / kGroup;
    const Factors f(c.transitions, K, true);
    const int64_t size = Gradients(K, nullptr).size;
    Buffer<double> memory(groups * size);
    memory.zero();
    each_sequence(c, [&](Rows& r, int64_t g, int64_t b) {
        const Gradients sums(K, memory.data() + g * size);
        const int64_t n = length(c, b);
        for (int64_t t = n; t < c.steps; ++t) std::fill_n(c.demissions + at(c, t, b) * K, K, 0.0);
        if (n == 0) return;
        const double d = c.dvalue[b];
        betas(c, f, r, b, [&](int64_t t) {
            r.copy(r.alpha, c.kept + at(c, t, b) * K);
            posterior(f, r, d, c.dtransitions && t < n - 1, sums);
            if (c.labels) {
                const int64_t y = c.labels[at(c, t, b)];
                r.other[y] -= d;
                if (t < n - 1) sums.others[y * W + c.labels[at(c, t + 1, b)]] -= d;
            }
            r.copy(c.demissions + at(c, t, b) * K, r.other);
            for (int64_t j = 0; t == 0 && j < K; ++j) sums.start[j] += r.other[j];
            for (int64_t j = 0; t == n - 1 && j < K; ++j) sums.end[j] += r.other[j];
        });
    });
    if (!c.dtransitions) return;
    for (int64_t g = 1; g < groups; ++g)
        for (int64_t k = 0; k < size; ++k) memory[k] += memory[g * size + k];
    const Gradients all(K, memory.data());
    for (int64_t i = 0; i < K; ++i) {
        for (int64_t j = 0; j < K; ++j) {
            const double products = groups ? f.values[j * W + i] * all.products[i * W + j] : 0;
            c.dtransitions[i * K + j] = groups ? products + all.others[i * W + j] : 0;
        }
        c.dstart[i] = groups ? all.start[i] : 0;
        c.dend[i] = groups ? all.end[i] : 0;
    }
}

void chain_best(const Chain& c) {
    const int64_t K = c.tags, W = padded(K);
    Buffer<double> A(K * W);
    for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < W; ++j) A[i * W + j] = j < K ? c.transitions[i * K + j] : kNever;
    each_group(c, [&](int64_t, int64_t first, int64_t end) {
        Paths paths(c, A.data());
        for (int64_t b = first; b < end; ++b) paths.run(b);
    });
}

void chain_spans(const Chain& c) {
    const int64_t K = c.tags;
    const Factors f(c.transitions, K, false), reverse(c.transitions, K, true);
    each_sequence(c, [&](Rows& r, int64_t, int64_t b) {
        if (c.first_span[b] == c.first_span[b + 1]) return;
        const int64_t n = length(c, b);
        Buffer<double> alpha(n * K), beta(n * K), shifts(n);
        alphas(c, f, r, b, [&](int64_t t, double shift) {
            r.copy(alpha.data() + t * K, r.row);
            shifts[t] = shift;
        });
        betas(c, reverse, r, b, [&](int64_t t) { r.copy(beta.data() + t * K, r.beta); });
        for (int64_t s = c.first_span[b]; s < c.first_span[b + 1]; ++s)
            c.probability[s] = span(c, s, b, alpha.data(), beta.data(), shifts.data(), r);
    });
}

}  // namespace unspool::UNSPOOL_ISA
