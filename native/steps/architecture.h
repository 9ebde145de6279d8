// What a saved network is made of, and the one reader of its configuration. src/unspool/saved/architecture.py documents
// the form; Python asks this reader, as the C library does, so that both say the same of any configuration.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "../json.h"
#include "../words.h"

namespace unspool {

// An option of a cell as the configuration has it, or its default.
struct Option {
    const char* name;
    std::variant<bool, std::int64_t, std::string, std::vector<std::int64_t>> value;
};

// A convolution over each frame: F filters of kernel × kernel pixels, every `stride` pixels, and no padding.
struct Image {
    std::int64_t height, width, channels, kernel, stride, size;
    std::int64_t rows() const { return (height - kernel) / stride + 1; }
    std::int64_t columns() const { return (width - kernel) / stride + 1; }
};

// Log-mel features of the last `window` samples, at every `hop`-th of them.
struct Sound {
    static constexpr float floor = 1e-6f;  // is added to energies before their logarithm
    std::int64_t rate, size, window, hop;
    std::int64_t bins() const { return window / 2 + 1; }
};

// Over time, between the front end and the recurrent layers; size 0 where there is none.
struct Convolution {
    std::int64_t size, kernel, stride;
    Activation activation;
};

struct Architecture {
    Front front;
    std::int64_t tokens, inputs;  // K or 0, I
    Image image;
    Sound sound;
    Convolution convolution;
    std::int64_t front_size, fed, stride;  // features of the front end, of the first recurrent layer; steps an output
    const char* cell_name;  // as the configuration has it: a TDNN has no cell, and two cells have two kernels each
    bool time_delay;        // a TDNN
    Cell cell;
    Activation activation, output_activation;
    std::int64_t hidden, layers, feedback;  // H, L, R: features that a layer hands on in one direction
    double dropout;
    bool bias, bidirectional, initial, projection, peephole;
    std::vector<std::int64_t> window, dilation;  // of each layer of a TDNN
    std::vector<Option> options;                 // all of the cell, of which the fields above are made
    Head head;
    Family family;
    std::int64_t outputs;

    int directions() const { return bidirectional ? 2 : 1; }
    // Of so many steps, the first of which is the step `phase` of a stride, how many give outputs: those of phase 0.
    std::int64_t outputs_in(std::int64_t phase, std::int64_t steps) const {
        const std::int64_t before = phase ? stride - phase : 0;  // the first of them
        return steps > before ? (steps - before - 1) / stride + 1 : 0;
    }
};

// From the section "network" of config.json, parsed or as text; null is none. std::invalid_argument, with one sentence,
// where it is not of that form: what is absent has a default or is refused, and what nobody reads is refused.
Architecture read_architecture(const Json* network);
Architecture read_architecture(std::string_view network);

}  // namespace unspool
