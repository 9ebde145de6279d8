// A reader of JSON (RFC 8259) for configurations and for the header of model.safetensors: strict, bounded in depth, and
// nothing more than those two need. It throws std::invalid_argument.
//
// It agrees with Python's json, which writes these files: NaN and Infinity are numbers, 2 is an integer and 2.0 is
// none. It is stricter, as unspool.saved.folder is, too: a name that comes twice in an object is refused, as readers
// differ in which one they take, and half a pair of surrogates, which is no character. A value takes some 150 bytes,
// which may be 75 times its text: hence a bound on their number. A value keeps what complaints need: `shown` prints it in
// one line, whatever somebody has put into it.
#pragma once

#include <cstdint>
#include <limits>
#include <locale>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "words.h"

namespace unspool {

struct Json {
    enum class Kind { null, boolean, number, string, array, object } kind = Kind::null;
    bool boolean = false;
    double number = 0;
    bool whole = false;  // a number that was written as an integer
    std::string string;  // in UTF-8; of a number, as it was written
    std::vector<Json> array;
    std::map<std::string, Json> object;

    const Json* find(const std::string& name) const {
        const auto at = object.find(name);
        return at == object.end() ? nullptr : &at->second;
    }
    bool is_integer(double least, double most) const { return whole && number >= least && number <= most; }
};

class JsonReader {
    const char* source_;  // its name, for complaints
    std::string_view text_;
    std::size_t at_ = 0;
    std::int64_t values_ = 0;
    static constexpr int kDepth = 32;
    static constexpr std::int64_t kValues = 1 << 18;  // the header of the largest network has 200,000

  public:
    static Json read(const char* source, std::string_view text) {
        JsonReader reader(source, text);
        Json value = reader.value(0);
        reader.space();
        if (reader.at_ != text.size()) reader.stop();
        return value;
    }

  private:
    JsonReader(const char* source, std::string_view text) : source_(source), text_(text) {}

    [[noreturn]] void stop(const char* why = "is not JSON") const {
        refuse(std::string(source_) + " " + why + " at byte " + std::to_string(at_));
    }
    static bool among(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }
    void space() {
        while (at_ < text_.size() && among(text_[at_], " \t\r\n")) ++at_;
    }
    char peek() const {
        if (at_ >= text_.size()) stop();
        return text_[at_];
    }
    bool take(char wanted) {
        space();
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }
    void expect(char wanted) {
        if (!take(wanted)) stop();
    }
    bool word(std::string_view wanted) {
        if (text_.substr(at_, wanted.size()) != wanted) return false;
        at_ += wanted.size();
        return true;
    }

    Json value(int depth) {
        if (depth > kDepth) stop("is nested more than 32 deep");
        if (++values_ > kValues) stop("has more than 2^18 values");
        space();
        Json out;
        const char c = peek();
        if (c == '{') return object(depth);
        if (c == '[') return array(depth);
        if (c == '"') {
            out.kind = Json::Kind::string, out.string = string();
        } else if (word("true") || word("false")) {
            out.kind = Json::Kind::boolean, out.boolean = c == 't';
        } else if (!word("null")) {
            return number();
        }
        return out;
    }
    Json object(int depth) {
        Json out;
        out.kind = Json::Kind::object;
        expect('{');
        if (take('}')) return out;
        do {
            space();
            std::string name = string();
            expect(':');
            if (!out.object.emplace(std::move(name), value(depth + 1)).second) stop("has a name twice, the second one");
        } while (take(','));
        expect('}');
        return out;
    }
    Json array(int depth) {
        Json out;
        out.kind = Json::Kind::array;
        expect('[');
        if (take(']')) return out;
        do out.array.push_back(value(depth + 1));
        while (take(','));
        expect(']');
        return out;
    }

    bool digits() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ > begin;
    }
    Json number() {
        const std::size_t begin = at_;
        Json out;
        out.kind = Json::Kind::number, out.whole = true;
        const bool negative = word("-");
        if (word("Infinity") || (!negative && word("NaN"))) {
            out.whole = false, out.string = text_.substr(begin, at_ - begin);
            const bool nan = text_[begin] == 'N';
            out.number = nan ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
            if (negative) out.number = -out.number;
            return out;
        }
        if (!word("0") && !digits()) stop();
        if (word(".")) {
            out.whole = false;
            if (!digits()) stop();
        }
        if (word("e") || word("E")) {
            out.whole = false;
            if (!word("+")) word("-");
            if (!digits()) stop();
        }
        out.string = text_.substr(begin, at_ - begin);
        std::istringstream in(out.string);
        in.imbue(std::locale::classic());  // strtod would want a comma where the program's locale does
        in >> out.number;                  // one that is too large becomes the largest
        return out;
    }

    std::string string() {
        if (peek() != '"') stop();
        ++at_;
        std::string out;
        for (;;) {
            const unsigned char c = peek();
            if (c < 0x20) stop();
            if (c >= 0x80) {
                const std::size_t begin = at_;
                character();
                out += text_.substr(begin, at_ - begin);
                continue;
            }
            ++at_;
            if (c == '"') return out;
            if (c == '\\') escaped(out);
            else out += char(c);
        }
    }
    // Passes over a character of two to four bytes: nothing but UTF-8 gets in.
    void character() {
        const unsigned char lead = peek();
        const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4) stop();
        std::uint32_t code = lead & (0x3f >> more);
        for (int i = 0; i < more; ++i) {
            ++at_;
            const unsigned char next = peek();
            if (next >> 6 != 2) stop();
            code = code << 6 | (next & 0x3f);
        }
        if (code < (more == 3 ? 0x10000u : more == 2 ? 0x800u : 0x80u) || code > 0x10ffff) stop();
        ++at_;
    }
    std::uint32_t hexadecimal() {
        std::uint32_t code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const std::size_t digit = std::string_view("0123456789abcdef").find(char(peek() | 0x20));
            if (digit == std::string_view::npos || peek() < '0') stop();
            code = code * 16 + std::uint32_t(digit);
        }
        return code;
    }
    void escaped(std::string& out) {
        constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        const char c = peek();
        ++at_;
        const std::size_t letter = letters.find(c);
        if (letter != std::string_view::npos) {
            out += meanings[letter];
            return;
        }
        if (c != 'u') stop();
        std::uint32_t code = hexadecimal();
        if (code >> 11 == 0x1b) {  // the first half of a pair
            if (code >> 10 != 0x36 || !word("\\u")) stop();
            const std::uint32_t second = hexadecimal();
            if (second >> 10 != 0x37) stop();
            code = 0x10000 + ((code & 0x3ff) << 10 | (second & 0x3ff));
        }
        append(out, code);
    }
    static void append(std::string& out, std::uint32_t code) {
        const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        if (more == 0) {
            out += char(code);
            return;
        }
        out += char((0xf00 >> (more + 1) & 0xff) | code >> 6 * more);
        for (int i = more - 1; i >= 0; --i) out += char(0x80 | (code >> 6 * i & 0x3f));
    }
};

// A string in quotes, in ASCII, so that it is one line that says what is there.
inline std::string in_quotes(std::string_view text) {
    std::string out = "'";
    for (std::size_t i = 0; i < text.size();) {
        const unsigned char lead = text[i++];
        std::uint32_t code = lead;
        if (lead >= 0xc0) {
            const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
            code = lead & (0x3f >> more);
            for (int k = 0; k < more && i < text.size(); ++k) code = code << 6 | (text[i++] & 0x3f);
        }
        const bool plain = code >= 0x20 && code < 0x7f;
        if (plain && (code == '\'' || code == '\\')) out += '\\';
        if (plain) {
            out += char(code);
            continue;
        }
        const bool wide = code > 0xffff;
        out += wide ? "\\U" : "\\u";
        for (int shift = wide ? 28 : 12; shift >= 0; shift -= 4) out += "0123456789abcdef"[code >> shift & 15];
    }
    return out + "'";
}

inline void show(const Json& value, std::size_t most, std::string& out) {
    if (out.size() > most) return;
    switch (value.kind) {
        case Json::Kind::null: out += "null"; return;
        case Json::Kind::boolean: out += value.boolean ? "true" : "false"; return;
        case Json::Kind::number: out += value.string; return;
        case Json::Kind::string: out += in_quotes(value.string); return;
        case Json::Kind::array:
            out += '[';
            for (const Json& item : value.array) {
                if (&item != value.array.data()) out += ", ";
                show(item, most, out);
            }
            out += ']';
            return;
        case Json::Kind::object:
            out += '{';
            bool first = true;
            for (const auto& [name, item] : value.object) {
                out += std::exchange(first, false) ? "" : ", ";
                out += in_quotes(name) + ": ";
                show(item, most, out);
            }
            out += '}';
            return;
    }
}

// What came, for complaints: at most 80 characters of it.
inline std::string shown(const Json* value) {
    if (!value) return "nothing";
    std::string out;
    show(*value, 80, out);
    return out.substr(0, 80);
}

}  // namespace unspool
