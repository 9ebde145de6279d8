// A saved network, ready to be stepped: what it is made of, its weights as a folder has them, and the functions that
// run it, compiled once for each instruction set. Knows neither Python nor files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"

namespace unspool {

// As in src/unspool/architecture.py, where the names and their meanings are.
enum class Front : int { one_hot, embedding, dense };
enum class Head : int { linear, softmax, logistic, distribution };
enum class Family : int { none, normal, laplace, poisson };

struct Architecture {
    Front front;
    std::int64_t tokens, inputs;  // K or 0, I
    bool time_delay;              // a TDNN instead of a cell
    Cell cell;
    Activation activation, output_activation;
    std::int64_t hidden, layers, feedback;  // H, L, R: features that a layer hands on in one direction
    bool bias, bidirectional, initial, projection, peephole;
    std::vector<std::int64_t> window, dilation;  // of each layer of a TDNN
    Head head;
    Family family;
    std::int64_t outputs;

    int directions() const { return bidirectional ? 2 : 1; }
};

enum class Number : int { float32, bfloat16, int8 };

// An array of the folder, contiguous. int8 is times `scale`, one for each of the first axis.
struct Tensor {
    const void* data = nullptr;
    Number number = Number::float32;
    std::vector<std::int64_t> shape;
    const float* scale = nullptr;
};
// The tensor of a name; data is null where there is none.
using Tensors = std::function<Tensor(const std::string&)>;

// An array of a session's state: its name and shape, as `unspool.nn` has them without the batch.
struct Field {
    std::string name;
    std::vector<std::int64_t> shape;
};

// Sessions of one network: the states, and room for its intermediate results. Not for two threads at once.
class Sessions {
  public:
    virtual ~Sessions() = default;
    virtual std::int64_t count() const = 0;
    virtual void reset(std::int64_t session) = 0;
    virtual void read(std::int64_t session, std::size_t field, float* to) const = 0;
    virtual void write(std::int64_t session, std::size_t field, const float* from) = 0;

    // One step of the sessions `which`, all different (null: of all): x (rows, I) or tokens (rows) to y (rows, O).
    virtual void step(std::int64_t rows, const std::int64_t* which, const float* x, const std::int64_t* tokens,
                      float* y) = 0;
    // T steps of all sessions: x (T, n, I) or tokens (T, n) to y (T, n, O). In both directions if that is what the
    // network has: then of one session, from its initial state, which it keeps.
    virtual void run(std::int64_t steps, const float* x, const std::int64_t* tokens, float* y) = 0;
};

class Network {
  public:
    Architecture architecture;
    std::vector<Field> fields;  // none in a bidirectional network

    virtual ~Network() = default;
    virtual std::unique_ptr<Sessions> sessions(std::int64_t count, int threads = 1) const = 0;
    virtual std::int64_t bytes() const = 0;  // of the weights that a step reads
};

// Throws std::invalid_argument where weights are missing or have other shapes.
struct NetworkSet {
    const char* name;
    bool (*supported)();
    std::unique_ptr<Network> (*make)(const Architecture&, const Tensors&);
    double (*read_bandwidth)(std::int64_t bytes, double seconds);  // bytes a second of one core, over so many again
};

// The instruction sets that this machine can run, best first.
const std::vector<const NetworkSet*>& network_sets();

}  // namespace unspool
