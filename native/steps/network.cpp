// Compiled once for each instruction set, as sequences/kernels.cpp is: networks made of layers, and their sessions.
//
// A session's state is one array: its phase, if there is a stride; the rings of past samples and of a convolution's
// past inputs; of each layer h and then c, padded, or the ring of a TDNN's past inputs. `fields` is how others see it,
// by the names and shapes of unspool.nn. A step is front end -> convolution -> layers -> head, for at most kRows
// sessions at a time; a row that gives no output at a step goes no further than it must. More sessions are shared among
// threads, each with a Room of intermediate results. Whole sequences are run in such rows, too, and a row whose
// sequence has ended takes the next one. Results never depend on the other rows, on the cut of a sequence or on the
// number of threads: each sum is made in the same order (panels.h).
#include "network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <utility>

#include "../cells.h"
#include "../threads.h"
#include "layers.h"

namespace unspool::UNSPOOL_ISA {

// The arrays of a folder, asked for by name, with the shape that they must have.
class Reader {
    const Tensors& tensors_;
    Number number_;

  public:
    Reader(const Tensors& tensors, Number number) : tensors_(tensors), number_(number) {}

    Tensor matrix(const std::string& name, std::vector<std::int64_t> shape) const { return get(name, shape, number_); }
    const float* floats(const std::string& name, std::vector<std::int64_t> shape) const {
        return static_cast<const float*>(get(name, shape, Number::float32).data);
    }

  private:
    Tensor get(const std::string& name, const std::vector<std::int64_t>& shape, Number number) const {
        const Tensor found = tensors_(name);
        if (!found.data) refuse(name + " is missing");
        if (found.shape != shape) refuse(name + " has another shape than the network");
        if (found.number != number || (number == Number::int8 && !found.scale))
            refuse(name + " has another type of numbers than the network");
        if (number == Number::int8) check_sums(name, found);
        return found;
    }
    // Sums of 32 bits have room for so many products only, and for no -128, which weights are not rounded to.
    static void check_sums(const std::string& name, const Tensor& matrix) {
        if (padded(matrix.shape[1]) > Int8::most) refuse(name + " has too many columns for int8");
        std::int64_t count = 1;
        for (const std::int64_t axis : matrix.shape) count *= axis;
        if (std::memchr(matrix.data, 0x80, std::size_t(count))) refuse(name + " must have numbers in -127..127");
    }
};

// Number i of a matrix of any kind, for the tables of tokens.
static float as_float(const Tensor& matrix, std::int64_t i, std::int64_t columns) {
    switch (matrix.number) {
        case Number::float32: return static_cast<const float*>(matrix.data)[i];
        case Number::bfloat16: {
            const std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t*>(matrix.data)[i]) << 16;
            float out;
            std::memcpy(&out, &bits, sizeof out);
            return out;
        }
        case Number::int8: return static_cast<const std::int8_t*>(matrix.data)[i] * matrix.scale[i / columns];
    }
    __builtin_unreachable();
}

// Within bounds; NaN, too, which another thread may have put into an array after it was checked.
static float bounded(float x, float most) { return std::max(-most, std::min(most, x)); }

// e^(s - largest), so that nothing overflows. The total is added in order, by itself: the result must not depend on the
// width of a vector more than rounding makes it.
static void softmax(float* s, std::int64_t size, std::int64_t O, float* y) {
    float most = s[0], total = 0;
    for (std::int64_t i = 1; i < O; ++i) most = std::max(most, s[i]);
    for (std::int64_t i = 0; i < size; i += kVector) {
        const auto [power, fraction] = exponential(clamp<Floats>(load(s + i) - most, Floats{} - 87, Floats{}), 1);
        store(s + i, power * fraction + power);
    }
    for (std::int64_t i = 0; i < O; ++i) total += s[i];
    for (std::int64_t i = 0; i < O; ++i) y[i] = s[i] / total;
}

// How many of the head's outputs come before those that must be positive.
static std::int64_t locations(Family family, std::int64_t O) {
    switch (family) {
        case Family::none: return O;
        case Family::normal:
        case Family::laplace: return O / 2;
        case Family::poisson: return 0;
    }
    __builtin_unreachable();
}

// The head's outputs y, (O), from its sums s, (padded O), of which nothing is left.
static void apply_head(const Architecture& a, float* s, float* y) {
    const std::int64_t O = a.outputs, size = padded(O, kVector);
    switch (a.head) {
        case Head::softmax: return softmax(s, size, O, y);
        case Head::logistic:
            for (std::int64_t i = 0; i < size; i += kVector) store(s + i, sigmoid(load(s + i)));
            break;
        case Head::distribution:
            for (std::int64_t i = locations(a.family, O); i < O; ++i)
                s[i] = std::max(s[i], 0.0f) + std::log1p(std::exp(-std::fabs(s[i])));
            break;
        case Head::linear: break;
    }
    std::copy_n(s, O, y);
}

template <class W>
class LoadedNetwork;

// The states of some sessions. `which` picks among them, `tokens` or `x` are their inputs of one step, one after
// another.
template <class W>
class LoadedSessions final : public Sessions {
    // What a step is given of one session; without y its outputs are not wanted. `phase` is that before the step.
    struct Row {
        float* state;
        const float* x;
        const std::int64_t* token;
        float* y;
        std::int64_t phase = 0;
    };
    // Patches of images, and what a convolution makes of them: kRows at a time, of any sessions.
    struct Patches {
        Buffer<float> in, out;
        Feed feed[kRows];
        float *none[kRows] = {}, *outs[kRows];
    };
    // A row that goes through whole sequences, and at which step it is.
    struct Cursor {
        const Sequence* sequence;
        std::int64_t step;
        float* state;
    };
    // Intermediate results of a thread: features of the layers in turn, in a and b; pointers for the rows of a step.
    struct Room {
        Buffer<float> a, b, head, inputs;
        std::vector<Row> rows;
        std::vector<Feed> feed;
        std::vector<float*> state, out;
        Scratch<W> scratch;
        Scratch<Float32> before;  // of what comes before the layers
        Patches patches;
    };
    const LoadedNetwork<W>& net_;
    std::int64_t count_, features_;
    Buffer<float> states_;
    std::vector<Room> rooms_;

  public:
    [[gnu::cold]] LoadedSessions(const LoadedNetwork<W>& net, std::int64_t count, int threads);
    std::int64_t count() const override { return count_; }
    void reset(std::int64_t session) override;
    std::int64_t phase(std::int64_t session) const override {
        // The passes of both directions count for themselves.
        const bool counts = net_.strides() && !net_.architecture.bidirectional;
        return counts ? integer_at(&states_[session * std::max<std::int64_t>(net_.state, 1)]) : 0;
    }
    void read(std::int64_t session, std::size_t field, float* to) const override;
    void write(std::int64_t session, std::size_t field, const float* from) override;
    void step(std::int64_t rows, const std::int64_t* which, const float* x, const std::int64_t* tokens,
              float* y) override;
    void run(std::int64_t steps, const float* x, const std::int64_t* tokens, float* y) override;
    void predict(std::vector<Sequence> sequences, bool last);

  private:
    void reserve(Room& room, std::int64_t rows) const;
    float* state(std::int64_t session) { return &states_[session * std::max<std::int64_t>(net_.state, 1)]; }
    // Calls body(room, begin, end) for parts of so many rows, on several threads where they are worth it.
    template <class Body>
    void share(std::int64_t rows, std::int64_t steps, const Body& body);
    template <class Body>
    void in_rows(const std::vector<Sequence>& sequences, const Body& body);
    void some(Room& room, std::int64_t begin, std::int64_t end, const std::int64_t* which, const float* x,
              const std::int64_t* tokens, float* y);
    Row row(const Cursor& at, bool reverse, bool last, std::int64_t stride) const;
    // These return how many rows go on: those that give an output, which come first then.
    std::int64_t front(Room& room, std::int64_t rows);
    std::int64_t listen(Room& room, std::int64_t rows);
    std::int64_t convolve(Room& room, std::int64_t rows);
    void see(Room& room, std::int64_t rows);
    template <class Skip>
    std::int64_t keep_due(Room& room, std::int64_t rows, std::int64_t every, const Skip& skip);
    void head(Room& room, std::int64_t rows);
    void step(Room& room, std::int64_t rows);
    void both_directions(std::vector<Sequence> sequences, bool last);
};

// The weights of all layers, in panels of one kind of numbers. What runs only when a network is loaded is cold, here
// and in layers.h: the compiler makes it smaller.
template <class W>
class LoadedNetwork final : public Network {
    friend class LoadedSessions<W>;
    std::vector<std::unique_ptr<Layer<W>>> layers_;     // those of one direction, then of the other, in every layer
    std::vector<std::int64_t> offsets_;                 // of each in a session's state
    std::vector<std::int64_t> inner_;                   // of c in a layer's state
    std::vector<std::pair<Ring, std::int64_t>> rings_;  // with their places in a session's state
    std::vector<float> initial_, embedding_, mean_, inverse_std_;
    Linear<W> head_;

    // What comes before the layers has float32 weights, and is made of time-delay layers, most of which have no past.
    using Before = std::unique_ptr<TimeDelayLayer<Float32>>;
    Before patches_, waves_, mel_, convolution_;  // of an image; of sound: the Fourier transform and the filters
    Ring samples_{};
    std::int64_t samples_at_ = 0, convolution_at_ = 0;

  public:
    std::int64_t state = 0, width = 0;  // numbers of a session's state; of the widest features
    bool tokens_to_layer = false;       // the first layer has a table

    [[gnu::cold]] LoadedNetwork(const Architecture& a, const Reader& reader) {
        architecture = a;
        if (strides()) reserve(kPad);
        const std::vector<float> products = front(reader);
        if (a.convolution.size) convolution(reader);
        if (a.time_delay) make_delays(reader);
        else make_layers(reader, tokens_to_layer && a.front == Front::embedding ? &products : nullptr);
        head_.pack(reader.matrix("head.weight", {a.outputs, a.feedback * a.directions()}), a.feedback * a.directions(),
                   a.outputs, reader.floats("head.bias", {a.outputs}), Activation::identity);
        width = std::max({width, padded(a.inputs), padded(a.fed), padded(a.feedback * a.directions())});
        set_fields();
    }
    [[gnu::cold]] std::unique_ptr<Sessions> sessions(std::int64_t count, int threads) const override {
        return std::make_unique<LoadedSessions<W>>(*this, count, threads);
    }
    void predict(std::vector<Sequence> sequences, bool last, int threads) const override {
        const auto count = std::int64_t(sequences.size());
        if (!count) return;
        const std::int64_t rows = std::clamp<std::int64_t>(kState / std::max<std::int64_t>(state, 1), 1, kRows);
        LoadedSessions<W>(*this, std::min(count, threads * rows), threads).predict(std::move(sequences), last);
    }
    std::int64_t bytes() const override {
        std::int64_t sum = head_.weights.bytes();
        for (const Before* before : {&patches_, &waves_, &mel_, &convolution_}) sum += *before ? (*before)->bytes() : 0;
        for (const auto& layer : layers_) sum += layer->bytes();
        return sum;
    }

    bool strides() const { return architecture.stride > 1; }
    // Whether steps make the first layer's features from more than one input, or at a cost.
    bool before() const { return patches_ || waves_ || convolution_; }

  private:
    // A configuration of a few bytes could otherwise claim any memory: steps back, and numbers of a session's state.
    static constexpr std::int64_t kPast = 1 << 20, kState = 1 << 26;
    // A table of all tokens is made if it has at most so many numbers, and takes at most so many products to make.
    static constexpr std::int64_t kTable = 1 << 20, kWork = 1 << 27;

    // Reads the front end, and decides on a table for tokens; the embedding, where one is to be made of it.
    [[gnu::cold]] std::vector<float> front(const Reader& reader) {
        const Architecture& a = architecture;
        switch (a.front) {
            case Front::dense: scaling(reader, a.inputs, a.inputs); return {};
            case Front::one_hot: tokens_to_layer = !a.time_delay && !a.convolution.size; return {};
            case Front::embedding: return embedding(reader);
            case Front::image: image(reader); return {};
            case Front::sound: sound(reader); return {};
        }
        __builtin_unreachable();
    }
    // One mean and deviation for each of `count` features, or the same few again and again.
    void scaling(const Reader& reader, std::int64_t count, std::int64_t features) {
        const float *mean = reader.floats("front.mean", {count}), *std = reader.floats("front.std", {count});
        mean_.assign(features, 0), inverse_std_.assign(features, 0);
        for (std::int64_t i = 0; i < features; ++i) {
            mean_[i] = mean[i % count], inverse_std_[i] = 1 / std[i % count];
            if (!(std[i % count] > 0 && std::isfinite(inverse_std_[i]))) refuse("front.std must have positive numbers");
        }
    }
    // A product that has no past: y = φ(W x + b), W (rows, columns).
    static Before product(const float* w, std::int64_t rows, std::int64_t columns, const float* b, Activation phi) {
        return std::make_unique<TimeDelayLayer<Float32>>(Tensor{w, Number::float32, {rows, columns, 1}, nullptr}, b,
                                                         phi, 1);
    }
    // The weights (F, c, k, k) go with a patch as it lies in memory, (k, k, c).
    void image(const Reader& reader) {
        const Image& i = architecture.image;
        const std::int64_t k = i.kernel, c = i.channels, size = k * k * c;
        scaling(reader, c, architecture.inputs);
        const float* w = reader.floats("front.weight", {i.size, c, k, k});
        std::vector<float> turned(i.size * size);
        for (std::int64_t f = 0; f < i.size; ++f)
            for (std::int64_t j = 0; j < size; ++j) turned[f * size + j] = w[f * size + j % c * k * k + j / c];
        patches_ = product(turned.data(), i.size, size, reader.floats("front.bias", {i.size}), Activation::relu);
    }
    // The window and the Fourier transform are one matrix: of each frequency the cosine, then of each the sine.
    void sound(const Reader& reader) {
        const Sound& s = architecture.sound;
        const std::int64_t N = s.window, K = s.bins();
        const double turn = 2 * 3.14159265358979323846 / double(N);
        scaling(reader, s.size, s.size);
        const float* filters = reader.floats("front.filters", {s.size, K});
        std::vector<float> waves(2 * K * N);
        for (std::int64_t k = 0; k < K; ++k)
            for (std::int64_t n = 0; n < N; ++n) {
                const double window = 0.5 - 0.5 * std::cos(turn * double(n)), angle = turn * double(k * n % N);
                waves[k * N + n] = float(window * std::cos(angle));
                waves[(K + k) * N + n] = float(window * std::sin(angle));
            }
        waves_ = product(waves.data(), 2 * K, N, nullptr, Activation::identity);
        mel_ = product(filters, s.size, K, nullptr, Activation::identity);
        width = std::max({width, padded(N), waves_->out, mel_->out});
        samples_ = {N - 1, 1, 1};
        samples_at_ = reserve(samples_.size());
        rings_.push_back({samples_, samples_at_});
        names_.push_back("samples");
    }
    [[gnu::cold]] void convolution(const Reader& reader) {
        const Convolution& c = architecture.convolution;
        const std::int64_t I = architecture.front_size;
        const float* w = reader.floats("convolution.weight", {c.size, I, c.kernel});
        check_past(c.kernel - 1, I, "kernel reaches");
        convolution_ =
            std::make_unique<TimeDelayLayer<Float32>>(Tensor{w, Number::float32, {c.size, I, c.kernel}, nullptr},
                                                      reader.floats("convolution.bias", {c.size}), c.activation, 1);
        width = std::max({width, padded(I), convolution_->out});
        convolution_at_ = reserve(convolution_->state);
        rings_.push_back({convolution_->ring(I), convolution_at_});
        names_.push_back("convolution");
    }
    // A place for so many numbers in a session's state.
    std::int64_t reserve(std::int64_t numbers) {
        state += numbers;
        initial_.resize(state);
        return state - numbers;
    }
    void check_past(std::int64_t past, std::int64_t inputs, const std::string& what) const {
        if (past > kPast) refuse(what + " more than 2^20 steps back");
        if (state + past * padded(inputs) > kState) refuse(what + " back over more than 2^26 numbers");
    }
    std::vector<float> embedding(const Reader& reader) {
        const Architecture& a = architecture;
        const std::int64_t rows = gates() * a.hidden;
        const float* embedding = reader.floats("front.weight", {a.tokens, a.inputs});
        tokens_to_layer =
            !a.time_delay && !a.convolution.size && a.tokens * rows <= kTable && a.tokens * a.inputs * rows <= kWork;
        if (tokens_to_layer) return {embedding, embedding + a.tokens * a.inputs};
        embedding_.assign(a.tokens * padded(a.inputs), 0);
        for (std::int64_t t = 0; t < a.tokens; ++t)
            std::copy_n(embedding + t * a.inputs, a.inputs, &embedding_[t * padded(a.inputs)]);
        return {};
    }
    std::int64_t size_of(std::size_t inner) const { return inner ? architecture.hidden : architecture.feedback; }
    std::int64_t gates() const { return facts(architecture.cell).gates; }
    bool has_c() const { return facts(architecture.cell).states == 2; }

    // W_ih e for the embedding e of every token, or for 1-of-I inputs: (tokens, rows).
    std::vector<float> products_of(const Tensor& w_ih, std::int64_t rows, const std::vector<float>* embedding) const {
        const std::int64_t I = architecture.inputs, K = architecture.tokens;
        std::vector<float> out(K * rows);
        std::vector<double> sum(rows);
        std::vector<float> columns(rows * I);
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t i = 0; i < I; ++i) columns[i * rows + r] = as_float(w_ih, r * I + i, I);
        for (std::int64_t t = 0; t < K; ++t) {
            if (!embedding) {
                std::copy_n(&columns[t * rows], rows, &out[t * rows]);
                continue;
            }
            std::fill(sum.begin(), sum.end(), 0.0);
            for (std::int64_t i = 0; i < I; ++i)
                for (std::int64_t r = 0; r < rows; ++r)
                    sum[r] += double((*embedding)[t * I + i]) * double(columns[i * rows + r]);
            std::copy(sum.begin(), sum.end(), &out[t * rows]);
        }
        return out;
    }

    // Of every layer and direction: its weights by their names, its panels, and its place in a session's state.
    [[gnu::cold]] void make_layers(const Reader& reader, const std::vector<float>* embedding) {
        const Architecture& a = architecture;
        const std::int64_t G = gates(), H = a.hidden, R = a.feedback;
        const bool jordan = a.cell == Cell::jordan;
        for (std::int64_t l = 0; l < a.layers; ++l)
            for (int d = 0; d < a.directions(); ++d) {
                const std::string suffix = "_l" + std::to_string(l) + (d ? "_reverse" : "");
                const auto name = [&](const char* base) { return std::string("recurrent.") + base + suffix; };
                LayerWeights w{};
                w.I = l ? R * a.directions() : a.fed, w.H = H, w.R = R, w.rows = G * H;
                w.w_ih = reader.matrix(name("weight_ih"), {G * H, w.I});
                w.w_hh = reader.matrix(name(jordan ? "weight_yh" : "weight_hh"), {G * H, R});
                if (jordan || a.projection) w.w_hr = reader.matrix(name(jordan ? "weight_hy" : "weight_hr"), {R, H});
                if (a.bias) {
                    w.b_ih = reader.floats(name(jordan ? "bias_h" : "bias_ih"), {G * H});
                    if (jordan) w.b_hr = reader.floats(name("bias_y"), {R});
                    else w.b_hh = reader.floats(name("bias_hh"), {G * H});
                }
                if (a.peephole) w.peephole = reader.floats(name("weight_peephole"), {G - 1, H});
                std::vector<float> products;
                if (l == 0 && tokens_to_layer) {
                    products = products_of(w.w_ih, w.rows, embedding);
                    w.products = &products;
                }
                add(make_layer<W>(a.cell, w, a.activation, a.output_activation));
                inner_.push_back(layers_.back()->out);
                if (a.initial) {
                    std::copy_n(reader.floats(name("initial_h"), {R}), R, &initial_[offsets_.back()]);
                    if (has_c())
                        std::copy_n(reader.floats(name("initial_c"), {H}), H,
                                    &initial_[offsets_.back() + inner_.back()]);
                }
            }
    }
    [[gnu::cold]] void make_delays(const Reader& reader) {
        const Architecture& a = architecture;
        for (std::int64_t l = 0; l < a.layers; ++l) {
            const std::string name = "recurrent.layers." + std::to_string(l);
            const std::int64_t I = l ? a.hidden : a.fed;
            const Tensor w = reader.matrix(name + ".weight", {a.hidden, I, a.window[l]});
            check_past((a.window[l] - 1) * a.dilation[l], I, "window and dilation reach");
            auto layer = std::make_unique<TimeDelayLayer<W>>(
                w, a.bias ? reader.floats(name + ".bias", {a.hidden}) : nullptr, a.activation, a.dilation[l]);
            rings_.push_back({layer->ring(I), state});
            names_.push_back("window_l" + std::to_string(l));
            add(std::move(layer));
        }
    }
    void add(std::unique_ptr<Layer<W>> layer) {
        offsets_.push_back(reserve(layer->state));
        width = std::max(width, layer->out);
        layers_.push_back(std::move(layer));
    }
    // What a session's state is for others.
    [[gnu::cold]] void set_fields() {
        const Architecture& a = architecture;
        if (a.bidirectional) return;
        for (std::size_t k = 0; k < rings_.size(); ++k)
            fields.push_back({names_[k], {rings_[k].first.past, rings_[k].first.inputs}});
        if (strides()) fields.push_back({"phase", {1}});
        if (a.time_delay) return;
        fields.push_back({"h", {a.layers, a.feedback}});
        if (has_c()) fields.push_back({"c", {a.layers, a.hidden}});
    }
    std::vector<std::string> names_;  // of the rings
};

template <class W>
LoadedSessions<W>::LoadedSessions(const LoadedNetwork<W>& net, std::int64_t count, int threads)
    : net_(net), count_(count), features_(net.width), rooms_(std::clamp<std::int64_t>(count, 1, threads)) {
    const std::int64_t rows = std::min(count, kRows);
    states_.resize(count * std::max<std::int64_t>(net.state, 1));
    for (Room& room : rooms_) reserve(room, rows);
    for (std::int64_t s = 0; s < count; ++s) reset(s);
}

// All memory that steps of so many rows need: a step asks for none, and so cannot end halfway.
template <class W>
void LoadedSessions<W>::reserve(Room& room, std::int64_t rows) const {
    room.head.resize(rows * padded(net_.head_.size())), room.head.zero();
    for (Buffer<float>* buffer : {&room.a, &room.b, &room.inputs}) buffer->resize(rows * features_), buffer->zero();
    room.rows.resize(rows), room.feed.resize(rows), room.state.resize(rows), room.out.resize(rows);
    for (const auto& layer : net_.layers_) layer->reserve(rows, room.scratch);
    net_.head_.reserve(rows, room.scratch);
    for (const auto* before : {&net_.waves_, &net_.mel_, &net_.convolution_})
        if (*before) (*before)->reserve(rows, room.before);
    if (!net_.patches_) return;
    const Image& i = net_.architecture.image;
    const std::int64_t patches = std::min(kRows, rows * i.rows() * i.columns());
    room.patches.in.resize(patches * padded(i.kernel * i.kernel * i.channels)), room.patches.in.zero();
    room.patches.out.resize(patches * net_.patches_->out);
    net_.patches_->reserve(patches, room.before);
}

template <class W>
void LoadedSessions<W>::reset(std::int64_t session) {
    std::copy(net_.initial_.begin(), net_.initial_.end(), state(session));
}

// The rings come first, then the phase, then h and c of all layers.
template <class W>
void LoadedSessions<W>::read(std::int64_t session, std::size_t field, float* to) const {
    const float* from = &states_[session * std::max<std::int64_t>(net_.state, 1)];
    if (field < net_.rings_.size()) return net_.rings_[field].first.read(from + net_.rings_[field].second, to);
    field -= net_.rings_.size();
    if (net_.strides() && field-- == 0) return void(*to = float(integer_at(from)));
    for (std::size_t l = 0; l < net_.layers_.size(); ++l, to += net_.size_of(field))
        std::copy_n(from + net_.offsets_[l] + (field ? net_.inner_[l] : 0), net_.size_of(field), to);
}

template <class W>
void LoadedSessions<W>::write(std::int64_t session, std::size_t field, const float* from) {
    float* to = state(session);
    if (field < net_.rings_.size()) return net_.rings_[field].first.write(to + net_.rings_[field].second, from);
    field -= net_.rings_.size();
    if (net_.strides() && field-- == 0)
        return put_integer(to, std::int64_t(std::clamp(*from, 0.0f, float(net_.architecture.stride - 1))));
    for (std::size_t l = 0; l < net_.layers_.size(); ++l, from += net_.size_of(field))
        std::copy_n(from, net_.size_of(field), to + net_.offsets_[l] + (field ? net_.inner_[l] : 0));
}

// Of the rows, those at a multiple of `every` steps come first; skip(r) is called for the others. How many those are.
template <class W>
template <class Skip>
std::int64_t LoadedSessions<W>::keep_due(Room& room, std::int64_t rows, std::int64_t every, const Skip& skip) {
    std::int64_t due = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
        if (room.rows[r].phase % every) skip(r);
        else room.rows[due] = room.rows[r], room.feed[due++] = room.feed[r];
    }
    return due;
}

// The features of all patches of the images in the feed: those of a patch, (F), one after another.
template <class W>
void LoadedSessions<W>::see(Room& room, std::int64_t rows) {
    const Image& i = net_.architecture.image;
    const std::int64_t line = i.width * i.channels, part = i.kernel * i.channels, stride = padded(i.kernel * part);
    const std::int64_t each = i.rows() * i.columns(), out = net_.patches_->out;
    Patches& p = room.patches;
    for (std::int64_t first = 0; first < rows * each; first += kRows) {
        const std::int64_t count = std::min(kRows, rows * each - first);
        for (std::int64_t j = 0; j < count; ++j) {
            const std::int64_t at = (first + j) % each;
            const float* from = room.feed[(first + j) / each].x + at / i.columns() * i.stride * line +
                                at % i.columns() * i.stride * i.channels;
            for (std::int64_t k = 0; k < i.kernel; ++k)
                std::copy_n(from + k * line, part, &p.in[j * stride + k * part]);
            p.feed[j].x = &p.in[j * stride], p.outs[j] = &p.out[j * out];
        }
        net_.patches_->step(count, p.feed, p.none, p.outs, room.before);
        for (std::int64_t j = 0; j < count; ++j)
            std::copy_n(p.outs[j], i.size, &room.inputs[(first + j) / each * features_ + (first + j) % each * i.size]);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const to = &room.inputs[r * features_];
        std::fill(to + each * i.size, to + padded(each * i.size), 0.0f);
        room.feed[r].x = to;
    }
}

// Keeps the samples; where the hop wants it, the scaled logarithms of the energies that the filters let through.
template <class W>
std::int64_t LoadedSessions<W>::listen(Room& room, std::int64_t rows) {
    const Sound& s = net_.architecture.sound;
    const std::int64_t K = s.bins(), past = s.window - 1;
    const auto keep = [&](const Row& row) {
        const float sample = bounded(*row.x, 1e15f);  // whose squares are still numbers
        net_.samples_.push(&sample, row.state + net_.samples_at_);
        return sample;
    };
    rows = keep_due(room, rows, s.hop, [&](std::int64_t r) { keep(room.rows[r]); });
    for (std::int64_t r = 0; r < rows; ++r) {
        float* frame = &room.a[r * features_];
        net_.samples_.read(room.rows[r].state + net_.samples_at_, frame);
        frame[past] = keep(room.rows[r]);
        std::fill(frame + s.window, frame + padded(s.window), 0.0f);
        room.feed[r].x = frame, room.out[r] = &room.b[r * features_];
    }
    net_.waves_->step(rows, room.feed.data(), room.patches.none, room.out.data(), room.before);
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const power = room.out[r];
        for (std::int64_t k = 0; k < K; ++k) power[k] = power[k] * power[k] + power[K + k] * power[K + k];
        std::fill(power + K, power + padded(K), 0.0f);
        room.feed[r].x = power, room.out[r] = &room.inputs[r * features_];
    }
    net_.mel_->step(rows, room.feed.data(), room.patches.none, room.out.data(), room.before);
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const to = room.out[r];
        for (std::int64_t i = 0; i < s.size; ++i)
            to[i] =
                bounded((std::log(std::max(0.0f, to[i]) + Sound::floor) - net_.mean_[i]) * net_.inverse_std_[i], 1e34f);
        room.feed[r].x = to;
    }
    return rows;
}

template <class W>
std::int64_t LoadedSessions<W>::convolve(Room& room, std::int64_t rows) {
    const auto state = [&](std::int64_t r) { return room.rows[r].state + net_.convolution_at_; };
    rows = keep_due(room, rows, net_.architecture.stride,
                    [&](std::int64_t r) { net_.convolution_->remember(room.feed[r].x, state(r)); });
    for (std::int64_t r = 0; r < rows; ++r) room.state[r] = state(r), room.out[r] = &room.b[r * features_];
    net_.convolution_->step(rows, room.feed.data(), room.state.data(), room.out.data(), room.before);
    for (std::int64_t r = 0; r < rows; ++r) room.feed[r].x = room.out[r];
    return rows;
}

// Fills the feed: the first layer's inputs.
template <class W>
std::int64_t LoadedSessions<W>::front(Room& room, std::int64_t rows) {
    const Architecture& a = net_.architecture;
    for (std::int64_t r = 0; r < rows; ++r) {
        Row& row = room.rows[r];
        float* to = &(net_.patches_ ? room.a : room.inputs)[r * features_];
        if (net_.strides()) {
            row.phase = integer_at(row.state);
            put_integer(row.state, (row.phase + 1) % a.stride);
        }
        Feed& feed = room.feed[r] = Feed{to, row.token ? *row.token : -1};
        if (net_.tokens_to_layer) {
            feed.x = nullptr;
        } else if (a.front == Front::embedding) {
            feed.x = &net_.embedding_[feed.token * padded(a.inputs)];
        } else if (row.token) {
            std::fill_n(to, padded(a.inputs), 0.0f);
            to[feed.token] = 1;
        } else if (!net_.waves_) {
            // Within bounds in which no product overflows: what is not finite would stay in the state for good.
            for (std::int64_t i = 0; i < a.inputs; ++i)
                to[i] = bounded((row.x[i] - net_.mean_[i]) * net_.inverse_std_[i], 1e34f);
        }
    }
    if (net_.patches_) see(room, rows);
    if (net_.waves_) rows = listen(room, rows);
    return net_.convolution_ && rows ? convolve(room, rows) : rows;
}

// The outputs of the rows that want them, from the features in the feed.
template <class W>
void LoadedSessions<W>::head(Room& room, std::int64_t rows) {
    const std::int64_t stride = padded(net_.head_.size());
    std::int64_t wanted = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
        if (!room.rows[r].y) continue;
        room.feed[wanted].x = room.feed[r].x, room.rows[wanted].y = room.rows[r].y;
        room.out[wanted] = &room.head[wanted * stride];
        ++wanted;
    }
    net_.head_(wanted, room.scratch, [&](std::int64_t r) { return room.feed[r].x; }, room.out.data());
    for (std::int64_t r = 0; r < wanted; ++r) apply_head(net_.architecture, room.out[r], room.rows[r].y);
}

// One step of the first rows of a room.
template <class W>
void LoadedSessions<W>::step(Room& room, std::int64_t rows) {
    room.scratch.backwards = !room.scratch.backwards;
    rows = front(room, rows);
    if (!rows) return;
    for (std::size_t l = 0; l < net_.layers_.size(); ++l) {
        Buffer<float>& to = l % 2 ? room.b : room.a;
        for (std::int64_t r = 0; r < rows; ++r) {
            room.state[r] = room.rows[r].state + net_.offsets_[l];
            room.out[r] = &to[r * features_];
        }
        net_.layers_[l]->step(rows, room.feed.data(), room.state.data(), room.out.data(), room.scratch);
        for (std::int64_t r = 0; r < rows; ++r) room.feed[r].x = room.out[r];
    }
    head(room, rows);
}

// A thread is begun in the time of some ten million products.
static bool worth_threads(double steps, std::int64_t bytes) { return steps * double(bytes) >= 4e7; }

template <class W>
template <class Body>
void LoadedSessions<W>::share(std::int64_t rows, std::int64_t steps, const Body& body) {
    const std::int64_t tiles = (rows + kAccumulators - 1) / kAccumulators;  // of which all tiles are parts
    const bool several = worth_threads(double(rows) * double(steps), net_.bytes());
    const int tasks = several ? int(std::min<std::int64_t>(rooms_.size(), tiles)) : 1;
    parallel(tasks, [&](int task) {
        const auto bound = [&](std::int64_t k) { return std::min(rows, tiles * k / tasks * kAccumulators); };
        body(rooms_[task], bound(task), bound(task + 1));
    });
}

// One step of the rows begin ... end.
template <class W>
void LoadedSessions<W>::some(Room& room, std::int64_t begin, std::int64_t end, const std::int64_t* which,
                             const float* x, const std::int64_t* tokens, float* y) {
    const Architecture& a = net_.architecture;
    for (std::int64_t first = begin; first < end; first += kRows) {
        const std::int64_t count = std::min(kRows, end - first);
        for (std::int64_t r = 0; r < count; ++r) {
            const std::int64_t i = first + r;
            float* const s = state(which ? which[i] : i);
            float* to = y ? y + i * a.outputs : nullptr;
            if (y && net_.strides() && integer_at(s)) std::fill_n(std::exchange(to, nullptr), a.outputs, NAN);
            room.rows[r] = {s, x ? x + i * a.inputs : nullptr, tokens ? tokens + i : nullptr, to};
        }
        step(room, count);
    }
}

template <class W>
void LoadedSessions<W>::step(std::int64_t rows, const std::int64_t* which, const float* x, const std::int64_t* tokens,
                             float* y) {
    if (rows <= kRows) return some(rooms_[0], 0, rows, which, x, tokens, y);
    share(rows, 1,
          [&](Room& room, std::int64_t begin, std::int64_t end) { some(room, begin, end, which, x, tokens, y); });
}

template <class W>
void LoadedSessions<W>::run(std::int64_t steps, const float* x, const std::int64_t* tokens, float* y) {
    const Architecture& a = net_.architecture;
    if (a.bidirectional) return predict({{steps, x, tokens, y}}, false);
    const std::int64_t phase0 = phase(0);
    share(count_, steps, [&](Room& room, std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = 0; t < steps; ++t) {
            float* const to = (phase0 + t) % a.stride ? nullptr : y + a.outputs_in(phase0, t) * count_ * a.outputs;
            some(room, begin, end, nullptr, x ? x + t * count_ * a.inputs : nullptr,
                 tokens ? tokens + t * count_ : nullptr, to);
        }
    });
}

// Calls body(room, cursors, rows) for every step of all sequences, the longest of which come first. Each thread begins
// with some of all lengths; a row whose sequence has ended takes the next one, and goes when there is none.
template <class W>
template <class Body>
void LoadedSessions<W>::in_rows(const std::vector<Sequence>& sequences, const Body& body) {
    const auto n = std::int64_t(sequences.size());
    double steps = 0;
    for (const Sequence& sequence : sequences) steps += double(sequence.steps);
    const int tasks = worth_threads(steps, net_.bytes()) ? int(rooms_.size()) : 1;
    const std::int64_t each = std::min(kRows, count_ / tasks);
    std::atomic<std::int64_t> next{tasks * each};
    parallel(tasks, [&](int task) {
        std::vector<Cursor> at(each);
        std::int64_t rows = 0;
        const auto take = [&](std::int64_t r, std::int64_t i) {
            if (i >= n || !sequences[i].steps) return false;
            at[r].sequence = &sequences[i], at[r].step = 0;
            std::copy(net_.initial_.begin(), net_.initial_.end(), at[r].state);
            return true;
        };
        for (std::int64_t r = 0; r < each; ++r) {
            at[r].state = state(task * each + r);
            rows += take(r, r * tasks + task);
        }
        while (rows) {
            body(rooms_[task], at.data(), rows);
            for (std::int64_t r = 0; r < rows;)
                if (++at[r].step < at[r].sequence->steps || take(r, next++)) ++r;
                else std::swap(at[r], at[--rows]);
        }
    });
}

// The row of a cursor's step; `reverse` begins with the last one. Every `stride`-th step has an output.
template <class W>
typename LoadedSessions<W>::Row LoadedSessions<W>::row(const Cursor& at, bool reverse, bool last,
                                                       std::int64_t stride) const {
    const Architecture& a = net_.architecture;
    const auto& [steps, x, tokens, y] = *at.sequence;
    const std::int64_t t = reverse ? steps - 1 - at.step : at.step;
    const std::int64_t out = t / stride, final = (steps - 1) / stride;
    float* const to = t % stride || (last && out != final) ? nullptr : y + (last ? 0 : out * a.outputs);
    return {at.state, x ? x + t * a.inputs : nullptr, tokens ? tokens + t : nullptr, to};
}

template <class W>
void LoadedSessions<W>::predict(std::vector<Sequence> sequences, bool last) {
    std::stable_sort(sequences.begin(), sequences.end(), [](auto& a, auto& b) { return a.steps > b.steps; });
    if (net_.architecture.bidirectional) return both_directions(std::move(sequences), last);
    in_rows(sequences, [&](Room& room, const Cursor* at, std::int64_t rows) {
        for (std::int64_t r = 0; r < rows; ++r) room.rows[r] = row(at[r], false, last, net_.architecture.stride);
        step(room, rows);
    });
}

// Layer by layer: each needs the outputs of both directions of the one below at every step. What comes before the
// layers is run first, and its outputs are the steps of the layers.
template <class W>
void LoadedSessions<W>::both_directions(std::vector<Sequence> sequences, bool last) {
    const Architecture& a = net_.architecture;
    const std::int64_t stride = padded(std::max(2 * a.feedback, a.fed));
    std::vector<std::int64_t> begins;  // where the features of a sequence begin
    std::int64_t total = 0;
    for (const Sequence& sequence : sequences)
        begins.push_back(total), total += a.outputs_in(0, sequence.steps) * stride;
    std::vector<float> from(total), to(total);
    const auto place = [&](const Cursor& at, bool reverse) {
        const std::int64_t t = reverse ? at.sequence->steps - 1 - at.step : at.step;
        return begins[at.sequence - sequences.data()] + t * stride;
    };
    const bool before = net_.before();
    if (before) {
        in_rows(sequences, [&](Room& room, const Cursor* at, std::int64_t rows) {
            for (std::int64_t r = 0; r < rows; ++r) {
                room.rows[r] = row(at[r], false, false, a.stride);
                room.rows[r].y = &from[begins[at[r].sequence - sequences.data()] + at[r].step / a.stride * stride];
            }
            rows = front(room, rows);
            for (std::int64_t r = 0; r < rows; ++r) std::copy_n(room.feed[r].x, a.fed, room.rows[r].y);
        });
        for (Sequence& one : sequences) one = {a.outputs_in(0, one.steps), nullptr, nullptr, one.y};
    }
    for (std::size_t l = 0; l < net_.layers_.size(); ++l) {
        const bool reverse = l % 2;
        in_rows(sequences, [&](Room& room, const Cursor* at, std::int64_t rows) {
            for (std::int64_t r = 0; r < rows; ++r) {
                room.rows[r] = row(at[r], reverse, last, 1);
                room.feed[r] = {&from[place(at[r], reverse)], -1};
                room.state[r] = at[r].state + net_.offsets_[l], room.out[r] = &room.a[r * features_];
            }
            if (l < 2 && !before) front(room, rows);
            room.scratch.backwards = !room.scratch.backwards;
            net_.layers_[l]->step(rows, room.feed.data(), room.state.data(), room.out.data(), room.scratch);
            for (std::int64_t r = 0; r < rows; ++r)
                std::copy_n(room.out[r], a.feedback, &to[place(at[r], reverse) + (reverse ? a.feedback : 0)]);
        });
        if (reverse) std::swap(from, to);
        if (l == 1 && before) std::fill(to.begin(), to.end(), 0.0f);  // of wider features
    }
    in_rows(sequences, [&](Room& room, const Cursor* at, std::int64_t rows) {
        for (std::int64_t r = 0; r < rows; ++r) {
            room.rows[r] = row(at[r], false, last, 1);
            room.feed[r].x = &from[place(at[r], false)];
        }
        head(room, rows);
    });
}

// The kind of the head's matrix is that of all matrices.
static std::unique_ptr<Network> make(const Architecture& a, const Tensors& tensors) {
    const Number number = tensors("head.weight").number;
    const Reader reader(tensors, number);
    switch (number) {
        case Number::bfloat16: return std::make_unique<LoadedNetwork<Bfloat16>>(a, reader);
        case Number::int8: return std::make_unique<LoadedNetwork<Int8>>(a, reader);
        case Number::float32: return std::make_unique<LoadedNetwork<Float32>>(a, reader);
    }
    __builtin_unreachable();
}

// Reads the same array again and again into sixteen sums: what the cache that holds it can give.
static double read_bandwidth(std::int64_t bytes, double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr std::int64_t block = 16 * kVector;
    const std::int64_t count = padded(std::max<std::int64_t>(bytes / 4, block), block);
    Buffer<float> data(count);
    std::fill_n(data.data(), count, 1.0f);
    Floats sums[16] = {};
    double best = 0;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    do {
        const auto begin = Clock::now();
        std::int64_t read = 0;
        for (; read < 1 << 21; read += count)
            for (std::int64_t i = 0; i < count; i += block)
#pragma GCC unroll 16
                for (int j = 0; j < 16; ++j) sums[j] += load(&data[i + j * kVector]);
        best = std::max(best, 4.0 * double(read) / std::chrono::duration<double>(Clock::now() - begin).count());
    } while (Clock::now() < end);
    float sum = 0;
    for (const Floats& s : sums) sum += s[0];
    return sum > 0 ? best : 0;
}

extern const Networks networks;
const Networks networks{UNSPOOL_TEXT(UNSPOOL_ISA), supported, make, read_bandwidth};

}  // namespace unspool::UNSPOOL_ISA
