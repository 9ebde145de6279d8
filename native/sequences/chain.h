// A linear-chain conditional random field (Lafferty, McCallum & Pereira 2001): the probability of a whole sequence of
// tags, given the emissions e of a network. A path y of n tags has the score
//
//     s(y) = start[y_0] + Σ_t e_t[y_t] + Σ_t A[y_t-1, y_t] + end[y_n-1],        p(y) = exp(s(y)) / Z
//
// and log Z, with all that follows from it, comes from two recursions through time (Rabiner 1989):
//
//     α_t[j] = e_t[j] + log Σ_i exp(α_t-1[i] + A[i, j])          α_0 = start + e_0
//     β_t[i] = log Σ_j exp(A[i, j] + e_t+1[j] + β_t+1[j])        β_n-1 = end
//
// How they are computed. A step has K² exponentials if it is written so. Here exp(A - top) is made once a call, and a
// step is exp(α), a product with that matrix, and a logarithm: 2 K transcendental functions and K² multiply-adds. What
// is carried from step to step are the logarithms, so that no potential is too small to be kept; where a sum of the
// product comes out too small to be trusted, that element alone is made again as the equation is written. So
// potentials of ±10⁴ and transitions of -∞, which are forbidden ones, are exact; and each row is shifted to have its
// largest element at 0, so that its rounding does not grow with time.
//
// All arithmetic is in 64 bits. Sequences never meet but in the gradients of the potentials, which are summed in groups
// of a fixed size, in their order: results have the same bits on any number of threads, and those of one sequence do
// not depend on the others.
#pragma once

#include <cstdint>

namespace unspool {

// What is asked. All arrays are the caller's, contiguous; T steps, B sequences, K tags. A null pointer is an absent
// option, or a result that nobody wants.
struct Chain {
    std::int64_t steps, batch, tags;  // T B K
    int threads;
    const double* emissions;                  // e, (T, B, K), or
    const float* emissions32;                 // the same in 32 bits
    const double *transitions, *start, *end;  // A, (K, K), from the row's tag to the column's; (K), (K)
    const std::int64_t* lengths;              // (B)

    // forward: value = log Z - s(labels), or log Z without labels; 0 for a sequence of length 0
    const std::int64_t* labels;  // (T, B)
    double* value;               // (B)
    double* alpha;               // (T, B rounded up to 8, K), kept for backward in an order of its own

    // backward: the gradients of Σ_b dvalue[b] value[b]; those of log Z by e are the marginals p(y_t = j)
    const double* kept;    // alpha
    const double* dvalue;  // (B)
    double* demissions;    // (T, B, K), 0 in the padding, or
    float* demissions32;
    double *dtransitions, *dstart, *dend;  // all or none

    // best: the N paths of the highest scores, best first; of equal ones that with the lower tag, from the last step
    // backwards. -1 in the padding and in paths that do not exist, whose score is -∞.
    std::int64_t paths;  // N
    std::int64_t* best;  // (T, B, N)
    double* scores;      // (B, N)

    // spans: the probability that y_t is in the set of step t for all steps of a span. The spans of sequence b are
    // those from first_span[b] to first_span[b + 1]; span s begins at step first_step[s], and its sets are the rows
    // first_set[s] to first_set[s + 1].
    const std::int64_t *first_span, *first_step, *first_set;
    const std::uint8_t* sets;  // (·, K)
    double* probability;       // one for each span
};

}  // namespace unspool
