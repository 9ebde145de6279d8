// Saved networks as Python objects: checks of what comes in, and one call into the core for each step.
//
// Network has the weights, packed, and Sessions the states of some sessions; unspool.stream makes Stream and Streams of
// Sessions. A step must cost less than the smallest network does, so that it is one call of the interpreter: the input
// is read through the buffer protocol, the output is an array that nobody holds any more, and what is wrong is found by
// looking at each number once. Whatever is refused is refused before the state is touched.
#include "../steps/network.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

namespace nb = nanobind;

namespace unspool {

[[noreturn]] static void complain(const std::string& message) {
    const nb::object type = nb::module_::import_("unspool.errors").attr("UnspoolError");
    PyErr_SetString(type.ptr(), message.c_str());
    throw nb::python_error();
}

static std::string text(nb::handle value) { return nb::cast<std::string>(nb::str(value)); }

// A contiguous array of somebody else's, for as long as this lives. The buffer protocol is the one interface to arrays
// that is in Python's stable ABI and needs no header of NumPy's.
class View {
  public:
    Py_buffer buffer;

    View(nb::handle object, int flags) {
        if (PyObject_GetBuffer(object.ptr(), &buffer, flags | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0)
            throw nb::python_error();
    }
    explicit View(const Py_buffer& taken) : buffer(taken) {}
    View(View&& other) : buffer(other.buffer) { other.buffer.obj = nullptr; }
    ~View() { PyBuffer_Release(&buffer); }

    bool holds(char kind, std::int64_t bytes) const {
        const char* format = buffer.format ? buffer.format : "B";
        if (*format == '<' || *format == '=' || *format == '@') ++format;
        const bool integer = *format == 'q' || *format == 'l';
        return buffer.itemsize == bytes && (kind == 'q' ? integer : *format == kind) && format[1] == 0;
    }
    bool has_shape(const std::vector<std::int64_t>& shape) const {
        if (std::size_t(buffer.ndim) != shape.size()) return false;
        for (std::size_t i = 0; i < shape.size(); ++i)
            if (shape[i] >= 0 && buffer.shape[i] != shape[i]) return false;
        return true;
    }
    std::int64_t size() const { return buffer.len / buffer.itemsize; }
    template <class T>
    T* data() const {
        return static_cast<T*>(buffer.buf);
    }
};

static std::string shape_text(const std::vector<std::int64_t>& shape, const char* any) {
    std::string out = "(";
    for (std::size_t i = 0; i < shape.size(); ++i)
        out += (i ? ", " : "") + (shape[i] < 0 ? std::string(any) : std::to_string(shape[i]));
    return out + (shape.size() == 1 ? ",)" : ")");
}

// The exponent of NaN and infinity is all ones. A maximum of integers is a vector instruction, where a test of each
// number would not be.
static bool finite(const float* x, std::int64_t size) {
    std::uint32_t most = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        most = std::max(most, bits & 0x7fffffffu);
    }
    return most < 0x7f800000u;
}

// What came, for complaints: the type and shape of an array, or the beginning of anything else.
static std::string described(nb::handle x) {
    if (nb::hasattr(x, "dtype") && nb::hasattr(x, "shape")) return text(x.attr("dtype")) + " " + text(x.attr("shape"));
    const nb::str all = nb::repr(x);
    return text(nb::steal<nb::str>(PyUnicode_Substring(all.ptr(), 0, 40))) + " of type " +
           text(x.type().attr("__name__"));
}

// The network of a configuration and the arrays of a folder, by name. `names` are those that it asked for, so that the
// caller can tell which ones it has in vain.
class BoundNetwork {
  public:
    std::unique_ptr<Network> network;
    std::map<std::string, bool> names;  // that were asked for

    BoundNetwork(const std::string& architecture, const nb::dict& weights, const std::string& set_name) {
        const Networks* set = nullptr;
        for (const Networks* candidate : network_sets())
            if (!set && (set_name.empty() || set_name == candidate->name)) set = candidate;
        if (!set) complain("instruction_set must be one that this machine has; got " + set_name);
        std::vector<std::unique_ptr<View>> held;
        const Tensors tensors = [&](const std::string& name) { return tensor(name, weights, held); };
        try {
            network = set->make(read_architecture(architecture), tensors);
        } catch (const std::invalid_argument& error) { complain(error.what()); }
    }

  private:
    Tensor tensor(const std::string& name, const nb::dict& weights, std::vector<std::unique_ptr<View>>& held) {
        Tensor out;
        names[name] = true;
        if (!weights.contains(name.c_str())) return out;
        const auto view = [&](const std::string& key) -> View& {
            held.push_back(std::make_unique<View>(weights[key.c_str()], 0));
            return *held.back();
        };
        const View& array = view(name);
        if (array.holds('f', 4)) out.number = Number::float32;
        else if (array.holds('H', 2)) out.number = Number::bfloat16;
        else if (array.holds('b', 1)) out.number = Number::int8;
        else refuse(name + " has numbers of an unknown type");
        out.shape.assign(array.buffer.shape, array.buffer.shape + array.buffer.ndim);
        if (out.number == Number::int8) {
            const std::string scale = name + ".scale";
            names[scale] = true;
            if (!weights.contains(scale.c_str())) refuse(scale + " is missing");
            const View& scales = view(scale);
            if (out.shape.empty() || !scales.holds('f', 4) || !scales.has_shape({out.shape[0]}))
                refuse(scale + " must have a number for each row");
            out.scale = scales.data<float>();
        }
        out.data = array.data<void>();
        return out;
    }
};

// The sessions of a network. `busy_` is set while a run has let go of the interpreter's lock: meanwhile another thread
// could step the same states, which is refused. A single step keeps the lock, as it is over sooner than that takes.
//
// Two things may change while arguments are read. Python code may run (`__index__`, or whatever dies when there is a
// new array) and use these sessions, so that they are looked at last: `check_idle` and phases. And another thread may
// write into an array without the lock, so that integers, which lead to places in memory, are copied and the copies
// checked. Numbers are not copied: the core bounds them.
class BoundSessions {
    nb::object owner_;
    const Network& net_;
    std::unique_ptr<Sessions> sessions_;
    nb::object empty_, float32_, one_shape_, kept_[2];
    std::vector<std::int64_t> one_input_;
    std::vector<char> seen_;
    std::vector<std::int64_t> tokens_, which_;  // copies of a step's
    bool busy_ = false;

  public:
    BoundSessions(nb::object owner, std::int64_t count, int threads)
        : owner_(owner), net_(*nb::cast<BoundNetwork&>(owner).network) {
        if (count < 1 || count > kMost)
            complain("n must be in 1.." + std::to_string(kMost) + " sessions; got " + std::to_string(count));
        if (count > 1) check_one_way("streams");
        sessions_ = net_.sessions(count, in_bounds(threads));
        const nb::module_ numpy = nb::module_::import_("numpy");
        empty_ = numpy.attr("empty"), float32_ = numpy.attr("dtype")("float32");
        one_shape_ = nb::int_(net_.architecture.outputs);
        one_input_ = {net_.architecture.inputs};
        seen_.resize(count);
    }
    std::int64_t count() const { return sessions_->count(); }
    void check_idle() const {
        if (busy_) complain("the stream is running in another thread; give each thread a stream of its own");
    }
    void check_one_way(const char* verb) const {
        if (net_.architecture.bidirectional)
            complain(std::string(verb) +
                     " needs a network of one direction, and this one is bidirectional, so that its "
                     "outputs depend on what is still to come; give run whole sequences");
    }

    nb::object step(nb::handle x) {
        check_one_way("step");
        if (net_.architecture.tokens) {
            const std::int64_t token = one_token(x);
            return one_step(nullptr, &token);
        }
        const View from = features(x, one_input_, "x");
        return one_step(from.data<float>(), nullptr);
    }
    nb::object step_many(nb::handle x, nb::handle which) {
        check_one_way("step");
        const bool all = which.is_none(), tokens = net_.architecture.tokens > 0;
        std::optional<View> indices;
        if (!all) indices.emplace(integers(which, "sessions", "(rows,)"));
        const std::int64_t rows = all ? count() : indices->size();
        nb::object y = outputs(nb::make_tuple(rows, net_.architecture.outputs));
        const View to(y, PyBUF_WRITABLE);
        const View from = tokens ? tokens_of(x, {rows}, "x") : features(x, {rows, net_.architecture.inputs}, "x");
        check_idle();
        if (!all) choose(*indices);
        if (tokens) copy_tokens(from, "x", tokens_);
        sessions_->step(rows, all ? nullptr : which_.data(), tokens ? nullptr : from.data<float>(),
                        tokens ? tokens_.data() : nullptr, to.data<float>());
        return y;
    }
    nb::object run_many(nb::handle xs) { return run(xs, true); }
    nb::object run(nb::handle xs, bool many) {
        const std::int64_t n = count();
        std::vector<std::int64_t> shape{-1};
        many = many || n > 1;
        if (many) shape.push_back(n);
        const bool tokens = net_.architecture.tokens > 0;
        if (!tokens) shape.push_back(net_.architecture.inputs);
        const View from = tokens ? tokens_of(xs, shape, "xs") : features(xs, shape, "xs");
        const std::int64_t steps = from.buffer.shape[0], O = net_.architecture.outputs;
        check_idle();
        const std::int64_t phase = sessions_->phase(0), given = net_.architecture.outputs_in(phase, steps);
        nb::object y = outputs(many ? nb::make_tuple(given, n, O) : nb::make_tuple(given, O));
        const View to(y, PyBUF_WRITABLE);
        std::vector<std::int64_t> copy;
        if (tokens) copy_tokens(from, "xs", copy);
        check_idle();
        for (std::int64_t k = 0; net_.architecture.stride > 1 && k < n; ++k)
            if (sessions_->phase(k) != phase)
                complain("run needs sessions that are all at the same step of the stride; give step one at a time");
        {
            const Busy busy(busy_);
            nb::gil_scoped_release released;
            if (tokens) sessions_->run(steps, nullptr, copy.data(), to.data<float>());
            else sessions_->run(steps, from.data<float>(), nullptr, to.data<float>());
        }
        return y;
    }
    // The outputs of whole sequences, each a new array; `first` is the number of the first one, for complaints.
    nb::list predict_many(const nb::list& sequences, std::int64_t first, bool last, int threads) const {
        const Architecture& a = net_.architecture;
        std::vector<View> held;
        std::vector<std::vector<std::int64_t>> copies;
        std::vector<Sequence> all;
        nb::list out;
        for (nb::handle xs : nb::tuple(sequences)) {
            const std::string name = "sequence " + std::to_string(first++);
            View view = a.tokens ? tokens_of(xs, {-1}, name.c_str()) : features(xs, {-1, a.inputs}, name.c_str());
            Sequence one{view.buffer.shape[0], nullptr, nullptr, nullptr};
            if (last && !one.steps) complain(name + " must have a step, whose outputs are wanted; got none");
            const std::int64_t given = a.outputs_in(0, one.steps);
            const nb::object y = outputs(last ? one_shape_ : nb::object(nb::make_tuple(given, a.outputs)));
            one.y = View(y, PyBUF_WRITABLE).data<float>();
            if (a.tokens) {
                copy_tokens(view, name.c_str(), copies.emplace_back());
                one.tokens = copies.back().data();
            } else {
                one.x = view.data<float>();
                held.push_back(std::move(view));
            }
            all.push_back(one);
            out.append(y);
        }
        {
            nb::gil_scoped_release released;
            net_.predict(std::move(all), last, in_bounds(threads));
        }
        return out;
    }
    void reset(std::int64_t session) {
        check_idle();
        check_session(session);
        sessions_->reset(session);
    }
    void read(std::int64_t session, std::int64_t field, nb::handle to) {
        const View view(to, PyBUF_WRITABLE);
        check_field(session, field, view);
        check_idle();
        sessions_->read(session, field, view.data<float>());
    }
    void write(std::int64_t session, std::int64_t field, nb::handle from) {
        const View view(from, 0);
        check_field(session, field, view);
        const std::vector<float> copy(view.data<float>(), view.data<float>() + view.size());
        check_values(net_.fields[field].name, copy);
        check_idle();
        sessions_->write(session, field, copy.data());
    }

  private:
    static constexpr std::int64_t kMost = std::int64_t(1) << 31;  // sessions
    static int in_bounds(int threads) { return std::clamp(threads, 1, 1024); }

    // The sessions are busy for as long as this lives.
    struct Busy {
        bool& is;
        explicit Busy(bool& busy) : is(busy) { is = true; }
        ~Busy() { is = false; }
    };
    nb::object one_step(const float* x, const std::int64_t* token) {
        const auto [y, to] = fresh_output();
        check_idle();
        const bool nothing = sessions_->phase(0) != 0;
        sessions_->step(1, nullptr, x, token, to);
        return nothing ? nb::none() : y;
    }
    // The sessions of a step, which must be different. Each is marked in seen_, and the marks are taken away again,
    // which costs as many steps as there are rows.
    void choose(const View& indices) {
        which_.assign(indices.data<std::int64_t>(), indices.data<std::int64_t>() + indices.size());
        std::string complaint;
        std::size_t marked = 0;
        for (; marked < which_.size() && complaint.empty(); ++marked) {
            const std::int64_t i = which_[marked];
            if (i < 0 || i >= count())
                complaint = "sessions must be in 0.." + std::to_string(count() - 1) + "; got " + std::to_string(i);
            else if (seen_[i]++) complaint = "sessions must be different; got " + std::to_string(i) + " twice";
        }
        for (std::size_t k = 0; k < marked; ++k)
            if (which_[k] >= 0 && which_[k] < count()) seen_[which_[k]] = 0;
        if (!complaint.empty()) complain(complaint);
    }
    // An array of outputs that nobody holds any more, or a new one. Two are kept, as the one from the step before is
    // often still somebody's. That nobody has changed its shape or type in place is asked of the array itself.
    std::pair<nb::object, float*> fresh_output() {
        for (nb::object& kept : kept_) {
            if (!kept.is_valid() || Py_REFCNT(kept.ptr()) != 1) continue;
            Py_buffer buffer;
            if (PyObject_GetBuffer(kept.ptr(), &buffer, PyBUF_ND | PyBUF_WRITABLE | PyBUF_FORMAT) != 0) {
                PyErr_Clear();
                continue;
            }
            const bool same = buffer.ndim == 1 && buffer.shape[0] == net_.architecture.outputs && buffer.format &&
                              std::string_view(buffer.format) == "f";
            float* data = static_cast<float*>(buffer.buf);
            PyBuffer_Release(&buffer);
            if (same) return {kept, data};
        }
        nb::object y = outputs(one_shape_);
        float* data = View(y, PyBUF_WRITABLE).data<float>();
        std::swap(kept_[0], kept_[1]);
        kept_[0] = y;
        return {y, data};
    }
    nb::object outputs(nb::handle shape) const {
        PyObject* arguments[] = {shape.ptr(), float32_.ptr()};
        return nb::steal(check(PyObject_Vectorcall(empty_.ptr(), arguments, 2, nullptr)));
    }
    static PyObject* check(PyObject* made) {
        if (!made) throw nb::python_error();
        return made;
    }
    std::string rule(const char* name, const char* kind, const std::string& shape) const {
        return std::string(name) + " must be a contiguous NumPy array of " + kind + " of shape " + shape;
    }
    View features(nb::handle x, const std::vector<std::int64_t>& shape, const char* name) const {
        if (PyObject_CheckBuffer(x.ptr())) {
            View view = contiguous(x, [&] { return rule(name, "float32", shape_text(shape, "T")); });
            if (view.holds('f', 4) && view.has_shape(shape)) {
                if (!finite(view.data<float>(), view.size()))
                    complain(std::string(name) +
                             " must be finite numbers; got NaN or infinity: the state is as it was");
                return view;
            }
        }
        complain(rule(name, "float32", shape_text(shape, "T")) + "; got " + described(x));
    }
    View integers(nb::handle x, const char* name, const std::string& shape) const {
        if (PyObject_CheckBuffer(x.ptr())) {
            View view = contiguous(x, [&] { return rule(name, "int64", shape); });
            if (view.holds('q', 8)) return view;
        }
        complain(rule(name, "int64", shape) + "; got " + described(x));
    }
    template <class Rule>
    static View contiguous(nb::handle x, const Rule& rule) {
        Py_buffer probe;
        if (PyObject_GetBuffer(x.ptr(), &probe, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) {
            PyErr_Clear();
            complain(rule() + "; got one that is not contiguous, or not of numbers, " + described(x));
        }
        return View(probe);
    }
    View tokens_of(nb::handle x, const std::vector<std::int64_t>& shape, const char* name) const {
        View view = integers(x, name, shape_text(shape, "T"));
        if (!view.has_shape(shape)) complain(rule(name, "int64", shape_text(shape, "T")) + "; got " + described(x));
        return view;
    }
    void copy_tokens(const View& view, const char* name, std::vector<std::int64_t>& to) const {
        to.assign(view.data<std::int64_t>(), view.data<std::int64_t>() + view.size());
        for (const std::int64_t token : to) check_token(token, name, " must be tokens");
    }
    void check_token(std::int64_t token, const char* name, const char* rule) const {
        if (token < 0 || token >= net_.architecture.tokens)
            complain(std::string(name) + rule + " in 0.." + std::to_string(net_.architecture.tokens - 1) + "; got " +
                     std::to_string(token));
    }
    std::int64_t one_token(nb::handle x) const {
        const auto no_token = [&] {
            PyErr_Clear();
            complain("x must be a token, an integer in 0.." + std::to_string(net_.architecture.tokens - 1) + "; got " +
                     described(x));
        };
        if (PyBool_Check(x.ptr())) no_token();
        PyObject* index = PyNumber_Index(x.ptr());
        if (!index) no_token();
        const long long token = PyLong_AsLongLong(index);
        Py_DECREF(index);
        if (token == -1 && PyErr_Occurred()) no_token();
        check_token(token, "x", " must be a token");
        return token;
    }
    void check_session(std::int64_t session) const {
        if (session < 0 || session >= count())
            complain("session must be in 0.." + std::to_string(count() - 1) + "; got " + std::to_string(session));
    }
    void check_field(std::int64_t session, std::int64_t field, const View& view) const {
        check_session(session);
        if (field < 0 || field >= std::int64_t(net_.fields.size())) complain("the state has no such array");
        if (!view.holds('f', 4) || !view.has_shape(net_.fields[field].shape))
            complain(net_.fields[field].name + " must be float32 of shape " + shape_text(net_.fields[field].shape, ""));
    }
    void check_values(const std::string& name, const std::vector<float>& values) const {
        if (!finite(values.data(), std::int64_t(values.size())))
            complain(name + " of the state must be finite; got NaN or infinity");
        const std::int64_t most = net_.architecture.stride - 1;
        if (name == "phase" && !(values[0] >= 0 && values[0] <= float(most) && values[0] == std::floor(values[0])))
            complain("phase of the state must be an integer in 0.." + std::to_string(most) + "; got " +
                     std::to_string(values[0]));
    }
};

// A configuration's architecture, as the fields of unspool.saved.architecture.Architecture.
static nb::dict architecture(const std::string& text) {
    Architecture a;
    try {
        a = read_architecture(std::string_view(text));
    } catch (const std::invalid_argument& error) { complain(error.what()); }
    const auto value = []<class Value>(const Value& v) -> nb::object {
        if constexpr (std::is_same_v<Value, std::vector<std::int64_t>>) {
            nb::list items;
            for (const std::int64_t item : v) items.append(item);
            return nb::tuple(items);
        } else {
            return nb::cast(v);
        }
    };
    nb::dict options, details, out;
    const auto set = [&](std::initializer_list<std::pair<const char*, std::int64_t>> values) {
        for (const auto& [name, value] : values) details[name] = value;
    };
    const auto& [height, width, channels, kernel, stride, size] = a.image;
    if (a.front == Front::image)
        set({{"height", height},
             {"width", width},
             {"channels", channels},
             {"kernel", kernel},
             {"stride", stride},
             {"size", size}});
    if (a.front == Front::sound)
        set({{"rate", a.sound.rate}, {"size", a.sound.size}, {"window", a.sound.window}, {"hop", a.sound.hop}});
    out["front_options"] = details, out["fed"] = a.fed, out["stride"] = a.stride, out["front_size"] = a.front_size;
    out["convolution"] = nb::none();
    if (a.convolution.size) {
        nb::dict convolution;
        convolution["size"] = a.convolution.size, convolution["kernel"] = a.convolution.kernel;
        convolution["stride"] = a.convolution.stride;
        convolution["nonlinearity"] = name_of(kActivations, a.convolution.activation);
        out["convolution"] = convolution;
    }
    for (const Option& option : a.options) options[option.name] = std::visit(value, option.value);
    out["front"] = name_of(kFronts, a.front), out["tokens"] = a.tokens, out["inputs"] = a.inputs;
    out["cell"] = a.cell_name, out["hidden_size"] = a.hidden, out["num_layers"] = a.layers;
    out["dropout"] = a.dropout, out["options"] = options, out["features"] = a.feedback * a.directions();
    out["head"] = name_of(kHeads, a.head), out["outputs"] = a.outputs;
    out["family"] = a.family == Family::none ? nb::none() : nb::cast(name_of(kFamilies, a.family));
    return out;
}

// A method of one argument as the interpreter itself has them, and not as nanobind makes them: it costs no more, it
// takes its argument by place or by name, and help() and inspect.signature() see its signature.
struct Step {
    static constexpr const char *name = "step", *argument = "x";
    static constexpr const char* about =
        "step($self, x)\n--\n\nOne time step of one session: x is a token or (I,), out is (O,).";
    static nb::object call(BoundSessions& sessions, nb::handle x) { return sessions.step(x); }
};
struct Run {
    static constexpr const char *name = "run", *argument = "xs";
    static constexpr const char* about =
        "run($self, xs)\n--\n\nT time steps of one session: xs is (T,) or (T, I), out is (T, O).";
    static nb::object call(BoundSessions& sessions, nb::handle xs) { return sessions.run(xs, false); }
};

template <class Method>
static PyObject* method(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    const Py_ssize_t all = count + (names ? PyTuple_Size(names) : 0);
    if (all != 1)
        return PyErr_Format(PyExc_TypeError, "%s takes one argument, %s; got %zd", Method::name, Method::argument, all);
    PyObject* const given = count ? nullptr : PyTuple_GetItem(names, 0);
    if (given && PyUnicode_CompareWithASCIIString(given, Method::argument) != 0)
        return PyErr_Format(PyExc_TypeError, "%s takes one argument, %s; got one named %U", Method::name,
                            Method::argument, given);
    if (!nb::inst_ready(self)) return PyErr_Format(PyExc_TypeError, "the stream was not made by its __init__");
    // Nothing that C++ throws may pass through the interpreter.
    try {
        return Method::call(*nb::inst_ptr<BoundSessions>(self), arguments[0]).release().ptr();
    } catch (nb::python_error& error) { error.restore(); } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& error) { PyErr_SetString(PyExc_RuntimeError, error.what()); }
    return nullptr;
}
template <class Method>
static void add_method(nb::object type) {
    static PyMethodDef definition{Method::name,
                                  reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(method<Method>)),
                                  METH_FASTCALL | METH_KEYWORDS, Method::about};
    PyObject* made = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition);
    if (!made) throw nb::python_error();
    type.attr(Method::name) = nb::steal(made);
}

void bind_network(nb::module_& m) {
    m.def(
        "read_bandwidth",
        [](std::int64_t bytes, double seconds) {
            nb::gil_scoped_release released;
            return network_sets().front()->read_bandwidth(bytes, seconds);
        },
        nb::arg("bytes"), nb::arg("seconds"), "Bytes a second that one core reads of an array of this size, measured.");
    nb::class_<BoundNetwork>(m, "Network", "The packed weights of a saved network.")
        .def(nb::init<const std::string&, const nb::dict&, const std::string&>(), nb::arg("architecture"),
             nb::arg("weights"), nb::arg("instruction_set") = "")
        .def_prop_ro("bytes", [](const BoundNetwork& n) { return n.network->bytes(); })
        .def_prop_ro("names",
                     [](const BoundNetwork& n) {
                         nb::list out;
                         for (const auto& [name, _] : n.names) out.append(name);
                         return nb::frozenset(out);
                     })
        .def_prop_ro("fields", [](const BoundNetwork& n) {
            nb::list out;
            for (const Field& field : n.network->fields) {
                nb::list shape;
                for (const std::int64_t size : field.shape) shape.append(size);
                out.append(nb::make_tuple(field.name, nb::tuple(shape)));
            }
            return nb::tuple(out);
        });
    m.def("architecture", architecture, nb::arg("text"),
          "What a network is made of, from its configuration in JSON: checked, every option with its default.");
    const nb::class_<BoundSessions> sessions =
        nb::class_<BoundSessions>(m, "Sessions", "Sessions of a network, and their states.")
            .def(nb::init<nb::object, std::int64_t, int>(), nb::arg("network"), nb::arg("count"),
                 nb::arg("threads") = 1)
            .def_prop_ro("count", &BoundSessions::count)
            .def("step_many", &BoundSessions::step_many, nb::arg("x").none(), nb::arg("sessions").none())
            .def("run_many", &BoundSessions::run_many, nb::arg("xs").none())
            .def("predict_many", &BoundSessions::predict_many, nb::arg("sequences"), nb::arg("first"), nb::arg("last"),
                 nb::arg("threads"))
            .def("reset", &BoundSessions::reset, nb::arg("session"))
            .def("read", &BoundSessions::read, nb::arg("session"), nb::arg("field"), nb::arg("to"))
            .def("write", &BoundSessions::write);
    add_method<Step>(sessions);
    add_method<Run>(sessions);
}

}  // namespace unspool
