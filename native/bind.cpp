// The kernels as Python functions. Arrays come as addresses: whoever calls has checked and laid them out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "memory.h"

namespace nb = nanobind;

namespace unspool {

#if defined(__x86_64__) || defined(_M_X64)
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace baseline {
extern const Kernels kernels;
}
static const Kernels* const kernel_sets[] = {&avx512::kernels, &avx2::kernels, &baseline::kernels};
#elif defined(__aarch64__)
namespace neon {
extern const Kernels kernels;
}
static const Kernels* const kernel_sets[] = {&neon::kernels};
#else
namespace baseline {
extern const Kernels kernels;
}
static const Kernels* const kernel_sets[] = {&baseline::kernels};
#endif

static std::vector<const Kernels*> supported_sets() {
    std::vector<const Kernels*> out;
    for (const Kernels* set : kernel_sets)
        if (set->supported()) out.push_back(set);
    return out;
}

static const Kernels* chosen = supported_sets().front();

// The order in which forward and backward take their addresses.
constexpr const char* kArrays[] = {"x",     "tokens", "h0",       "c0",      "w_ih",  "w_hh",     "b_ih",     "b_hh",
                                   "w_hr",  "b_hr",   "peephole", "lengths", "reset", "start_h",  "start_c",  "mask",
                                   "y",     "h_n",    "c_n",      "gates",   "cells", "mid",      "dy",       "dh_n",
                                   "dc_n",  "dgates", "dx",       "dh0",     "dc0",   "dstart_h", "dstart_c", "dw_ih",
                                   "dw_hh", "db_ih",  "db_hh",    "dw_hr",   "db_hr", "dpeephole"};
constexpr int kArrayCount = sizeof kArrays / sizeof *kArrays;

template <class T>
Sequences<T> sequences(const nb::tuple& sizes, const nb::tuple& addresses) {
    if (sizes.size() != 10 || addresses.size() != kArrayCount)
        throw nb::value_error("a recurrence takes 10 sizes and one address for each of ARRAYS");
    const auto size = [&](int i) { return nb::cast<int64_t>(sizes[i]); };
    int next = 0;
    const auto array = [&](auto*& field) {
        using Field = std::remove_reference_t<decltype(field)>;
        field = reinterpret_cast<Field>(nb::cast<std::uintptr_t>(addresses[next++]));
    };
    Sequences<T> p{};
    p.cell = Cell(size(0)), p.activation = Activation(size(1)), p.output_activation = Activation(size(2));
    p.steps = size(3), p.batch = size(4), p.inputs = size(5), p.hidden = size(6), p.state = size(7);
    p.reverse = size(8) != 0, p.threads = int(size(9));
    array(p.x), array(p.tokens), array(p.h0), array(p.c0);
    array(p.w_ih), array(p.w_hh), array(p.b_ih), array(p.b_hh), array(p.w_hr), array(p.b_hr), array(p.peephole);
    array(p.lengths), array(p.reset), array(p.start_h), array(p.start_c), array(p.mask);
    array(p.y), array(p.h_n), array(p.c_n), array(p.gates), array(p.cells), array(p.mid);
    array(p.dy), array(p.dh_n), array(p.dc_n), array(p.dgates), array(p.dx), array(p.dh0), array(p.dc0);
    array(p.dstart_h), array(p.dstart_c), array(p.dw_ih), array(p.dw_hh), array(p.db_ih), array(p.db_hh);
    array(p.dw_hr), array(p.db_hr), array(p.dpeephole);
    return p;
}

// What the kernels would otherwise follow out of bounds.
template <class T>
void check(const Sequences<T>& p) {
    const bool lstm = p.cell == Cell::lstm || p.cell == Cell::lstm_without_forget;
    if (p.cell < Cell::elman || p.cell > Cell::lstm_without_forget) throw nb::value_error("cell is unknown");
    if (p.batch > 0 && ((lstm && !p.c0) || (p.cell == Cell::jordan && !p.w_hr) || (p.reset && !p.start_h) ||
                        (p.reset && lstm && !p.start_c)))
        throw nb::value_error("an LSTM needs c0, Jordan w_hr, and reset what it begins with");
    for (std::int64_t b = 0; b < p.batch; ++b) {
        const std::int64_t length = p.lengths ? p.lengths[b] : p.steps;
        if (length < 1 || length > p.steps) throw nb::value_error("lengths must be in 1..T");
        for (std::int64_t t = 0; p.tokens && t < length; ++t)
            if (const auto token = p.tokens[t * p.batch + b]; token < 0 || token >= p.inputs)
                throw nb::value_error("x must have tokens in 0..I-1");
    }
}

template <auto Float, auto Double>
void call(bool float64, const nb::tuple& sizes, const nb::tuple& addresses) {
    if (float64) {
        const auto p = sequences<double>(sizes, addresses);
        check(p);
        nb::gil_scoped_release released;
        (chosen->*Double)(p);
    } else {
        const auto p = sequences<float>(sizes, addresses);
        check(p);
        nb::gil_scoped_release released;
        (chosen->*Float)(p);
    }
}

using Bytes = nb::ndarray<nb::memview, std::uint8_t, nb::ndim<1>>;

static Bytes memory(std::size_t size) {
    struct Block {
        void* data;
        std::size_t size;
        explicit Block(std::size_t n) : data(Memory::shared().take(n)), size(n) {}
        ~Block() { Memory::shared().give(data, size); }
    };
    auto block = std::make_unique<Block>(size);
    const nb::capsule owner(block.get(), [](void* p) noexcept { delete static_cast<Block*>(p); });
    return Bytes(block.release()->data, {size}, owner);
}

void bind_network(nb::module_& m);  // bind_network.cpp

}  // namespace unspool

NB_MODULE(_native, m) {
    using namespace unspool;
    bind_network(m);
    nb::list arrays;
    for (const char* name : kArrays) arrays.append(name);
    m.attr("ARRAYS") = nb::tuple(arrays);
    m.def("forward", call<&Kernels::forward_f32, &Kernels::forward_f64>, nb::arg("float64"), nb::arg("sizes"),
          nb::arg("addresses"),
          "One layer over whole sequences; sizes: cell, activations, T B I H R, reverse, threads.");
    m.def("backward", call<&Kernels::backward_f32, &Kernels::backward_f64>, nb::arg("float64"), nb::arg("sizes"),
          nb::arg("addresses"), "Its gradients, from what forward kept.");
    m.attr("LARGE") = Memory::kLarge;
    m.def("memory", memory, nb::arg("size"), "Bytes for an array; of LARGE or more, those of one that has died.");
    m.def(
        "instruction_sets",
        [] {
            nb::list names;
            for (const Kernels* set : supported_sets()) names.append(set->name);
            return nb::tuple(names);
        },
        "The instruction sets that this machine can run, best first.");
    m.def("instruction_set", [] { return chosen->name; }, "The one in use.");
    m.def(
        "use",
        [](const std::string& name) {
            for (const Kernels* set : supported_sets())
                if (name == set->name) return void(chosen = set);
            throw nb::value_error(("no kernels for " + name + " on this machine").c_str());
        },
        nb::arg("instruction_set"), "Uses other kernels than the best from now on, for tests and comparisons.");
    m.def(
        "fma_peak",
        [](double seconds) {
            nb::gil_scoped_release released;
            return chosen->fma_peak(seconds);
        },
        nb::arg("seconds"), "float32 operations a second of one core, measured.");
}
