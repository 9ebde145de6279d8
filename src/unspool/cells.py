"""The mathematics: one time step of each cell, its derivative next to it, and the facts of the cell in one row.

A step takes the projected input a = x W_ih' + b_ih (`project`: one product for all time steps), the state and the
weights, and returns the next state and what the derivative of the step needs. The same code runs on NumPy arrays and on
torch tensors. W' is the transpose of W, ∘ the product of elements, σ the logistic function, and dv the gradient of the
loss by v.

The state that is fed back enters the recurrent product as m = h ∘ mask. This is recurrent dropout, with one mask for
all time steps (Gal & Ghahramani 2016). Without a mask, m = h.

Every other module reads the `Facts` of a cell instead of asking which cell it has. A cell of one's own is a class
derived from `Cell`. If its facts name no kernels, the backends that need none run it.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from .arguments import one_of
from .errors import UnspoolError

Array = Any  # a NumPy array or a torch tensor
State = tuple[Array, ...]  # (h,) or (h, c)
Nonlinearity = Literal["tanh", "relu", "sigmoid", "identity"]
Variants = Mapping[str, Mapping[str, Any]]  # each name, and the values that the fields of its cell have


class Facts(NamedTuple):
    """What the rest of unspool knows of a cell. By default, no other module knows it.

    name: the name of the cell in configurations.
    gates: G, the number of gates when the cell has all of them.
    states: the names of the states. The first one has R features, is the output y, and is fed back; the others have H.
    required: the weights that the cell must have, beyond w_ih and w_hh.
    optional: the weights that the cell may have, beyond the biases b_ih and b_hh.
    layer: the name of its class in `unspool.nn`; "" if there is none.
    options: the options of its layer in a configuration, beyond those of all recurrent layers, with their defaults.
    kernels: the names in native/words.h of the C++ kernels that run it.
    torch: the names of the functions in torch that run it.
    onnx: the name of its operator in ONNX; "" if there is none.
    onnx_gates: for each gate of that operator, in the operator's order, the number of our gate.
    """

    name: str
    gates: int = 1
    states: tuple[str, ...] = ("h",)
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    layer: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    kernels: Variants = MappingProxyType({})
    torch: Variants = MappingProxyType({})
    onnx: str = ""
    onnx_gates: tuple[int, ...] = ()

    def state_sizes(self, R: int, H: int) -> tuple[int, ...]:
        """The number of features of each state."""
        return (R,) + (H,) * (len(self.states) - 1)


class Weights(NamedTuple):
    """The weights of one layer in one direction, or their gradients; R is the size of the state that is fed back."""

    w_ih: Array  # (G·H, I)
    w_hh: Array  # (G·H, R); Jordan's W_yh
    b_ih: Array | None = None  # (G·H,)
    b_hh: Array | None = None  # (G·H,)
    w_hr: Array | None = None  # (R, H): the LSTM's projection; Jordan's W_hy
    b_hr: Array | None = None  # (R,): Jordan's output bias c
    peephole: Array | None = None  # (3, H): rows i, f, o; (2, H): i, o without forget gate


class Cell:
    """The base of all cells. A cell is its facts, and one time step with its derivative, as the module describes them.

    Raises:
        TypeError: a derived class states no facts of its own. With the facts of another cell, a kernel of that other
            cell would run in its place.
    """

    facts: ClassVar[Facts]

    def __init_subclass__(cls) -> None:
        if "facts" not in vars(cls):
            raise TypeError(f"{cls.__name__} must have facts of its own, in the class variable facts; got none")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def gates(self) -> int:
        """G, so that w_ih and w_hh have G·H rows."""
        return self.facts.gates

    def step(self, a: Array, state: State, w: Weights, mask: Array | None = None) -> tuple[State, tuple]:
        """The next state, from a (B, G·H) and the state before, and what `step_backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def step_backward(self, dstate: State, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """da, the gradients of the state before and of all weights but w_ih and b_ih, from that of the next state.

        Only the reference backend needs it: a cell without it is differentiated by torch, through `step`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step_backward")


def weight_shapes(gates: int, I: int, H: int, R: int) -> Weights:
    """The shapes of a layer's weights in one direction."""
    return Weights((gates * H, I), (gates * H, R), (gates * H,), (gates * H,), (R, H), (R,), (gates - 1, H))


def library(a: Array) -> Any:
    """The module whose functions work on `a`: numpy or torch."""
    return sys.modules[type(a).__module__.partition(".")[0]]


def tanh(a: Array) -> Array:
    return library(a).tanh(a)


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + exp(-a)) = (1 + tanh(a/2)) / 2. The last form cannot overflow."""
    lib = library(a)
    return lib.sigmoid(a) if lib.__name__ == "torch" else 0.5 + 0.5 * lib.tanh(0.5 * a)


def relu(a: Array) -> Array:
    """max(a, 0), whose slope at 0 is 0; it is NaN where `a` is NaN."""
    return library(a).where(a <= 0, 0, a)


# Each nonlinearity y = φ(a), and its slope φ'(a) as a function of y.
NONLINEARITIES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (tanh, lambda y: 1 - y * y),
    "relu": (relu, lambda y: (y > 0) * 1),
    "sigmoid": (sigmoid, lambda y: y * (1 - y)),
    "identity": (lambda a: a, lambda y: 1),
}
HIDDEN = ("tanh", "relu", "sigmoid")  # the nonlinearities that hidden units can have
OUTPUT = tuple(NONLINEARITIES)  # the nonlinearities that outputs can have


def split(a: Array, gates: int) -> list[Array]:
    """Split a (B, G·H) into G arrays (B, H)."""
    H = a.shape[-1] // gates
    return [a[..., k * H : (k + 1) * H] for k in range(gates)]


def join(*gates: Array) -> Array:
    """Join G arrays (B, H) into one (B, G·H)."""
    return library(gates[0]).concatenate(gates, axis=-1)


def linear(x: Array, w: Array, b: Array | None) -> Array:
    """y = x w' + b."""
    return x @ w.T if b is None else x @ w.T + b


def linear_backward(dy: Array, x: Array, w: Array, b: Array | None) -> tuple[Array, Array, Array | None]:
    """dx = dy w;  dw = dy' x;  db = Σ dy."""
    return dy @ w, dy.T @ x, None if b is None else dy.sum(0)


def project(x: Array, w: Weights) -> Array:
    """a = x W_ih' + b_ih for any number of time steps: from floats (..., I) to (..., G·H).

    If x has integers (...), these are tokens, 1-of-I inputs, and x W_ih' is the row x of W_ih'.
    """
    if not is_tokens(x):
        return linear(x, w.w_ih, w.b_ih)
    return w.w_ih.T[x] if w.b_ih is None else w.w_ih.T[x] + w.b_ih


def project_backward(da: Array, x: Array, w: Weights) -> tuple[Array | None, Array, Array | None]:
    """dx (None for tokens), dw_ih and db_ih, from da (..., G·H)."""
    I = w.w_ih.shape[1]
    rows = library(da).eye(I, dtype=da.dtype)[x] if is_tokens(x) else x
    flat = da.reshape(-1, da.shape[-1])
    dx, dw_ih, db_ih = linear_backward(flat, rows.reshape(-1, I), w.w_ih, w.b_ih)
    return None if is_tokens(x) else dx.reshape(x.shape), dw_ih, db_ih


def is_tokens(x: Array) -> bool:
    return "int" in str(x.dtype)


def drop(h: Array, mask: Array | None) -> Array:
    """m = h ∘ mask; in the same way, dh = dm ∘ mask."""
    return h if mask is None else h * mask


@dataclass(frozen=True)
class Elman(Cell):
    """The simple recurrent network (Elman 1990).

        h = φ(a + m W_hh' + b_hh)

    Args:
        nonlinearity: φ, "tanh", "relu" or "sigmoid".
    """

    nonlinearity: Nonlinearity = "tanh"
    facts: ClassVar[Facts] = Facts(
        name="elman",
        layer="Elman",
        options={"nonlinearity": "tanh"},
        kernels={"elman": {}},
        torch={"rnn_tanh": {"nonlinearity": "tanh"}, "rnn_relu": {"nonlinearity": "relu"}},
        onnx="RNN",
        onnx_gates=(0,),
    )

    def __post_init__(self) -> None:
        one_of("nonlinearity", self.nonlinearity, HIDDEN)

    def step(self, a: Array, state: State, w: Weights, mask: Array | None = None) -> tuple[State, tuple]:
        φ, _ = NONLINEARITIES[self.nonlinearity]
        m = drop(state[0], mask)
        h = φ(a + linear(m, w.w_hh, w.b_hh))
        return (h,), (m, h, mask)

    def step_backward(self, dstate: State, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """
        da = dh ∘ φ'
        dm = da W_hh
        """
        _, slope = NONLINEARITIES[self.nonlinearity]
        m, h, mask = saved
        da = dstate[0] * slope(h)
        dm, dw_hh, db_hh = linear_backward(da, m, w.w_hh, w.b_hh)
        return da, (drop(dm, mask),), Weights(None, dw_hh, b_hh=db_hh)


@dataclass(frozen=True)
class Jordan(Cell):
    """The network that feeds its output back (Jordan 1986). Its state and its output are y, and m = y ∘ mask.

        h = φ(a + m W_yh' + b_hh)
        y = ψ(h W_hy' + c)

    W_yh is in `w_hh`, W_hy in `w_hr`, and c in `b_hr`.

    Args:
        nonlinearity: φ, "tanh", "relu" or "sigmoid".
        output_nonlinearity: ψ, one of these three or "identity".
    """

    nonlinearity: Nonlinearity = "tanh"
    output_nonlinearity: Nonlinearity = "identity"
    facts: ClassVar[Facts] = Facts(
        name="jordan",
        required=("w_hr",),
        optional=("b_hr",),
        layer="Jordan",
        options={"nonlinearity": "tanh", "output_size": None, "output_nonlinearity": "identity"},
        kernels={"jordan": {}},
    )

    def __post_init__(self) -> None:
        one_of("nonlinearity", self.nonlinearity, HIDDEN)
        one_of("output_nonlinearity", self.output_nonlinearity, OUTPUT)

    def step(self, a: Array, state: State, w: Weights, mask: Array | None = None) -> tuple[State, tuple]:
        φ, _ = NONLINEARITIES[self.nonlinearity]
        ψ, _ = NONLINEARITIES[self.output_nonlinearity]
        m = drop(state[0], mask)
        h = φ(a + linear(m, w.w_hh, w.b_hh))
        y = ψ(linear(h, w.w_hr, w.b_hr))
        return (y,), (m, h, y, mask)

    def step_backward(self, dstate: State, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """
        ds = dy ∘ ψ'
        dh = ds W_hy
        da = dh ∘ φ'
        dm = da W_yh
        """
        _, slope_h = NONLINEARITIES[self.nonlinearity]
        _, slope_y = NONLINEARITIES[self.output_nonlinearity]
        m, h, y, mask = saved
        ds = dstate[0] * slope_y(y)
        dh, dw_hr, db_hr = linear_backward(ds, h, w.w_hr, w.b_hr)
        da = dh * slope_h(h)
        dm, dw_hh, db_hh = linear_backward(da, m, w.w_hh, w.b_hh)
        return da, (drop(dm, mask),), Weights(None, dw_hh, b_hh=db_hh, w_hr=dw_hr, b_hr=db_hr)


@dataclass(frozen=True)
class GRU(Cell):
    """The gated recurrent unit (Cho et al. 2014), whose gates are r z n.

        u = m W_hh' + b_hh
        r = σ(a_r + u_r)
        z = σ(a_z + u_z)
        n = tanh(a_n + r ∘ u_n)                        reset after the product, as torch and cuDNN
        n = tanh(a_n + (r ∘ m) W_hn' + b_hn)           reset before it, as the paper's equation 8
        h = (1 - z) ∘ n + z ∘ h

    Args:
        reset_after: whether n is the first of the two, else it is the second.
    """

    reset_after: bool = True
    facts: ClassVar[Facts] = Facts(
        name="gru",
        gates=3,
        layer="GRU",
        options={"reset_after": True},
        kernels={"gru": {"reset_after": True}, "gru_reset_before": {"reset_after": False}},
        torch={"gru": {"reset_after": True}},
        onnx="GRU",
        onnx_gates=(1, 0, 2),  # z r h
    )

    def step(self, a: Array, state: State, w: Weights, mask: Array | None = None) -> tuple[State, tuple]:
        step = self._step_after if self.reset_after else self._step_before
        return step(a, state[0], w, mask)

    def step_backward(self, dstate: State, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        backward = self._backward_after if self.reset_after else self._backward_before
        return backward(dstate[0], saved, w)

    def _step_after(self, a: Array, h: Array, w: Weights, mask: Array | None) -> tuple[State, tuple]:
        m = drop(h, mask)
        a_r, a_z, a_n = split(a, 3)
        u_r, u_z, u_n = split(linear(m, w.w_hh, w.b_hh), 3)
        r = sigmoid(a_r + u_r)
        z = sigmoid(a_z + u_z)
        n = tanh(a_n + r * u_n)
        return ((1 - z) * n + z * h,), (m, h, r, z, n, u_n, mask)

    def _backward_after(self, dh: Array, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """
        da_n = dh ∘ (1 - z) ∘ (1 - n²)             du_n = da_n ∘ r
        da_z = dh ∘ (h - n) ∘ z ∘ (1 - z)          du_z = da_z
        da_r = da_n ∘ u_n ∘ r ∘ (1 - r)            du_r = da_r
        dm = du W_hh
        """
        m, h, r, z, n, u_n, mask = saved
        da_n = dh * (1 - z) * (1 - n * n)
        da_z = dh * (h - n) * z * (1 - z)
        da_r = da_n * u_n * r * (1 - r)
        dm, dw_hh, db_hh = linear_backward(join(da_r, da_z, da_n * r), m, w.w_hh, w.b_hh)
        return join(da_r, da_z, da_n), (dh * z + drop(dm, mask),), Weights(None, dw_hh, b_hh=db_hh)

    def _step_before(self, a: Array, h: Array, w: Weights, mask: Array | None) -> tuple[State, tuple]:
        m = drop(h, mask)
        a_r, a_z, a_n = split(a, 3)
        (w_rz, b_rz), (w_n, b_n) = self._halves(w)
        u_r, u_z = split(linear(m, w_rz, b_rz), 2)
        r = sigmoid(a_r + u_r)
        z = sigmoid(a_z + u_z)
        n = tanh(a_n + linear(r * m, w_n, b_n))
        return ((1 - z) * n + z * h,), (m, h, r, z, n, mask)

    def _backward_before(self, dh: Array, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """
        da_n = dh ∘ (1 - z) ∘ (1 - n²)             dq = da_n W_hn, the gradient of q = r ∘ m
        da_z = dh ∘ (h - n) ∘ z ∘ (1 - z)
        da_r = dq ∘ m ∘ r ∘ (1 - r)
        dm = (da_r, da_z) W_h(r,z) + dq ∘ r
        """
        m, h, r, z, n, mask = saved
        (w_rz, b_rz), (w_n, b_n) = self._halves(w)
        da_n = dh * (1 - z) * (1 - n * n)
        da_z = dh * (h - n) * z * (1 - z)
        dq, dw_n, db_n = linear_backward(da_n, r * m, w_n, b_n)
        da_r = dq * m * r * (1 - r)
        dm, dw_rz, db_rz = linear_backward(join(da_r, da_z), m, w_rz, b_rz)
        dw_hh = library(dw_n).concatenate((dw_rz, dw_n))
        db_hh = None if w.b_hh is None else join(db_rz, db_n)
        dh = dh * z + drop(dm + dq * r, mask)
        return join(da_r, da_z, da_n), (dh,), Weights(None, dw_hh, b_hh=db_hh)

    def _halves(self, w: Weights) -> tuple[tuple[Array, Array | None], tuple[Array, Array | None]]:
        """The recurrent weight and bias of the gates r and z, and those of n."""
        cut = w.w_hh.shape[0] // 3 * 2
        if w.b_hh is None:
            return (w.w_hh[:cut], None), (w.w_hh[cut:], None)
        return (w.w_hh[:cut], w.b_hh[:cut]), (w.w_hh[cut:], w.b_hh[cut:])


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).

        s = a + m W_hh' + b_hh                         gates i f g o; without a forget gate i g o
        i = σ(s_i + p_i ∘ c)
        f = σ(s_f + p_f ∘ c)                           without a forget gate f = 1, the cell of 1997
        g = tanh(s_g)
        c = f ∘ c + i ∘ g
        o = σ(s_o + p_o ∘ c)                           sees the new c
        h = o ∘ tanh(c)
        h = h W_hr'                                    with `w_hr`: projection (Sak et al. 2014)

    The p are the rows of `peephole`; without it the terms with p are absent (Gers & Schmidhuber 2000).

    Args:
        forget_gate: whether the cell has the gate f.
    """

    forget_gate: bool = True
    facts: ClassVar[Facts] = Facts(
        name="lstm",
        gates=4,
        states=("h", "c"),
        optional=("w_hr", "peephole"),
        layer="LSTM",
        options={"proj_size": 0, "peephole": False, "forget_gate": True},
        kernels={"lstm": {"forget_gate": True}, "lstm_without_forget": {"forget_gate": False}},
        torch={"lstm": {"forget_gate": True}},
        onnx="LSTM",
        onnx_gates=(0, 3, 1, 2),  # i o f c, where c is our g
    )

    @property
    def gates(self) -> int:
        return 4 if self.forget_gate else 3

    def step(self, a: Array, state: State, w: Weights, mask: Array | None = None) -> tuple[State, tuple]:
        h, c_prev = state
        m = drop(h, mask)
        s_i, s_f, s_g, s_o = self._gates(a + linear(m, w.w_hh, w.b_hh))
        p_i, p_f, p_o = self._peepholes(w)
        i = sigmoid(peep(s_i, p_i, c_prev))
        f = sigmoid(peep(s_f, p_f, c_prev)) if self.forget_gate else 1
        g = tanh(s_g)
        c = f * c_prev + i * g
        o = sigmoid(peep(s_o, p_o, c))
        q = tanh(c)
        h = o * q if w.w_hr is None else linear(o * q, w.w_hr, None)
        return (h, c), (m, c_prev, i, f, g, c, o, q, mask)

    def step_backward(self, dstate: State, saved: tuple, w: Weights) -> tuple[Array, State, Weights]:
        """
        dh = dh W_hr                               with projection
        ds_o = dh ∘ tanh(c) ∘ o ∘ (1 - o)
        dc = dc + dh ∘ o ∘ (1 - tanh²(c)) + p_o ∘ ds_o
        ds_i = dc ∘ g ∘ i ∘ (1 - i)
        ds_f = dc ∘ c[t-1] ∘ f ∘ (1 - f)
        ds_g = dc ∘ i ∘ (1 - g²)
        dc[t-1] = f ∘ dc + p_i ∘ ds_i + p_f ∘ ds_f
        dm = ds W_hh
        dp_i = Σ ds_i ∘ c[t-1]                     dp_f likewise; dp_o = Σ ds_o ∘ c
        """
        dh, dc = dstate
        m, c_prev, i, f, g, c, o, q, mask = saved
        p_i, p_f, p_o = self._peepholes(w)
        dw_hr = None
        if w.w_hr is not None:
            dh, dw_hr, _ = linear_backward(dh, o * q, w.w_hr, None)
        ds_o = dh * q * o * (1 - o)
        dc = peep(dc + dh * o * (1 - q * q), p_o, ds_o)
        ds_i = dc * g * i * (1 - i)
        ds_f = dc * c_prev * f * (1 - f)
        ds_g = dc * i * (1 - g * g)
        dc_prev = peep(peep(f * dc, p_i, ds_i), p_f, ds_f)
        ds = join(ds_i, ds_f, ds_g, ds_o) if self.forget_gate else join(ds_i, ds_g, ds_o)
        dm, dw_hh, db_hh = linear_backward(ds, m, w.w_hh, w.b_hh)
        dp = None
        if w.peephole is not None:
            terms = [ds_i * c_prev, ds_f * c_prev, ds_o * c] if self.forget_gate else [ds_i * c_prev, ds_o * c]
            dp = library(dc).stack([term.sum(0) for term in terms])
        return ds, (drop(dm, mask), dc_prev), Weights(None, dw_hh, b_hh=db_hh, w_hr=dw_hr, peephole=dp)

    def _gates(self, s: Array) -> tuple[Array, Array | None, Array, Array]:
        """i, f, g and o; f is None without a forget gate."""
        i, *f, g, o = split(s, self.gates)
        return i, f[0] if f else None, g, o

    def _peepholes(self, w: Weights) -> tuple[Array | None, Array | None, Array | None]:
        """The weights p_i, p_f and p_o; None for those that are absent."""
        if w.peephole is None:
            return None, None, None
        return w.peephole[0], w.peephole[1] if self.forget_gate else None, w.peephole[-1]


def peep(s: Array, p: Array | None, c: Array) -> Array:
    """s + p ∘ c: the gate sees the cell state."""
    return s if p is None else s + p * c


# The time-delay network, which a network can have in the place of a cell. It has no step of its own, because
# `unspool.nn.TDNN` consists of convolutions over time.
TIME_DELAY = Facts(name="tdnn", states=(), layer="TDNN", options={"nonlinearity": "tanh", "window": 3, "dilation": 1})
CELLS: dict[str, Any] = {cell.facts.name: cell for cell in (Elman, Jordan, GRU, LSTM)}
RECURRENT = tuple(CELLS)  # the names of the cells that have a step; every task on sequences can use each of them
FACTS: dict[str, Facts] = {name: cell.facts for name, cell in CELLS.items()} | {TIME_DELAY.name: TIME_DELAY}


def variant(cell: Cell, variants: Variants) -> str:
    """The first name whose values are those of the cell's fields; "" if there is none."""
    for name, values in variants.items():
        for field, value in values.items():
            if getattr(cell, field) != value:
                break
        else:
            return name
    return ""


def kernel_of(cell: Cell) -> tuple[str, str, str]:
    """The name of a cell's kernel, as native/words.h has it, and the cell's activation and output activation.

    Raises:
        UnspoolError: the cell has no kernel.
    """
    name = variant(cell, cell.facts.kernels)
    if not name:
        raise UnspoolError(f"cell must have a kernel in C++; got {cell}, which has none")
    return name, getattr(cell, "nonlinearity", "tanh"), getattr(cell, "output_nonlinearity", "identity")


def cell_of(kernel: str, activation: Any, output_activation: Any) -> Cell:
    """The cell of a kernel: the inverse of `kernel_of`.

    Raises:
        UnspoolError: there is no such kernel.
    """
    cells = {name: cell for cell in CELLS.values() for name in cell.facts.kernels}
    one_of("kernel", kernel, tuple(cells))
    cell = cells[kernel]
    activations = {"nonlinearity": activation, "output_nonlinearity": output_activation}
    chosen = {field.name: activations[field.name] for field in fields(cell) if field.name in activations}
    return cell(**cell.facts.kernels[kernel], **chosen)
