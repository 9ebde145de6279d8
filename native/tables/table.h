// The cells of plain lines, and what they say: numbers, or texts of which equal ones are found.
//
// Lines are plain if they have the same number of cells each, and quotation marks only around whole cells, where two
// stand for one. What is not plain is not split, and what is no plain number is not read: the caller then reads the
// lines with care, in Python, which also writes the complaints. So nothing here says what is wrong, and whatever is
// done here must give what that reading gives, to the bit.
//
// A cell is a view of the caller's bytes, which must live as long as the table. The few in which quotation marks are
// doubled are views of a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace unspool {

using Texts = std::vector<std::string_view>;

struct Table {
    std::size_t width = 0;
    Texts cells;                  // row by row
    std::vector<char> rewritten;  // the cells that are not as in the file; it has its room from the beginning

    Table() = default;
    Table(Table&&) = default;  // a copy would have views of the other one's

    std::size_t rows() const { return cells.size() / width; }
    Texts column(std::size_t j) const;

    // The cells of each row in these columns, without empty ones at its end, and how many; none if a row has none left.
    std::optional<Texts> steps(const std::vector<std::size_t>& columns, std::vector<std::int64_t>& lengths) const;
};

// Lines of `width` cells as a table, each with its newline. Where lines have one cell, a blank one is not plain, as its
// meaning depends on the lines around it.
//
// Args:
//     lines: UTF-8 without returns and NULs.
//     quotes: whether quotation marks are marks, and not text.
//     longest: bytes of a cell and what ends it.
std::optional<Table> split(std::string_view lines, char delimiter, bool quotes, std::size_t width,
                           std::size_t longest);

// Nothing if a cell is not a plain number; integers if all are; else the float64 nearest to what is written, unless an
// integer among them might not be exact.
using Numbers = std::variant<std::monostate, std::vector<std::int64_t>, std::vector<double>>;

Numbers numbers(const Texts& cells, char point);

// The place of each cell's text among `distinct`, where each text stands once, in their order, but for a few that would
// take long to find.
std::vector<std::int64_t> shared(const Texts& cells, Texts& distinct);

}  // namespace unspool
