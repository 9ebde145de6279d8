// The names that all of the native code shares: what a network is made of, in numbers for the code and in words for
// people. Each enumeration stands beside its table of words, so that a word is looked up in one place and an unknown
// one is refused by name; it never becomes another. Switches over these enumerations have no `default`: whoever adds a
// value is shown by the compiler (-Werror=switch) every place that has to know it.
#pragma once

#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace unspool {

// The kernels of cells: a GRU that resets before the product and an LSTM without forget gate are cells of their own.
// Their words and facts are in cells.h.
enum class Cell { elman, jordan, gru, gru_reset_before, lstm, lstm_without_forget };
enum class Activation { identity, tanh, sigmoid, relu };
enum class Front { one_hot, embedding, dense, image, sound };
enum class Head { linear, softmax, logistic, distribution };
enum class Family { none, normal, laplace, poisson };
enum class Number { float32, bfloat16, int8 };

template <class Enum>
struct Word {
    const char* name;
    Enum value;
};

inline constexpr Word<Activation> kActivations[] = {{"identity", Activation::identity},
                                                    {"tanh", Activation::tanh},
                                                    {"relu", Activation::relu},
                                                    {"sigmoid", Activation::sigmoid}};
inline constexpr Word<Front> kFronts[] = {{"one-hot", Front::one_hot},
                                          {"embedding", Front::embedding},
                                          {"dense", Front::dense},
                                          {"image", Front::image},
                                          {"sound", Front::sound}};
inline constexpr Word<Head> kHeads[] = {{"linear", Head::linear},
                                        {"softmax", Head::softmax},
                                        {"logistic", Head::logistic},
                                        {"distribution", Head::distribution}};
inline constexpr Word<Family> kFamilies[] = {
    {"normal", Family::normal}, {"laplace", Family::laplace}, {"poisson", Family::poisson}};

// The row with this name in a table of rows that have one; null where there is none.
template <class Table>
constexpr auto find(const Table& table, std::string_view name) -> decltype(&*std::begin(table)) {
    for (const auto& row : table)
        if (name == row.name) return &row;
    return nullptr;
}

// The name of a value; empty where the table has no such value.
template <class Table, class Enum>
constexpr const char* name_of(const Table& table, Enum value) {
    for (const auto& row : table)
        if (value == row.value) return row.name;
    return "";
}

// "a, b, c": the names of a table, for complaints.
template <class Table>
std::string names(const Table& table) {
    std::string out;
    for (const auto& row : table) out += (out.empty() ? "" : ", ") + std::string(row.name);
    return out;
}

[[noreturn]] inline void refuse(const std::string& complaint) { throw std::invalid_argument(complaint); }

// The same, but an unknown name is an error; `got` is how the complaint shows it.
template <class Table>
const auto& one_of(const char* argument, const Table& table, std::string_view name, const std::string& got) {
    if (const auto* row = find(table, name)) return *row;
    refuse(std::string(argument) + " must be one of " + names(table) + "; got " + got);
}

// An array of weights, contiguous, in somebody else's memory; data is null where there is none. The numbers of int8 are
// to be multiplied by `scale`, one for each of the first axis.
struct Tensor {
    const void* data = nullptr;
    Number number = Number::float32;
    std::vector<std::int64_t> shape;
    const float* scale = nullptr;
};

}  // namespace unspool
