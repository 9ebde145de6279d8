// unspool.h: reads a saved folder by itself, and steps it. A folder may come from anywhere, so that every number in it
// is doubted before memory is made or read by it: sizes, offsets, overlaps, checksums, numbers that are not finite. The
// configuration has the same reader as in Python (steps/architecture.h). No exception leaves this file.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "../json.h"
#include "../steps/network.h"
#include "sha256.h"
#include "unspool.h"

using namespace unspool;

namespace {

std::string read_file(const std::filesystem::path& path, std::uintmax_t most) {
    std::error_code problem;
    const bool ordinary = std::filesystem::is_regular_file(path, problem);  // a pipe would wait for its writer
    const std::uintmax_t size = ordinary ? std::filesystem::file_size(path, problem) : 0;
    if (problem || !ordinary) refuse(path.filename().string() + " is missing or cannot be read");
    if (size > most) refuse(path.filename().string() + " is too large");
    std::string data(size, '\0');
    std::ifstream file(path, std::ios::binary);
    if (!file.read(data.data(), std::streamsize(size)) && size) refuse(path.filename().string() + " cannot be read");
    return data;
}

// The types of arrays that there may be, by their names in safetensors; bfloat16 comes as its bits.
struct Type {
    const char* name;
    Number number;
    std::int64_t bytes;
};
constexpr Type kTypes[] = {{"F32", Number::float32, 4}, {"U16", Number::bfloat16, 2}, {"I8", Number::int8, 1}};

// The arrays of a safetensors file: eight bytes with the length of a header in JSON, the header, the data.
class Weights {
    std::string data_;
    std::map<std::string, std::pair<Tensor, std::vector<float>>> tensors_;
    std::uint64_t copied_ = 0;

  public:
    // Those of a part, whose names begin with its own, are passed over: they may be of any type.
    Weights(std::string data, const Json* parts) : data_(std::move(data)) {
        std::uint64_t length = 0;
        if (data_.size() < 8) refuse("model.safetensors is cut off");
        for (int i = 0; i < 8; ++i) length |= std::uint64_t(static_cast<unsigned char>(data_[i])) << 8 * i;
        if (length > data_.size() - 8) refuse("model.safetensors is cut off");
        const Json header = JsonReader::read("model.safetensors", std::string_view(data_).substr(8, length));
        for (const auto& [name, entry] : header.object)
            if (name != "__metadata__" && !(parts && parts->find(name.substr(0, name.find('.')))))
                add(name, entry, 8 + length);
    }
    Tensor get(const std::string& name) const {
        const auto at = tensors_.find(name);
        if (at == tensors_.end()) return {};
        Tensor out = at->second.first;
        if (out.number == Number::int8) {
            const auto scale = tensors_.find(name + ".scale");
            if (scale == tensors_.end() || scale->second.first.number != Number::float32 || out.shape.empty() ||
                scale->second.first.shape != std::vector<std::int64_t>{out.shape[0]})
                refuse(name + " has no scales");
            out.scale = static_cast<const float*>(scale->second.first.data);
        }
        return out;
    }

  private:
    void add(const std::string& name, const Json& entry, std::uint64_t begin) {
        const Json *type = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
        if (!type || !shape || !offsets || offsets->array.size() != 2) refuse("model.safetensors has a bad header");
        Tensor out;
        const Type& found = one_of("dtype", kTypes, type->string, shown(type));
        out.number = found.number;
        const std::int64_t bytes = found.bytes;
        std::uint64_t count = 1;
        for (const Json& axis : shape->array) {
            if (!(axis.number >= 0 && axis.number < 1e12) || axis.number != std::floor(axis.number))
                refuse("model.safetensors has a bad shape");
            out.shape.push_back(std::int64_t(axis.number));
            if (__builtin_mul_overflow(count, std::uint64_t(axis.number), &count))
                refuse("model.safetensors has a bad shape");
        }
        const double from = offsets->array[0].number, to = offsets->array[1].number;
        const std::uint64_t room = data_.size() - begin;
        if (!(from >= 0 && from <= to && to <= double(room)) || count > room || double(count * bytes) != to - from)
            refuse("model.safetensors has a bad header, or is cut off");
        // Else a small file could name the same bytes a million times, each to be copied.
        if ((copied_ += count * bytes) > room) refuse("model.safetensors has arrays that overlap");
        auto& kept = tensors_[name];
        kept.second.resize((count * bytes + 3) / 4);  // the data of the file need not be aligned
        std::memcpy(kept.second.data(), data_.data() + begin + std::uint64_t(from), count * bytes);
        out.data = kept.second.data();
        for (std::uint64_t i = 0; out.number == Number::float32 && i < count; ++i)
            if (!std::isfinite(kept.second[i])) refuse(name + " has numbers that are not finite");
        const auto* halves = reinterpret_cast<const std::uint16_t*>(kept.second.data());
        for (std::uint64_t i = 0; out.number == Number::bfloat16 && i < count; ++i)
            if ((halves[i] & 0x7f80) == 0x7f80) refuse(name + " has numbers that are not finite");
        kept.first = out;
    }
};

int complain(const char* what, char* error, size_t size) {
    if (error && size) {
        std::snprintf(error, size, "%s", what);
        for (char* c = error; *c; ++c)
            if (*c < 0x20 || *c >= 0x7f) *c = '?';  // names from files may have any, and char may be signed or not
    }
    return -1;
}

// The further networks and tables of a folder, by name; null where there are none.
const Json* parts_of(const Json& config) {
    const Json* parts = config.find("parts");
    if (!parts) return nullptr;
    bool objects = parts->kind == Json::Kind::object;
    for (const auto& [_, part] : parts->object) objects = objects && part.kind == Json::Kind::object;
    if (!objects) refuse("config.json must have parts that are objects by name; save the network again");
    return parts;
}

// Calls it; an exception becomes a complaint.
template <class Call>
int guarded(char* error, size_t size, const Call& call) {
    try {
        call();
        return 0;
    } catch (const std::exception& problem) { return complain(problem.what(), error, size); }
}

}  // namespace

struct unspool_stream {
    std::unique_ptr<Network> network;
    std::unique_ptr<Sessions> session;

    void check(std::int64_t steps, const float* x, const std::int64_t* tokens) const {
        const Architecture& a = network->architecture;
        if ((a.tokens > 0) != (tokens != nullptr) || (a.tokens > 0) == (x != nullptr))
            refuse(a.tokens ? "this network wants tokens" : "this network wants numbers");
        if (steps < 0) refuse("steps must not be negative");
        if (steps > PTRDIFF_MAX / 8 / std::max(a.inputs, a.outputs))
            refuse("steps must be as many as memory has room for");
        for (std::int64_t t = 0; tokens && t < steps; ++t)
            if (tokens[t] < 0 || tokens[t] >= a.tokens) refuse("a token is not in 0..K-1");
        for (std::int64_t i = 0; x && i < steps * a.inputs; ++i)
            if (!std::isfinite(x[i])) refuse("x must be finite numbers");
    }
};

extern "C" {

unspool_stream* unspool_load(const char* folder, char* error, size_t error_size) {
    std::unique_ptr<unspool_stream> stream;
    const int failed = guarded(error, error_size, [&] {
        stream = std::make_unique<unspool_stream>();
        const std::filesystem::path path(folder);
        const Json config = JsonReader::read("config.json", read_file(path / "config.json", 1 << 20));
        const Json* format = config.find("format");
        if (!format || !format->is_integer(1, 2))
            refuse("config.json has no format that this unspool reads; install a newer one");
        const Architecture a = read_architecture(config.find("network"));
        std::string data = read_file(path / "model.safetensors", std::uintmax_t(1) << 40);
        const Json* sums = config.find("sha256");
        if (!sums || sums->kind != Json::Kind::object) refuse("config.json has no checksums; save the network again");
        const Json* sum = sums->find("model.safetensors");
        if (sum && sum->string != Sha256::of(data))
            refuse("model.safetensors is damaged, as its SHA-256 is not the one in config.json; save it again");
        const Weights weights(std::move(data), parts_of(config));
        stream->network = network_sets().front()->make(a, [&](const std::string& name) { return weights.get(name); });
        stream->session = stream->network->sessions(1);
    });
    return failed ? nullptr : stream.release();
}

void unspool_free(unspool_stream* stream) { delete stream; }

int64_t unspool_tokens(const unspool_stream* stream) { return stream->network->architecture.tokens; }
int64_t unspool_inputs(const unspool_stream* stream) { return stream->network->architecture.inputs; }
int64_t unspool_outputs(const unspool_stream* stream) { return stream->network->architecture.outputs; }
int64_t unspool_stride(const unspool_stream* stream) { return stream->network->architecture.stride; }
int64_t unspool_outputs_of(const unspool_stream* stream, int64_t steps) {
    return stream->network->architecture.outputs_in(stream->session->phase(0), steps > 0 ? steps : 0);
}

int unspool_run(unspool_stream* stream, int64_t steps, const float* x, const int64_t* tokens, float* y, char* error,
                size_t error_size) {
    return guarded(error, error_size, [&] {
        stream->check(steps, x, tokens);
        stream->session->run(steps, x, tokens, y);
    });
}

static int one_step(unspool_stream* stream, const float* x, const int64_t* token, float* y, char* error, size_t size) {
    if (stream->network->architecture.bidirectional)
        return complain("a bidirectional network has no single steps: give unspool_run whole sequences", error, size);
    const int nothing = stream->session->phase(0) ? 1 : 0;
    const int failed = unspool_run(stream, 1, x, token, y, error, size);
    return failed ? failed : nothing;
}

int unspool_step(unspool_stream* stream, const float* x, float* y, char* error, size_t error_size) {
    return one_step(stream, x, nullptr, y, error, error_size);
}

int unspool_step_token(unspool_stream* stream, int64_t token, float* y, char* error, size_t error_size) {
    return one_step(stream, nullptr, &token, y, error, error_size);
}

void unspool_reset(unspool_stream* stream) { stream->session->reset(0); }

}  // extern "C"
