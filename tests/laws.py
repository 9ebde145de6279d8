"""The laws that every cell, backend and option obeys. Each `law_*` raises where it is broken; test files call it.

A `Problem` is everything `ops.run` takes, drawn from a seed. What lies behind a sequence's end is NaN (tokens: -100),
in the input and in the gradient that comes from above, so that every law with lengths is also the law that padding does
not leak.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unspool import ops
from unspool.cells import GRU, LSTM, Cell, Elman, Jordan, State, Weights, project, project_backward

F64, F32, BF16, F16 = torch.float64, torch.float32, torch.bfloat16, torch.float16

# Two ways to compute the same numbers differ at most by TOLERANCE, relative to max(1, largest expected value).
# A backend's error, ‖actual - exact‖ / max(1, ‖exact‖), is at most twice that of plain torch, plus FLOOR, in the mean
# of DRAWS: what one error is beside another is chance where a recurrence amplifies both. In half precision TOLERANCE
# allows for relu units on the other side of their kink.
TOLERANCE = {F64: 1e-12, F32: 5e-5, BF16: 5e-1, F16: 1e-1}
FLOOR = {dtype: 8 * torch.finfo(dtype).eps for dtype in TOLERANCE}

DRAWS = 3

SIZES = [  # T, B, I, H
    (1, 1, 1, 1),
    (2, 3, 3, 2),
    (7, 3, 1, 5),
    (5, 17, 4, 16),
    (13, 1, 8, 33),
    (35, 2, 5, 16),
    (9, 17, 17, 33),
    (3, 7, 2, 70),
]


class Case(NamedTuple):
    """A cell, and which of the weights it may have are there."""

    cell: Cell
    peephole: bool = False
    projection: bool = False

    def __str__(self) -> str:
        return repr(self.cell) + "-peephole" * self.peephole + "-projection" * self.projection


CASES = [
    Case(Elman("tanh")),
    Case(Elman("relu")),
    Case(Elman("sigmoid")),
    Case(Jordan("tanh", "identity")),
    Case(Jordan("relu", "tanh")),
    Case(Jordan("sigmoid", "sigmoid")),
    Case(Jordan("tanh", "relu")),
    Case(GRU(reset_after=True)),
    Case(GRU(reset_after=False)),
    *(
        Case(LSTM(forget), peephole, projection)
        for forget in (True, False)
        for peephole in (False, True)
        for projection in (False, True)
    ),
]

# What a problem has beyond an input, a state and two biases; each is a set of words that `make` knows.
OPTIONS = [
    (),
    ("no state",),
    ("no bias",),
    ("input bias only",),
    ("hidden bias only",),
    ("tokens",),
    ("strided",),
    ("lengths",),
    ("reset",),
    ("reset", "start"),
    ("mask",),
    ("reverse",),
    ("tokens", "lengths"),
    ("reset", "lengths"),
    ("reset", "reverse"),
    ("lengths", "reverse"),
    ("lengths", "reset", "start", "mask", "reverse"),
]


@dataclass(frozen=True)
class Problem:
    """Arguments of `ops.run`, and the gradients `dy` and `dstate` that come from above."""

    cell: Cell
    x: Tensor
    state: Any
    weights: Weights
    dy: Tensor
    dstate: State
    options: dict = field(default_factory=dict)

    def map(self, f: Callable[[Tensor], Tensor]) -> "Problem":
        """The problem with every float tensor replaced by its image."""

        def each(v: Any) -> Any:
            if isinstance(v, Weights):
                return Weights(*map(each, v))
            if isinstance(v, tuple):
                return tuple(map(each, v))
            return f(v) if isinstance(v, Tensor) and v.is_floating_point() else v

        parts = {name: each(getattr(self, name)) for name in ("x", "state", "weights", "dy", "dstate")}
        return replace(self, **parts, options={name: each(v) for name, v in self.options.items()})

    def to(self, dtype: torch.dtype) -> "Problem":
        return self.map(lambda v: v.to(dtype))

    def inputs(self) -> dict[str, Tensor]:
        """What the result can be differentiated by."""
        named = {"x": self.x} if self.x.is_floating_point() else {}
        for prefix, group in (("state", self.state), ("start", self.options.get("start"))):
            named |= {f"{prefix}[{k}]": v for k, v in enumerate(group or ())}
        return named | {name: v for name, v in self.weights._asdict().items() if v is not None}

    def run(self, backend: str) -> tuple[Tensor, ...]:
        """y, h or y, h, c."""
        y, state = ops.run(self.cell, self.x, self.state, self.weights, backend=backend, **self.options)
        return y, *state

    def possible(self, backend: str) -> bool:
        o = self.options
        options = [o.get(name) for name in ("lengths", "reset", "start", "mask")]
        arguments = (self.cell, self.x, self.weights, *options, o.get("reverse", False))
        return ops.BACKENDS[backend].unsupported(*arguments) is None


def make(case: Case, option: tuple[str, ...] = (), size: tuple[int, ...] = (7, 3, 1, 5), seed: int = 0) -> Problem:
    """A problem of the given size, float64, the same for the same seed."""
    T, B, I, H = size
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=F64)

    R = max(1, 2 * H // 3) if case.projection or isinstance(case.cell, Jordan) else H
    widths = (R, H)[: len(case.cell.state_names)]
    x = torch.randint(I, (T, B), generator=random) if "tokens" in option else normal(T, B, I)
    state = None if "no state" in option else tuple(normal(B, n) for n in widths)
    weights = _weights(case, option, I, H, R, normal)
    options: dict = {"reverse": True} if "reverse" in option else {}
    if "reset" in option:
        options["reset"] = torch.rand(T, B, generator=random) < 0.3
    if "start" in option:
        options["start"] = tuple(normal(n) for n in widths)
    if "mask" in option:
        options["mask"] = 2 * (normal(B, R) > 0).to(F64)
    p = Problem(case.cell, x, state, weights, normal(T, B, R), tuple(normal(B, n) for n in widths), options)
    if "lengths" in option:
        p = _unequal(p, torch.randint(1, T + 1, (B,), generator=random))
    return p.map(_strided) if "strided" in option else p


def _weights(case: Case, option: tuple[str, ...], I: int, H: int, R: int, normal: Callable[..., Tensor]) -> Weights:
    G, jordan = case.cell.gates, isinstance(case.cell, Jordan)
    scale = 0.7 / H**0.5
    return Weights(
        w_ih=normal(G * H, I) / I**0.5,
        w_hh=normal(G * H, R) * scale,
        b_ih=None if {"no bias", "hidden bias only"} & {*option} else normal(G * H) * 0.5,
        b_hh=None if {"no bias", "input bias only"} & {*option} else normal(G * H) * 0.5,
        w_hr=normal(R, H) * scale if jordan or case.projection else None,
        b_hr=normal(R) * 0.5 + 0.5 if jordan and "no bias" not in option else None,
        peephole=normal(G - 1, H) * 0.5 if case.peephole else None,
    )


def _unequal(p: Problem, lengths: Tensor) -> Problem:
    padding = torch.arange(len(p.x))[:, None] >= lengths
    x, dy = p.x.clone(), p.dy.clone()
    x[padding] = torch.nan if x.is_floating_point() else -100
    dy[padding] = torch.nan
    return replace(p, x=x, dy=dy, options=p.options | {"lengths": lengths})


def _strided(v: Tensor) -> Tensor:
    """The same numbers, every dimension in another order in memory, and with gaps."""
    order = tuple(range(v.ndim))[::-1]
    return v.permute(order).contiguous().repeat_interleave(2, -1)[..., ::2].permute(order)


def outcome(p: Problem, run: Callable[[Problem], tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """The outputs of a run and the gradients of its inputs, by name."""
    p = p.map(Tensor.detach)
    inputs = p.inputs()
    for v in inputs.values():
        v.requires_grad_()
    outputs = run(p)
    gradients = torch.autograd.grad(outputs, list(inputs.values()), (p.dy, *p.dstate), materialize_grads=True)
    named = {f"d{name}": v for name, v in zip(inputs, gradients, strict=True)}
    return {name: v.detach() for name, v in zip(("y", "h", "c"), outputs, strict=False)} | named


def scale(v: Tensor) -> float:
    return max(1.0, v.abs().max().item()) if v.numel() else 1.0


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, v in expected.items():
        close = {"rtol": 0, "atol": tolerance * scale(v), "check_dtype": False}
        torch.testing.assert_close(actual[name], v, **close, msg=lambda text, name=name: f"{name}: {text}")


# Law 1: the reference equals torch.nn, and a plain loop where torch.nn has no such cell or option.


def law_equals_torch_nn(module: torch.nn.RNNBase, size: tuple[int, int, int], lengths: Tensor | None) -> None:
    """Both directions of a torch.nn layer, packed if there are lengths: outputs, last states and all gradients."""
    T, B, I = size
    states = [torch.randn(2, B, n, dtype=F64, requires_grad=True) for n in _widths(module)]
    x = torch.randn(T, B, I, dtype=F64, requires_grad=True)
    given = x if lengths is None else torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    lstm = isinstance(module, torch.nn.LSTM)
    y, last = module(given, tuple(states) if lstm else states[0])
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    ours = [_direction(module, x, states, lengths, k) for k in range(2)]
    expected = [y, *(last if lstm else (last,))]
    (y, state), (y_reverse, state_reverse) = ours
    actual = [torch.cat((y, y_reverse), -1), *map(torch.stack, zip(state, state_reverse, strict=True))]
    inputs = [x, *states, *module.parameters()]
    above = [torch.randn_like(v) for v in expected]
    results = [(*out, *torch.autograd.grad(out, inputs, above)) for out in (actual, expected)]
    for a, e in zip(*results, strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=TOLERANCE[F64] * scale(e))


def _widths(module: torch.nn.RNNBase) -> tuple[int, ...]:
    R, H = module.proj_size or module.hidden_size, module.hidden_size
    return (R, H) if isinstance(module, torch.nn.LSTM) else (R,)


def _direction(
    module: torch.nn.RNNBase, x: Tensor, states: list[Tensor], lengths: Tensor | None, k: int
) -> tuple[Tensor, State]:
    suffix = ("_l0", "_l0_reverse")[k]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    weights = Weights(*(getattr(module, name + suffix, None) for name in names))
    cell = {"LSTM": LSTM(), "GRU": GRU()}.get(module.mode) or Elman("relu" if module.mode == "RNN_RELU" else "tanh")
    state = tuple(s[k] for s in states)
    return ops.run(cell, x, state, weights, lengths=lengths, reverse=k == 1, backend="reference")


def law_equals_plain_loop(p: Problem) -> None:
    assert_same(outcome(p, lambda p: p.run("reference")), outcome(p, plain_loop), TOLERANCE[F64])


def plain_loop(p: Problem) -> tuple[Tensor, ...]:
    """Every option spelt out: one sequence at a time, one step at a time, from `plain_step`."""
    (T, B, R), w, o = p.dy.shape, p.weights, p.options
    y = [[p.dy.new_zeros(R)] * B for _ in range(T)]
    zeros = tuple(torch.zeros_like(s[0]) for s in p.dstate)
    last = []
    for b in range(B):
        n = int(o["lengths"][b]) if "lengths" in o else T
        begins = {t for t in range(n) if "reset" in o and o["reset"][t, b]}
        state = o.get("start", zeros) if p.state is None else tuple(s[b] for s in p.state)
        for t in reversed(range(n)) if o.get("reverse") else range(n):
            if (t + 1 if o.get("reverse") else t) in begins:
                state = o.get("start", zeros)
            a = w.w_ih @ p.x[t, b] if p.x.is_floating_point() else w.w_ih[:, p.x[t, b]]
            m = state[0] * o["mask"][b] if "mask" in o else state[0]
            state = plain_step(p.cell, a if w.b_ih is None else a + w.b_ih, m, state, w)
            y[t][b] = state[0]
        last.append(state)
    return torch.stack([torch.stack(row) for row in y]), *(torch.stack(s) for s in zip(*last, strict=True))


def plain_step(cell: Cell, a: Tensor, m: Tensor, state: State, w: Weights) -> State:
    """One step of one sequence in torch's functions: what `cells.py` says in its own."""
    φ = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": torch.clone}
    b_hh = torch.zeros_like(a) if w.b_hh is None else w.b_hh
    if isinstance(cell, Elman):
        return (φ[cell.nonlinearity](a + w.w_hh @ m + b_hh),)
    if isinstance(cell, Jordan):
        h = φ[cell.nonlinearity](a + w.w_hh @ m + b_hh)
        return (φ[cell.output_nonlinearity](w.w_hr @ h + (0 if w.b_hr is None else w.b_hr)),)
    if isinstance(cell, GRU):
        (a_r, a_z, a_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (v.chunk(3) for v in (a, w.w_hh, b_hh))
        r, z = torch.sigmoid(a_r + w_r @ m + b_r), torch.sigmoid(a_z + w_z @ m + b_z)
        n = torch.tanh(a_n + (r * (w_n @ m + b_n) if cell.reset_after else w_n @ (r * m) + b_n))
        return (n + z * (state[0] - n),)
    c = state[1]
    p = dict(zip("ifo" if cell.forget_gate else "io", [0, 0, 0] if w.peephole is None else w.peephole, strict=False))
    s = dict(zip("ifgo" if cell.forget_gate else "igo", (a + w.w_hh @ m + b_hh).chunk(cell.gates), strict=True))
    kept = torch.sigmoid(s["f"] + p["f"] * c) * c if cell.forget_gate else c
    new = kept + torch.sigmoid(s["i"] + p["i"] * c) * torch.tanh(s["g"])
    h = torch.sigmoid(s["o"] + p["o"] * new) * torch.tanh(new)
    return h if w.w_hr is None else w.w_hr @ h, new


# Law 2: derivatives are derivatives.


def law_step_backward_is_autograd(p: Problem) -> None:
    """`step_backward` and `project_backward` against autograd of `step` and `project`, on the first time step."""
    p = p.map(lambda v: v.detach().requires_grad_())
    w, mask = p.weights, p.options.get("mask")
    a = project(p.x[0], w)
    new, saved = p.cell.step(a, p.state, w, mask)
    with torch.no_grad():
        da, dstate, dw = p.cell.step_backward(p.dstate, saved, w)
        dx, dw_ih, db_ih = project_backward(da, p.x[0], w)
    dw = dw._replace(w_ih=dw_ih, b_ih=db_ih)
    actual = {"x": dx} | {f"state[{k}]": v for k, v in enumerate(dstate)} | dw._asdict()
    inputs = p.inputs()
    expected = dict(zip(inputs, torch.autograd.grad(new, list(inputs.values()), p.dstate), strict=True))
    if p.x.is_floating_point():
        expected["x"] = expected["x"][0]
    assert_same({name: v for name, v in actual.items() if v is not None}, expected, TOLERANCE[F64])


def law_gradcheck(p: Problem, backend: str, second: bool) -> None:
    """Derivatives against differences, and derivatives of derivatives."""
    names = list(p.inputs())

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return _with(p, dict(zip(names, values, strict=True))).run(backend)

    values = [v.detach().clone().requires_grad_() for v in p.inputs().values()]
    check = torch.autograd.gradgradcheck if second else torch.autograd.gradcheck
    assert check(function, values, fast_mode=True)


def _with(p: Problem, values: dict[str, Tensor]) -> Problem:
    """The problem with other inputs, of the names that `inputs` gives them."""

    def group(prefix: str, old: State | None) -> State | None:
        return old and tuple(values[f"{prefix}[{k}]"] for k in range(len(old)))

    weights = p.weights._replace(**{name: v for name, v in values.items() if name in Weights._fields})
    options = p.options | ({"start": group("start", p.options["start"])} if "start" in p.options else {})
    return replace(p, x=values.get("x", p.x), state=group("state", p.state), weights=weights, options=options)


def law_gradients_one_at_a_time(p: Problem, backend: str) -> None:
    """Each output's gradient by each input alone: a backend may leave out what nobody asks for, and nothing else."""
    outputs = range(1 + len(p.dstate))
    for name, value in p.inputs().items():
        for k in outputs:
            actual = _one_gradient(p, name, value, k, backend)
            torch.testing.assert_close(actual, _one_gradient(p, name, value, k, "reference"), rtol=0, atol=1e-11)


def _one_gradient(p: Problem, name: str, value: Tensor, k: int, backend: str) -> Tensor:
    v = value.detach().requires_grad_()
    out = _with(p, p.inputs() | {name: v}).run(backend)[k]
    return torch.autograd.grad(out, v, (p.dy, *p.dstate)[k], materialize_grads=True)[0]


# Law 3: a backend errs at most twice as much as plain torch in the same dtype.


def law_error(problems: Sequence[Problem], backend: str, dtype: torch.dtype) -> None:
    errors: dict[str, list[tuple[float, float]]] = {}
    for problem in problems:
        p = problem.to(dtype)
        exact = outcome(p.to(F64), lambda p: p.run("reference"))
        actual = outcome(p, lambda p: p.run(backend))
        plain = actual if backend == "eager" else outcome(p, lambda p: p.run("eager"))
        assert actual.keys() == exact.keys()
        for name, v in exact.items():
            assert actual[name].dtype == dtype and actual[name].shape == v.shape, name
            size = max(1.0, v.norm().item())
            both = [(a[name].double() - v).norm().item() / size for a in (actual, plain)]
            assert both[0] <= TOLERANCE[dtype], f"{name} errs by {both[0]:.3g} in {dtype}"
            errors.setdefault(name, []).append((both[0], both[1]))
    for name, pairs in errors.items():
        error, of_torch = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        assert error <= 2 * of_torch + FLOOR[dtype], f"{name} errs by {error:.3g} in {dtype}, torch by {of_torch:.3g}"


# Laws 4 and 5: cuts, padding, resets.


def law_cut(p: Problem, backend: str, cuts: list[int]) -> None:
    """Pieces with the state carried from one to the next equal the whole."""
    if p.options.get("reverse") and "reset" in p.options:
        # In reverse a beginning at a cut would be for the piece before to know.
        p = replace(p, options=p.options | {"reset": p.options["reset"].index_fill(0, torch.tensor(cuts), False)})
    pieces = outcome(p, lambda p: _in_pieces(p, backend, cuts))
    assert_same(pieces, outcome(p, lambda p: p.run(backend)), TOLERANCE[p.dy.dtype])


def _in_pieces(p: Problem, backend: str, cuts: list[int]) -> tuple[Tensor, ...]:
    bounds = sorted({0, *cuts, len(p.x)})
    spans = list(itertools.pairwise(bounds))
    reverse, y, state = p.options.get("reverse", False), [], p.state
    for first, end in reversed(spans) if reverse else spans:
        part, *state = _between(p, first, end, state and tuple(state)).run(backend)
        y.append(part)
    return torch.cat(y[::-1] if reverse else y), *(state or ())


def _between(p: Problem, first: int, end: int, state: Any) -> Problem:
    options = p.options | ({"reset": p.options["reset"][first:end]} if "reset" in p.options else {})
    return replace(p, x=p.x[first:end], state=state, options=options)


def law_alone(p: Problem, backend: str) -> None:
    """A padded batch equals each sequence alone, and a reset equals starting afresh, in both directions."""
    alone = outcome(p, lambda p: _each_alone(p, backend))
    assert_same(outcome(p, lambda p: p.run(backend)), alone, TOLERANCE[p.dy.dtype])


def _each_alone(p: Problem, backend: str) -> tuple[Tensor, ...]:
    T, B, _ = p.dy.shape
    ys, states = [], []
    for b in range(B):
        n = int(p.options["lengths"][b]) if "lengths" in p.options else T
        parts = [_fresh(p, b, first, end, n).run(backend) for first, end in _sequences(p, b, n)]
        states.append(parts[0 if p.options.get("reverse") else -1][1:])
        ys.append(torch.nn.functional.pad(torch.cat([part[0] for part in parts]), (0, 0, 0, 0, 0, T - n)))
    return torch.cat(ys, 1), *(torch.cat(s) for s in zip(*states, strict=True))


def _sequences(p: Problem, b: int, n: int) -> Iterator[tuple[int, int]]:
    begins = p.options["reset"][1:n, b].nonzero().flatten().add(1).tolist() if "reset" in p.options else []
    yield from zip([0, *begins], [*begins, n], strict=True)


def _fresh(p: Problem, b: int, first: int, end: int, n: int) -> Problem:
    """Sequence b from `first` to `end`; the one that is processed first has the given state, unless it begins there."""
    o = p.options
    reverse = o.get("reverse", False)
    begins = "reset" in o and not reverse and bool(o["reset"][first, b])
    given = (end == n if reverse else first == 0) and not begins
    zeros = tuple(torch.zeros_like(s[0]) for s in p.dstate)
    state = tuple(s[b : b + 1] for s in p.state) if given and p.state else tuple(s[None] for s in o.get("start", zeros))
    options = {"reverse": reverse} | ({"mask": o["mask"][b : b + 1]} if "mask" in o else {})
    return replace(p, x=p.x[first:end, b : b + 1], state=state, options=options)


# Law 7: theory.


def law_gradient_decays(backend: str, dtype: torch.dtype, radius: float, T: int = 30, H: int = 6) -> None:
    """A linear cell, h = r P h + x with P a permutation, has |dh[t]| = r^(T-1-t) for a loss of the last step alone.

    With W_ih = 1 that is |dx[t]|; positive inputs keep relu in its linear half.
    """
    P = torch.eye(H, dtype=dtype).roll(1, 0)
    x = torch.rand(T, 1, H, generator=torch.Generator().manual_seed(0), dtype=F64).add(0.1).to(dtype).requires_grad_()
    y, _ = ops.elman(x, None, Weights(torch.eye(H, dtype=dtype), radius * P), nonlinearity="relu", backend=backend)
    (dx,) = torch.autograd.grad(y[-1, 0, 0], x)
    expected = radius ** torch.arange(T - 1, -1, -1, dtype=F64)
    torch.testing.assert_close(dx.double().norm(dim=(1, 2)), expected, rtol=TOLERANCE[dtype] * T, atol=0)


# Law 9: an option that is ignored is noticed.


def law_option_matters(with_it: tuple[Tensor, ...], without: tuple[Tensor, ...]) -> None:
    difference = max((a.double() - b.double()).abs().max().item() for a, b in zip(with_it, without, strict=True))
    assert difference > 1e-3
