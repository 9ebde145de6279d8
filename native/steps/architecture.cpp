// The rules of a configuration are tables: which sections and options there are, what each may be, and its default;
// those of the cells are in cells.h, beside their equations. A reader that only looks up what it wants would take a
// misspelt option for an absent one, and one with its own list of defaults would in time have others than the layers
// that were trained; hence one table, which all of unspool reads.
#include "architecture.h"

#include <span>

#include "../cells.h"

namespace unspool {

namespace {

// Bounds of sizes, so that no product of two of them can overflow 64 bits.
constexpr std::int64_t kSize = 1 << 24, kLayers = 1 << 10, kReach = 1 << 16;
// The steps from one output to the next are at most 2^24, so that a float32 of a saved state counts them.
constexpr std::int64_t kStride = 1 << 10, kHop = 1 << 14, kWindow = 1 << 12;

// What each section may have.
std::vector<std::string> fields(Front front) {
    switch (front) {
        case Front::one_hot:
        case Front::dense: return {"kind", "size"};
        case Front::embedding: return {"kind", "tokens", "size"};
        case Front::image: return {"kind", "height", "width", "channels", "kernel", "stride", "size"};
        case Front::sound: return {"kind", "rate", "size", "window", "hop"};
    }
    __builtin_unreachable();
}
std::vector<std::string> fields(Head head) {
    switch (head) {
        case Head::linear:
        case Head::softmax:
        case Head::logistic: return {"kind", "size"};
        case Head::distribution: return {"kind", "family", "size"};
    }
    __builtin_unreachable();
}
std::vector<std::string> fields(const CellRules& cell) {
    std::vector<std::string> out{"cell", "hidden_size", "num_layers", "dropout"};
    for (const OptionRule& rule : cell.options)
        if (rule.name) out.push_back(rule.name);
    return out;
}

// Outputs for each variable: a location and a scale, or a rate.
std::int64_t parameters(Family family) {
    switch (family) {
        case Family::none:
        case Family::poisson: return 1;
        case Family::normal:
        case Family::laplace: return 2;
    }
    __builtin_unreachable();
}

// Whether the list has a name, and the list for a complaint.
std::pair<bool, std::string> listed(const std::vector<std::string>& known, const std::string& name) {
    std::pair<bool, std::string> out{false, ""};
    for (const std::string& one : known) out.second += (out.second.empty() ? "" : ", ") + one, out.first |= one == name;
    return out;
}

// What nobody reads would silently make another network.
void has_only(const std::string& section, const Json& json, const std::vector<std::string>& known) {
    for (const auto& [name, value] : json.object)
        if (const auto [found, list] = listed(known, name); !found)
            refuse(section + " must have " + list + " and no more; got " + in_quotes(name).substr(0, 80));
}

std::int64_t integer(const char* name, const Json* value, std::int64_t least, std::int64_t most) {
    if (value && value->is_integer(double(least), double(most))) return std::int64_t(value->number);
    refuse(std::string(name) + " must be an integer from " + std::to_string(least) + " to " + std::to_string(most) +
           "; got " + shown(value));
}

// One section of the configuration.
class Section {
    const char* name_;
    const Json& json_;

  public:
    Section(const Json* network, const char* name) : name_(name), json_(section(network, name)) {}

    const Json* find(const char* name) const { return json_.find(name); }
    std::int64_t size(const char* name, std::int64_t most = kSize) const { return integer(name, find(name), 1, most); }
    template <class Table>
    const auto& word(const char* name, const Table& table) const {
        return lookup(name, find(name), table);
    }
    template <class Table>
    static const auto& lookup(const char* name, const Json* value, const Table& table) {
        const bool is_word = value && value->kind == Json::Kind::string;
        return one_of(name, table, is_word ? value->string : "", shown(value));
    }
    void has_only(const std::vector<std::string>& known) const { unspool::has_only(name_, json_, known); }

  private:
    static const Json& section(const Json* network, const char* name) {
        const Json* found = network ? network->find(name) : nullptr;
        if (!found || found->kind != Json::Kind::object)
            refuse("network must have a section '" + std::string(name) + "'; got " + shown(network));
        return *found;
    }
};

double read_dropout(const Json* value) {
    if (!value) return 0;
    if (value->kind != Json::Kind::number || !(value->number >= 0 && value->number < 1))
        refuse("dropout must be a number of at least 0 and less than 1; got " + shown(value));
    return value->number;
}

std::vector<std::int64_t> each_layer(const OptionRule& rule, const Json* value, std::int64_t layers) {
    std::vector<std::int64_t> out;
    if (!value) return std::vector<std::int64_t>(layers, rule.number);
    if (value->kind != Json::Kind::array)
        return std::vector<std::int64_t>(layers, integer(rule.name, value, 1, kReach));
    if (std::int64_t(value->array.size()) != layers)
        refuse(std::string(rule.name) + " must be an integer, or one for each of " + std::to_string(layers) +
               " layers; got " + shown(value));
    for (const Json& item : value->array) out.push_back(integer(rule.name, &item, 1, kReach));
    return out;
}

Option read_option(const OptionRule& rule, const Json* value, std::int64_t hidden, std::int64_t layers) {
    const auto activation = [&](const auto& table) {
        return std::string(value ? Section::lookup(rule.name, value, table).name : rule.word);
    };
    switch (rule.kind) {
        case OptionKind::flag:
            if (value && value->kind != Json::Kind::boolean)
                refuse(std::string(rule.name) + " must be true or false; got " + shown(value));
            return {rule.name, value ? value->boolean : rule.number != 0};
        case OptionKind::hidden_activation: return {rule.name, activation(std::span(kActivations).subspan(1))};
        case OptionKind::any_activation: return {rule.name, activation(kActivations)};
        case OptionKind::outputs:
            if (!value || value->kind == Json::Kind::null) return {rule.name, hidden};
            return {rule.name, integer(rule.name, value, 1, kSize)};
        case OptionKind::projection: return {rule.name, value ? integer(rule.name, value, 0, hidden - 1) : rule.number};
        case OptionKind::each_layer: return {rule.name, each_layer(rule, value, layers)};
    }
    __builtin_unreachable();
}

// The value of an option, or what stands for it in cells that do not have it.
template <class Value>
Value option(const Architecture& a, std::string_view name, Value absent) {
    for (const Option& o : a.options)
        if (name == o.name) return std::get<Value>(o.value);
    return absent;
}

Activation activation_of(const Architecture& a, const char* name, const char* absent) {
    return find(kActivations, option(a, name, std::string(absent)))->value;
}

void read_recurrent(const Section& section, const CellRules& cell, Architecture& a) {
    a.cell_name = cell.name, a.time_delay = cell.time_delay;
    a.hidden = section.size("hidden_size");
    a.layers = integer("num_layers", section.find("num_layers"), 1, kLayers);
    a.dropout = read_dropout(section.find("dropout"));
    for (const OptionRule& rule : cell.options)
        if (rule.name) a.options.push_back(read_option(rule, section.find(rule.name), a.hidden, a.layers));
    a.cell = !cell.flag || option(a, cell.flag, true) ? cell.kernel : cell.kernel_without;
    a.activation = activation_of(a, "nonlinearity", "tanh");
    a.output_activation = activation_of(a, "output_nonlinearity", "identity");
    a.bias = option(a, "bias", true), a.bidirectional = option(a, "bidirectional", false);
    a.initial = option(a, "learn_initial_state", false), a.peephole = option(a, "peephole", false);
    const auto projected = option<std::int64_t>(a, "proj_size", 0);
    a.projection = projected > 0;
    a.feedback = option<std::int64_t>(a, "output_size", projected ? projected : a.hidden);
    a.window = option<std::vector<std::int64_t>>(a, "window", {});
    a.dilation = option<std::vector<std::int64_t>>(a, "dilation", {});
}

// The front end: what goes in, I, and what comes out of it.
void read_front(const Section& section, Architecture& a) {
    a.stride = 1;
    switch (a.front) {
        case Front::embedding: a.tokens = section.size("tokens"); [[fallthrough]];
        case Front::one_hot:
        case Front::dense: a.inputs = a.fed = section.size("size"); break;
        case Front::image: {
            Image& i = a.image;
            i.height = section.size("height", kReach), i.width = section.size("width", kReach);
            i.channels = section.size("channels", kReach);
            i.kernel = section.size("kernel", std::min(i.height, i.width));
            i.stride = section.size("stride", kReach), i.size = section.size("size");
            a.inputs = i.height * i.width * i.channels, a.fed = i.rows() * i.columns();
            if (a.inputs > kSize || a.fed * i.size > kSize)
                refuse("an image must have at most 2^24 numbers, and as many features; got more");
            a.fed *= i.size;
            break;
        }
        case Front::sound: {
            Sound& s = a.sound;
            s.rate = section.size("rate"), s.window = integer("window", section.find("window"), 2, kWindow);
            s.size = section.size("size", s.bins()), s.hop = section.size("hop", kHop);
            a.inputs = 1, a.fed = s.size, a.stride = s.hop;
            break;
        }
    }
    if (a.front == Front::one_hot) a.tokens = a.inputs;
    a.front_size = a.fed;
}

void read_convolution(const Section& section, Architecture& a) {
    section.has_only({"size", "kernel", "stride", "nonlinearity"});
    Convolution& c = a.convolution;
    c.size = section.size("size"), c.kernel = section.size("kernel", kReach);
    c.stride = section.size("stride", kStride);
    c.activation = section.word("nonlinearity", kActivations).value;
    a.fed = c.size, a.stride *= c.stride;
}

}  // namespace

Architecture read_architecture(const Json* network) {
    // The words come first, as they say which options there are; then what nobody reads; then the values.
    const Section front(network, "front"), recurrent(network, "recurrent"), head(network, "head");
    Architecture a{};
    a.front = front.word("kind", kFronts).value;
    const CellRules& cell = recurrent.word("cell", kCellRules);
    a.head = head.word("kind", kHeads).value;
    front.has_only(fields(a.front)), recurrent.has_only(fields(cell)), head.has_only(fields(a.head));
    has_only("network", *network, {"front", "convolution", "recurrent", "head"});
    read_front(front, a);
    if (network->find("convolution")) read_convolution(Section(network, "convolution"), a);
    read_recurrent(recurrent, cell, a);
    if (a.head == Head::distribution) a.family = head.word("family", kFamilies).value;
    a.outputs = head.size("size") * parameters(a.family);
    return a;
}

Architecture read_architecture(std::string_view network) {
    const Json json = JsonReader::read("network", network);
    return read_architecture(&json);
}

}  // namespace unspool
