// The cells of tables as Python objects. Arrays are handed over as bytes, which numpy.frombuffer takes without a copy.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "../tables/table.h"

namespace nb = nanobind;

namespace unspool {

template <class T>
nb::bytes bytes(const std::vector<T>& values) {
    return nb::bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

static nb::list texts(const Texts& cells) {
    nb::list out = nb::steal<nb::list>(PyList_New(Py_ssize_t(cells.size())));
    if (!out.is_valid()) throw nb::python_error();
    for (std::size_t i = 0; i < cells.size(); ++i) {
        PyObject* text = PyUnicode_DecodeUTF8(cells[i].data(), Py_ssize_t(cells[i].size()), nullptr);
        if (!text || PyList_SetItem(out.ptr(), Py_ssize_t(i), text) != 0) throw nb::python_error();
    }
    return out;
}

// None, or the type and the bytes of an array.
static nb::object array(const Numbers& found) {
    if (const auto* whole = std::get_if<std::vector<std::int64_t>>(&found))
        return nb::make_tuple("int64", bytes(*whole));
    if (const auto* values = std::get_if<std::vector<double>>(&found)) return nb::make_tuple("float64", bytes(*values));
    return nb::none();
}

// A table, and the lines whose bytes its cells are.
class BoundTable {
    nb::bytes lines_;
    Table table_;

  public:
    BoundTable(nb::bytes lines, Table table) : lines_(std::move(lines)), table_(std::move(table)) {}

    std::size_t rows() const { return table_.rows(); }
    nb::object numbers(std::size_t column, char point) const {
        return array(unspool::numbers(table_.column(checked(column)), point));
    }
    nb::object steps(const std::vector<std::size_t>& columns, char point) const {
        for (const std::size_t column : columns) checked(column);
        std::vector<std::int64_t> lengths;
        const auto cells = table_.steps(columns, lengths);
        if (!cells) return nb::none();
        return nb::make_tuple(bytes(lengths), array(unspool::numbers(*cells, point)));
    }
    nb::tuple texts(std::size_t column) const {
        Texts distinct;
        const Texts cells = table_.column(checked(column));
        const std::vector<std::int64_t> codes = shared(cells, distinct);
        return nb::make_tuple(unspool::texts(distinct), bytes(codes));
    }

  private:
    std::size_t checked(std::size_t column) const {
        if (column >= table_.width) throw nb::index_error("the table has no such column");
        return column;
    }
};

static nb::object split_lines(nb::bytes lines, char delimiter, bool quotes, std::size_t width, std::size_t longest) {
    auto table = split({lines.c_str(), lines.size()}, delimiter, quotes, width, longest);
    if (!table) return nb::none();
    return nb::cast(BoundTable(std::move(lines), std::move(*table)));
}

void bind_tables(nb::module_& m) {
    nb::class_<BoundTable>(m, "Table", "The cells of plain lines; what native/tables/table.h says of each of these.")
        .def_prop_ro("rows", &BoundTable::rows)
        .def("numbers", &BoundTable::numbers, nb::arg("column"), nb::arg("point"))
        .def("steps", &BoundTable::steps, nb::arg("columns"), nb::arg("point"))
        .def("texts", &BoundTable::texts, nb::arg("column"));
    m.def("split", split_lines, nb::arg("lines"), nb::arg("delimiter"), nb::arg("quotes"), nb::arg("width"),
          nb::arg("longest"), "The table of lines in UTF-8; None if they are not plain.");
}

}  // namespace unspool
