// The kernels of a conditional random field as Python functions (sequences/chain.h). Arrays come as NumPy's, each by
// its name; what the kernels would follow out of bounds is checked here: shapes, lengths, labels, and where spans lie.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <initializer_list>
#include <string>

#include "../sequences/kernels.h"

namespace nb = nanobind;

namespace unspool {

const Kernels*& chosen();  // sequences.cpp

template <class Number>
using Array = nb::ndarray<Number, nb::c_contig, nb::device::cpu>;
using Numbers = Array<const double>;
using Integers = Array<const std::int64_t>;
using Bytes = Array<const std::uint8_t>;
using Out = Array<double>;
using Floats = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;  // of 64 bits or 32
using FloatsOut = nb::ndarray<nb::c_contig, nb::device::cpu>;

// The address of an array that must have this shape; null where it is None.
template <class Array>
auto data(const char* name, const Array& array, std::initializer_list<std::int64_t> shape) {
    if (!array.is_valid()) return decltype(array.data())(nullptr);
    bool right = array.ndim() == shape.size();
    std::string wanted, got;
    std::size_t axis = 0;
    for (const std::int64_t size : shape) {
        wanted += (axis ? ", " : "") + std::to_string(size);
        right = right && std::int64_t(array.shape(axis)) == size;
        ++axis;
    }
    for (std::size_t k = 0; k < array.ndim(); ++k) got += (k ? ", " : "") + std::to_string(array.shape(k));
    if (!right) refuse(std::string(name) + " must have shape (" + wanted + "); got (" + got + ")");
    return array.data();
}

// The addresses of an array of 64 or of 32 bits, of which the other one is null.
template <class Wide, class Narrow, class Any>
void either(const char* name, const Any& array, std::initializer_list<std::int64_t> shape, Wide*& wide,
            Narrow*& narrow) {
    if (array.dtype() == nb::dtype<double>()) wide = static_cast<Wide*>(data(name, array, shape));
    else if (array.dtype() == nb::dtype<float>()) narrow = static_cast<Narrow*>(data(name, array, shape));
    else refuse(std::string(name) + " must be of 64 or 32 bits");
}

// What all four are given.
static Chain chain(const Floats& emissions, const Numbers& transitions, const Numbers& start, const Numbers& end,
                   const Integers& lengths, int threads) {
    Chain c{};
    if (emissions.ndim() != 3 || emissions.shape(0) < 1 || emissions.shape(2) < 1)
        refuse("emissions must have shape (T, B, K) with T and K of at least 1");
    if (threads < 1) refuse("threads must be at least 1");
    c.steps = emissions.shape(0), c.batch = emissions.shape(1), c.tags = emissions.shape(2), c.threads = threads;
    either("emissions", emissions, {c.steps, c.batch, c.tags}, c.emissions, c.emissions32);
    c.transitions = data("transitions", transitions, {c.tags, c.tags});
    c.start = data("start", start, {c.tags});
    c.end = data("end", end, {c.tags});
    c.lengths = data("lengths", lengths, {c.batch});
    for (std::int64_t b = 0; c.lengths && b < c.batch; ++b)
        if (c.lengths[b] < 0 || c.lengths[b] > c.steps) refuse("lengths must be in 0..T");
    return c;
}

static const std::int64_t* labels_of(const Chain& c, const Integers& labels) {
    const std::int64_t* all = data("tags", labels, {c.steps, c.batch});
    for (std::int64_t b = 0; all && b < c.batch; ++b)
        for (std::int64_t t = 0; t < (c.lengths ? c.lengths[b] : c.steps); ++t)
            if (const auto y = all[t * c.batch + b]; y < 0 || y >= c.tags)
                refuse("tags must be in 0..K-1=" + std::to_string(c.tags - 1) + " within the lengths; got " +
                       std::to_string(y) + " at step " + std::to_string(t) + " of sequence " + std::to_string(b));
    return all;
}

// The sequences that `alpha` has room for: whole vectors of any set.
static std::int64_t rounded(std::int64_t batch) { return (batch + 7) / 8 * 8; }

static void solve(const Chain& c, void (*Kernels::*kernel)(const Chain&)) {
    nb::gil_scoped_release released;
    (chosen()->*kernel)(c);
}

static void forward(const Floats& emissions, const Numbers& transitions, const Numbers& start, const Numbers& end,
                    const Integers& lengths, const Integers& labels, int threads, const Out& value, const Out& alpha) {
    Chain c = chain(emissions, transitions, start, end, lengths, threads);
    c.labels = labels_of(c, labels);
    c.value = data("value", value, {c.batch});
    c.alpha = data("alpha", alpha, {c.steps, rounded(c.batch), c.tags});
    solve(c, &Kernels::chain_forward);
}

static void backward(const Floats& emissions, const Numbers& transitions, const Numbers& start, const Numbers& end,
                     const Integers& lengths, const Integers& labels, int threads, const Numbers& alpha,
                     const Numbers& dvalue, const FloatsOut& demissions, const Out& dtransitions, const Out& dstart,
                     const Out& dend) {
    Chain c = chain(emissions, transitions, start, end, lengths, threads);
    c.labels = labels_of(c, labels);
    c.kept = data("alpha", alpha, {c.steps, rounded(c.batch), c.tags});
    c.dvalue = data("dvalue", dvalue, {c.batch});
    either("demissions", demissions, {c.steps, c.batch, c.tags}, c.demissions, c.demissions32);
    c.dtransitions = data("dtransitions", dtransitions, {c.tags, c.tags});
    c.dstart = data("dstart", dstart, {c.tags});
    c.dend = data("dend", dend, {c.tags});
    if (!c.dtransitions != !c.dstart || !c.dtransitions != !c.dend)
        refuse("dtransitions, dstart and dend must be given together, or none of them");
    solve(c, &Kernels::chain_backward);
}

static void best(const Floats& emissions, const Numbers& transitions, const Numbers& start, const Numbers& end,
                 const Integers& lengths, int threads, const Array<std::int64_t>& paths, const Out& scores) {
    Chain c = chain(emissions, transitions, start, end, lengths, threads);
    if (paths.ndim() != 3 || paths.shape(2) < 1 || paths.shape(2) > (std::size_t(1) << 30) / c.tags)
        refuse("paths must have shape (T, B, N) with N from 1 to 2^30 / K");
    c.paths = paths.shape(2);
    c.best = data("paths", paths, {c.steps, c.batch, c.paths});
    c.scores = data("scores", scores, {c.batch, c.paths});
    solve(c, &Kernels::chain_best);
}

static void spans(const Floats& emissions, const Numbers& transitions, const Numbers& start, const Numbers& end,
                  const Integers& lengths, int threads, const Integers& first_span, const Integers& first_step,
                  const Integers& first_set, const Bytes& sets, const Out& probability) {
    Chain c = chain(emissions, transitions, start, end, lengths, threads);
    if (first_step.ndim() != 1 || sets.ndim() != 2) refuse("first_step must have one axis, and sets two");
    const std::int64_t count = first_step.shape(0), rows = sets.shape(0);
    c.first_span = data("first_span", first_span, {c.batch + 1});
    c.first_step = first_step.data();
    c.first_set = data("first_set", first_set, {count + 1});
    c.sets = data("sets", sets, {rows, c.tags});
    c.probability = data("probability", probability, {count});
    if (c.first_span[0] != 0 || c.first_span[c.batch] != count || c.first_set[0] != 0 || c.first_set[count] != rows)
        refuse("first_span and first_set must begin with 0, and end with the numbers of spans and of sets");
    for (std::int64_t b = 0; b < c.batch; ++b) {
        if (c.first_span[b] > c.first_span[b + 1]) refuse("first_span must not decrease");
        const std::int64_t length = c.lengths ? c.lengths[b] : c.steps;
        for (std::int64_t s = c.first_span[b]; s < std::min(count, c.first_span[b + 1]); ++s) {
            const std::int64_t steps = c.first_set[s + 1] - c.first_set[s];
            if (c.first_step[s] < 0 || steps < 1 || steps > length - c.first_step[s])
                refuse("spans must have a step at least, and lie within their sequences");
        }
    }
    solve(c, &Kernels::chain_spans);
}

void bind_chain(nb::module_& m) {
    // Nothing is converted: a result would be written into a copy.
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none() = nb::none(); };
    m.def("chain_forward", forward, in("emissions"), in("transitions"), in("start"), in("end"), maybe("lengths"),
          maybe("tags"), nb::arg("threads"), in("value"), maybe("alpha"),
          "log Z of each sequence, less the score of its tags where they are given.");
    m.def("chain_backward", backward, in("emissions"), in("transitions"), in("start"), in("end"), maybe("lengths"),
          maybe("tags"), nb::arg("threads"), in("alpha"), in("dvalue"), in("demissions"), maybe("dtransitions"),
          maybe("dstart"), maybe("dend"), "The gradients of it; those of log Z by the emissions are the marginals.");
    m.def("chain_best", best, in("emissions"), in("transitions"), in("start"), in("end"), maybe("lengths"),
          nb::arg("threads"), in("paths"), in("scores"), "The paths of the highest scores, best first.");
    m.def("chain_spans", spans, in("emissions"), in("transitions"), in("start"), in("end"), maybe("lengths"),
          nb::arg("threads"), in("first_span"), in("first_step"), in("first_set"), in("sets"), in("probability"),
          "The probability that the tags are in the sets, for all steps of each span.");
}

}  // namespace unspool
