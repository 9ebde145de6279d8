#include "table.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>

namespace unspool {

Texts Table::column(std::size_t j) const {
    Texts out(rows());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = cells[i * width + j];
    return out;
}

std::optional<Texts> Table::steps(const std::vector<std::size_t>& columns, std::vector<std::int64_t>& lengths) const {
    Texts out;
    for (std::size_t i = 0; i < rows(); ++i) {
        const std::string_view* row = cells.data() + i * width;
        std::size_t length = columns.size();
        while (length && row[columns[length - 1]].empty()) --length;
        if (!length) return std::nullopt;
        for (std::size_t k = 0; k < length; ++k) out.push_back(row[columns[k]]);
        lengths.push_back(std::int64_t(length));
    }
    return out;
}

// The text between quotation marks; `at` is at the first, and comes to stand behind the last. Two inside become one.
static std::optional<std::string_view> unquoted(const char*& at, const char* end, std::vector<char>& rewritten) {
    const char* const begin = at + 1;
    const char* piece = begin;  // what is not rewritten yet
    const std::size_t before = rewritten.size();
    for (at = begin;; at = piece) {
        at = static_cast<const char*>(std::memchr(at, '"', std::size_t(end - at)));
        if (!at) return std::nullopt;
        if (at + 1 == end || at[1] != '"') break;
        rewritten.insert(rewritten.end(), piece, at + 1);
        piece = at + 2;
    }
    const std::string_view inside(begin, std::size_t(at - begin));
    if (inside.find('\n') != inside.npos) return std::nullopt;
    if (piece != begin) rewritten.insert(rewritten.end(), piece, at);
    ++at;
    if (piece == begin) return inside;
    return std::string_view(rewritten.data() + before, rewritten.size() - before);
}

std::optional<Table> split(std::string_view lines, char delimiter, bool quotes, std::size_t width,
                           std::size_t longest) {
    quotes = quotes && lines.find('"') != lines.npos;
    bool stops[256] = {};
    stops[static_cast<unsigned char>(delimiter)] = stops[static_cast<unsigned char>('\n')] = true;
    stops[static_cast<unsigned char>('"')] |= quotes;
    Table table;
    table.width = width;
    if (quotes) table.rewritten.reserve(lines.size());  // so that no view of it is moved
    std::size_t column = 0;
    const char *at = lines.data(), *const end = at + lines.size();
    while (at != end) {
        const char* const begin = at;
        if (width == 1 && (*at == '\n' || *at == ' ' || *at == '\t')) return std::nullopt;
        if (quotes && *at == '"') {
            const auto cell = unquoted(at, end, table.rewritten);
            if (!cell) return std::nullopt;
            table.cells.push_back(*cell);
        } else {
            while (at != end && !stops[static_cast<unsigned char>(*at)]) ++at;
            table.cells.emplace_back(begin, std::size_t(at - begin));
        }
        const bool last = ++column == width;
        if (at == end || *at != (last ? '\n' : delimiter) || std::size_t(at - begin) >= longest) return std::nullopt;
        if (last) column = 0;
        ++at;
    }
    if (column || table.cells.empty()) return std::nullopt;
    return table;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool integer(std::string_view cell, std::int64_t& value) {
    if (cell.size() > 1 && cell[0] == '+' && is_digit(cell[1])) cell.remove_prefix(1);
    const char* const end = cell.data() + cell.size();
    const auto [at, error] = std::from_chars(cell.data(), end, value);
    return error == std::errc() && at == end;
}

// digits, perhaps a point among them or at an end, perhaps a sign before them and an exponent after them
static bool fraction(std::string_view cell, char point, double& value) {
    static constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                         1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    char written[400];
    if (cell.size() > sizeof written) return false;
    const char *at = cell.data(), *const end = at + cell.size();
    const bool minus = at != end && *at == '-';
    if (at != end && (*at == '-' || *at == '+')) ++at;
    const char* const begin = at;
    const char* mark = nullptr;
    std::uint64_t digits = 0;
    for (; at != end; ++at) {
        if (is_digit(*at)) digits = digits * 10 + std::uint64_t(*at - '0');
        else if (*at == point && !mark) mark = at;
        else break;
    }
    const auto count = (at - begin) - (mark ? 1 : 0);
    if (!count) return false;
    std::int64_t power = mark ? -(at - mark - 1) : 0;
    if (at != end) {
        std::int64_t exponent = 0;
        if (*at != 'e' && *at != 'E') return false;
        if (!integer({at + 1, std::size_t(end - at - 1)}, exponent)) return false;
        if (exponent < -9999 || exponent > 9999) return false;
        power += exponent;
    }
    // A whole number and a power of ten that are exact are multiplied or divided with one rounding.
    if (FLT_EVAL_METHOD == 0 && count <= 19 && digits <= std::uint64_t(1) << 53 && power >= -22 && power <= 22) {
        value = power < 0 ? double(digits) / kPowers[-power] : double(digits) * kPowers[power];
    } else {
#if defined(__cpp_lib_to_chars) && __cpp_lib_to_chars >= 201611L
        const char* const last = std::copy(begin, end, written);
        if (mark) written[mark - begin] = '.';
        const auto [to, error] = std::from_chars(static_cast<const char*>(written), last, value);
        if (error != std::errc() || to != last) return false;
#else
        return false;
#endif
    }
    if (minus) value = -value;
    return std::abs(value) < double(std::uint64_t(1) << 53);
}

Numbers numbers(const Texts& cells, char point) {
    std::vector<std::int64_t> whole(cells.size());
    std::size_t i = 0;
    while (i < cells.size() && integer(cells[i], whole[i])) ++i;
    if (i == cells.size()) return whole;
    // All anew, as -0 is a fraction other than 0.
    std::vector<double> values(cells.size());
    for (i = 0; i < cells.size(); ++i)
        if (!fraction(cells[i], point, values[i])) return std::monostate();
    return values;
}

std::vector<std::int64_t> shared(const Texts& cells, Texts& distinct) {
    // Texts whose hashes were made to be equal must not take the square of their number.
    static constexpr std::size_t kTries = 32;
    const std::size_t mask = std::bit_ceil(2 * cells.size() + 1) - 1;
    std::vector<std::int64_t> codes(cells.size());
    std::vector<std::int64_t> slots(mask + 1, -1);  // places among distinct
    for (std::size_t i = 0; i < cells.size(); ++i) {
        const std::size_t hash = std::hash<std::string_view>()(cells[i]);
        std::int64_t* slot = nullptr;
        bool known = false;
        for (std::size_t k = 0; k < kTries && !known; ++k) {
            slot = &slots[(hash + k) & mask];
            if (*slot < 0) break;
            known = distinct[std::size_t(*slot)] == cells[i];
        }
        if (!known) {
            *slot = std::int64_t(distinct.size());
            distinct.push_back(cells[i]);
        }
        codes[i] = *slot;
    }
    return codes;
}

}  // namespace unspool
