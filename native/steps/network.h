// A saved network, ready to be stepped: its weights as a folder has them, its sessions, and the functions that run it,
// compiled once for each instruction set. It knows neither Python nor files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../words.h"
#include "architecture.h"

namespace unspool {

// The tensor of a name; its data is null where there is none.
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
    virtual std::int64_t phase(std::int64_t session) const = 0;  // its steps since a multiple of the stride
    virtual void read(std::int64_t session, std::size_t field, float* to) const = 0;
    virtual void write(std::int64_t session, std::size_t field, const float* from) = 0;

    // One step of the sessions `which`, all different (null: of all): x (rows, I) or tokens (rows) to y (rows, O), NaN
    // for a session whose step gives no output.
    virtual void step(std::int64_t rows, const std::int64_t* which, const float* x, const std::int64_t* tokens,
                      float* y) = 0;
    // T steps of all sessions: x (T, n, I) or tokens (T, n) to y (outputs, n, O), where all have the same phase. In
    // both directions if that is what the network has: then of one session, from its initial state, which it keeps.
    virtual void run(std::int64_t steps, const float* x, const std::int64_t* tokens, float* y) = 0;
};

// A whole sequence: x (T, I) or tokens (T), and where the outputs go, (outputs, O), or (O) of the last one.
struct Sequence {
    std::int64_t steps;
    const float* x;
    const std::int64_t* tokens;
    float* y;
};

class Network {
  public:
    Architecture architecture;
    std::vector<Field> fields;  // none in a bidirectional network

    virtual ~Network() = default;
    virtual std::unique_ptr<Sessions> sessions(std::int64_t count, int threads = 1) const = 0;
    // Sequences of any lengths, each from its initial state; with `last` only its last outputs.
    virtual void predict(std::vector<Sequence> sequences, bool last, int threads) const = 0;
    virtual std::int64_t bytes() const = 0;  // of the weights that a step reads
};

// `make` throws std::invalid_argument where weights are missing or have other shapes.
struct Networks {
    const char* name;
    bool (*supported)();
    std::unique_ptr<Network> (*make)(const Architecture&, const Tensors&);
    double (*read_bandwidth)(std::int64_t bytes, double seconds);  // bytes a second of one core, over so many again
};

// Those that this machine can run, best first; sets.cpp has the list.
const std::vector<const Networks*>& network_sets();

}  // namespace unspool
