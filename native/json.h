// A reader of JSON for config.json and the header of model.safetensors: bounded in depth, strict, and nothing more than
// those two need. It throws std::invalid_argument.
#pragma once

#include <cstdint>
#include <locale>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace unspool {

struct Json {
    enum class Kind { null, boolean, number, string, array, object } kind = Kind::null;
    bool boolean = false;
    double number = 0;
    std::string string;
    std::vector<Json> array;
    std::map<std::string, Json> object;

    const Json* find(const std::string& name) const {
        const auto at = object.find(name);
        return at == object.end() ? nullptr : &at->second;
    }
};

class JsonReader {
    const char* file_;
    std::string_view text_;
    std::size_t at_ = 0;
    static constexpr int kDepth = 32;

  public:
    static Json read(const char* file, std::string_view text) {
        JsonReader reader(file, text);
        Json value = reader.value(0);
        reader.space();
        if (reader.at_ != text.size()) reader.refuse();
        return value;
    }

  private:
    JsonReader(const char* file, std::string_view text) : file_(file), text_(text) {}

    [[noreturn]] void refuse() const {
        throw std::invalid_argument(std::string(file_) + " is not JSON at byte " + std::to_string(at_));
    }
    void space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    char peek() const {
        if (at_ >= text_.size()) refuse();
        return text_[at_];
    }
    bool take(char wanted) {
        space();
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }
    void expect(char wanted) {
        if (!take(wanted)) refuse();
    }
    bool word(std::string_view wanted) {
        if (text_.substr(at_, wanted.size()) != wanted) return false;
        at_ += wanted.size();
        return true;
    }

    Json value(int depth) {
        if (depth > kDepth) refuse();
        space();
        Json out;
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': out.kind = Json::Kind::string, out.string = string(); return out;
            case 'n':
                if (!word("null")) refuse();
                return out;
            case 't':
                if (!word("true")) refuse();
                out.boolean = true;
                break;
            case 'f':
                if (!word("false")) refuse();
                break;
            default: return number();
        }
        out.kind = Json::Kind::boolean;
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
            if (!out.object.emplace(std::move(name), value(depth + 1)).second) refuse();  // twice
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
    Json number() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && std::string_view("+-0123456789.eE").find(text_[at_]) != std::string_view::npos)
            ++at_;
        const std::string digits(text_.substr(begin, at_ - begin));
        std::istringstream in(digits);
        in.imbue(std::locale::classic());  // strtod would want a comma where the program's locale does
        Json out;
        out.kind = Json::Kind::number;
        if (!(in >> out.number) || in.peek() != std::istringstream::traits_type::eof()) refuse();
        return out;
    }
    // Escapes of characters that are not ASCII become '?': no name that is looked up has any.
    std::string string() {
        if (peek() != '"') refuse();
        ++at_;
        std::string out;
        for (;;) {
            const char c = peek();
            ++at_;
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) refuse();
            out += c == '\\' ? escaped() : c;
        }
    }
    char escaped() {
        const char c = peek();
        ++at_;
        switch (c) {
            case '"':
            case '\\':
            case '/': return c;
            case 'b': return '\b';
            case 'f': return '\f';
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'u': break;
            default: refuse();
        }
        int code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char h = peek();
            const int digit = h >= '0' && h <= '9'   ? h - '0'
                              : h >= 'a' && h <= 'f' ? h - 'a' + 10
                              : h >= 'A' && h <= 'F' ? h - 'A' + 10
                                                     : -1;
            if (digit < 0) refuse();
            code = code * 16 + digit;
        }
        return code < 0x80 ? char(code) : '?';
    }
};

}  // namespace unspool
