// The training kernels as Python functions. A problem comes as a dictionary: sizes, words, and the addresses of arrays,
// each by the name of its field. Whoever calls has laid the arrays out (src/unspool/ops/native.py); what the kernels
// would otherwise follow out of bounds is checked here: that what they read of every problem is there, and that lengths
// and tokens are in their ranges.
//
// A call of the smallest problem takes some 20 µs, most of them in PyTorch, so that the names must cost little: 0.5 µs
// more than a list of addresses in an agreed order, which was here before.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>

#include "../cells.h"
#include "../memory.h"
#include "../sequences/kernels.h"

namespace nb = nanobind;

namespace unspool {

// The set in use; `use` changes it, for tests and comparisons.
const Kernels*& chosen() {
    static const Kernels* set = kernel_sets().front();
    return set;
}

// The fields of a problem by name, for both precisions: the one table between Python's names and C++'s.
template <class T>
using Field = std::variant<const T * Problem<T>::*, T * Problem<T>::*, const std::int64_t* Problem<T>::*,
                           const std::uint8_t* Problem<T>::*, std::int64_t Problem<T>::*, int Problem<T>::*,
                           bool Problem<T>::*, Cell Problem<T>::*, Activation Problem<T>::*>;
template <class T>
const std::unordered_map<std::string_view, Field<T>>& fields() {
    using P = Problem<T>;
    static const std::unordered_map<std::string_view, Field<T>> table{
        {"cell", &P::cell},
        {"activation", &P::activation},
        {"output_activation", &P::output_activation},
        {"steps", &P::steps},
        {"batch", &P::batch},
        {"inputs", &P::inputs},
        {"hidden", &P::hidden},
        {"state", &P::state},
        {"reverse", &P::reverse},
        {"threads", &P::threads},
        {"x", &P::x},
        {"tokens", &P::tokens},
        {"h0", &P::h0},
        {"c0", &P::c0},
        {"w_ih", &P::w_ih},
        {"w_hh", &P::w_hh},
        {"b_ih", &P::b_ih},
        {"b_hh", &P::b_hh},
        {"w_hr", &P::w_hr},
        {"b_hr", &P::b_hr},
        {"peephole", &P::peephole},
        {"lengths", &P::lengths},
        {"reset", &P::reset},
        {"start_h", &P::start_h},
        {"start_c", &P::start_c},
        {"mask", &P::mask},
        {"y", &P::y},
        {"h_n", &P::h_n},
        {"c_n", &P::c_n},
        {"gates", &P::gates},
        {"cells", &P::cells},
        {"mid", &P::mid},
        {"dy", &P::dy},
        {"dh_n", &P::dh_n},
        {"dc_n", &P::dc_n},
        {"dgates", &P::dgates},
        {"dx", &P::dx},
        {"dh0", &P::dh0},
        {"dc0", &P::dc0},
        {"dstart_h", &P::dstart_h},
        {"dstart_c", &P::dstart_c},
        {"dw_ih", &P::dw_ih},
        {"dw_hh", &P::dw_hh},
        {"db_ih", &P::db_ih},
        {"db_hh", &P::db_hh},
        {"dw_hr", &P::dw_hr},
        {"db_hr", &P::db_hr},
        {"dpeephole", &P::dpeephole},
    };
    return table;
}

static std::string_view text(std::string_view name, nb::handle value) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_Check(value.ptr()) ? PyUnicode_AsUTF8AndSize(value.ptr(), &size) : nullptr;
    if (data) return {data, std::size_t(size)};
    PyErr_Clear();
    refuse(std::string(name) + " must be a word; got " + nb::repr(value).c_str());
}

static std::int64_t integer(nb::handle name, nb::handle value) {
    const long long number = PyLong_AsLongLong(value.ptr());
    if (number != -1 || !PyErr_Occurred()) return number;
    PyErr_Clear();
    refuse(nb::cast<std::string>(name) + " must be an integer; got " + nb::repr(value).c_str());
}

template <class Table>
const auto& row(nb::handle name, const Table& table, nb::handle value) {
    const std::string_view argument = text("a field of a problem", name), word = text(argument, value);
    if (const auto* found = find(table, word)) return *found;
    return one_of(std::string(argument).c_str(), table, word, nb::repr(value).c_str());
}
static void set(Cell& field, nb::handle name, nb::handle value) { field = row(name, kCells, value).cell; }
static void set(Activation& field, nb::handle name, nb::handle value) { field = row(name, kActivations, value).value; }
static void set(bool& field, nb::handle name, nb::handle value) { field = integer(name, value) != 0; }
static void set(int& field, nb::handle name, nb::handle value) { field = int(integer(name, value)); }
static void set(std::int64_t& field, nb::handle name, nb::handle value) { field = integer(name, value); }
template <class Element>
void set(Element*& field, nb::handle name, nb::handle value) {
    field = reinterpret_cast<Element*>(std::uintptr_t(integer(name, value)));
}

// The field of a name. The names come from a program's text, where each is one object of the interpreter, so that its
// place in memory finds it again without a look at the letters; the object is held, so that no other takes that place.
template <class T>
const Field<T>& field_of(nb::handle key) {
    struct Known {
        nb::object key;
        const Field<T>* field;
    };
    static Known* const known = new Known[256]{};
    Known& here = known[(reinterpret_cast<std::uintptr_t>(key.ptr()) >> 4) % 256];
    if (here.key.is(key)) return *here.field;
    const std::string_view name = text("a field of a problem", key);
    const auto found = fields<T>().find(name);
    if (found == fields<T>().end()) refuse("a problem has no '" + std::string(name) + "'");
    here = {nb::borrow(key), &found->second};
    return found->second;
}

template <class T>
Problem<T> problem(const nb::dict& given) {
    Problem<T> p{};
    p.steps = p.batch = p.inputs = p.hidden = p.state = p.threads = -1;
    for (const auto [key, value] : given) {
        const auto set_field = [&, key = key, value = value](auto member) { set(p.*member, key, value); };
        std::visit(set_field, field_of<T>(key));
    }
    for (const char* name : {"cell", "activation", "output_activation"})
        if (!given.contains(name)) refuse(std::string(name) + " must be given; got none");
    return p;
}

// What a problem cannot be without, and whether it is there.
struct Needed {
    const char* name;
    bool there;
    template <class There>
    Needed(const char* n, There t) : name(n), there(static_cast<bool>(t)) {}
};
static void need(Cell cell, std::initializer_list<Needed> list) {
    for (const Needed& one : list)
        if (!one.there) refuse(std::string(one.name) + " must be given for " + facts(cell).name + "; got none");
}

// What the kernels read of every problem. An empty batch has arrays without addresses, and no kernel looks at them.
template <class T>
void check(const Problem<T>& p, bool backward) {
    need(p.cell, {{"steps", p.steps >= 1},
                  {"batch", p.batch >= 0},
                  {"inputs", p.inputs >= 1},
                  {"hidden", p.hidden >= 1},
                  {"state", p.state >= 1},
                  {"threads", p.threads >= 1},
                  {"w_ih", p.w_ih},
                  {"w_hh", p.w_hh},
                  {"w_hr", p.w_hr || p.cell != Cell::jordan}});
    if (p.batch == 0) return;
    const bool two = facts(p.cell).states == 2;
    need(p.cell, {{"x or tokens", p.x || p.tokens},
                  {"y", p.y},
                  {"h0", p.h0},
                  {"c0", p.c0 || !two},
                  {"start_h", p.start_h || !p.reset},
                  {"start_c", p.start_c || !p.reset || !two}});
    if (backward)
        need(p.cell, {{"gates", p.gates},
                      {"dgates", p.dgates},
                      {"cells", p.cells || !two},
                      {"dh0", p.dh0},
                      {"dc0", p.dc0 || !two},
                      {"mid", p.mid || !((p.w_hr && two) || facts(p.cell).products == 2)}});
    else need(p.cell, {{"h_n", p.h_n}, {"c_n", p.c_n || !two}});
    for (std::int64_t b = 0; b < p.batch; ++b) {
        const std::int64_t length = p.lengths ? p.lengths[b] : p.steps;
        if (length < 0 || length > p.steps) refuse("lengths must be in 0..T");
        for (std::int64_t t = 0; p.tokens && t < length; ++t)
            if (const auto token = p.tokens[t * p.batch + b]; token < 0 || token >= p.inputs)
                refuse("x must have tokens in 0..I-1");
    }
}

template <class T, auto Kernel, bool Backward>
void solve(const nb::dict& given) {
    const auto p = problem<T>(given);
    check(p, Backward);
    nb::gil_scoped_release released;
    (chosen()->*Kernel)(p);
}
static void forward(bool float64, const nb::dict& problem) {
    float64 ? solve<double, &Kernels::forward_f64, false>(problem)
            : solve<float, &Kernels::forward_f32, false>(problem);
}
static void backward(bool float64, const nb::dict& problem) {
    float64 ? solve<double, &Kernels::backward_f64, true>(problem)
            : solve<float, &Kernels::backward_f32, true>(problem);
}

// The facts of every cell by the name of its kernel.
static nb::dict cells() {
    nb::dict out;
    for (const CellFacts& row : kCells) {
        nb::dict one;
        one["gates"] = row.gates, one["slots"] = row.slots, one["states"] = row.states, one["products"] = row.products;
        out[row.name] = one;
    }
    return out;
}

// Memory for an array of PyTorch's, which gives it back when it dies (memory.h).
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

static nb::tuple set_names() {
    nb::list names;
    for (const Kernels* set : kernel_sets()) names.append(set->name);
    return nb::tuple(names);
}

static void use(const std::string& name) {
    for (const Kernels* set : kernel_sets())
        if (name == set->name) return void(chosen() = set);
    refuse("no kernels for " + name + " on this machine");
}

static double fma_peak(double seconds) {
    nb::gil_scoped_release released;
    return chosen()->fma_peak(seconds);
}

void bind_network(nb::module_& m);  // network.cpp
void bind_chain(nb::module_& m);    // chain.cpp
void bind_tables(nb::module_& m);   // tables.cpp

}  // namespace unspool

NB_MODULE(_native, m) {
    using namespace unspool;
    bind_network(m);
    bind_chain(m);
    bind_tables(m);
    m.attr("CELLS") = cells();
    m.attr("LARGE") = Memory::kLarge;
    m.def("forward", forward, nb::arg("float64"), nb::arg("problem"),
          "One layer over whole sequences; a problem has the fields of Problem in native/sequences/kernels.h.");
    m.def("backward", backward, nb::arg("float64"), nb::arg("problem"), "Its gradients, from what forward kept.");
    m.def("memory", memory, nb::arg("size"), "Bytes for an array; of LARGE or more, those of one that has died.");
    m.def("instruction_sets", set_names, "The instruction sets that this machine can run, best first.");
    m.def("instruction_set", [] { return chosen()->name; }, "The one in use.");
    m.def("use", use, nb::arg("instruction_set"),
          "Uses other kernels than the best from now on, for tests and comparisons.");
    m.def("fma_peak", fma_peak, nb::arg("seconds"), "float32 operations a second of one core, measured.");
}
