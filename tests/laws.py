"""The laws that every cell, backend and option obeys. Each `law_*` raises where it is broken; test files call it.

A `Trial` is a problem for `ops.run` and the gradients that come from above, drawn from a seed. Whatever lies after the
end of a sequence is NaN (tokens: -100), in the input and in these gradients, so that every law with lengths is also the
law that padding does not leak.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unspool import ops
from unspool.cells import GRU, LSTM, Cell, Elman, Jordan, State, Weights, project, project_backward, weight_shapes
from unspool.ops.problem import Problem

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

# What a trial has beyond an input, a state and two biases; each is a set of words that `make` knows.
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


class Trial(NamedTuple):
    """A problem, and the gradients `dy` and `dstate` that come from above."""

    problem: Problem
    dy: Tensor
    dstate: State

    def map(self, f: Callable[[Tensor], Tensor]) -> "Trial":
        """The trial with every float tensor replaced by its image."""

        def floats(v: Tensor) -> Tensor:
            return f(v) if v.is_floating_point() else v

        return Trial(self.problem.map(floats), floats(self.dy), tuple(map(floats, self.dstate)))

    def to(self, dtype: torch.dtype) -> "Trial":
        return self.map(lambda v: v.to(dtype))

    def change(self, **parts: Any) -> "Trial":
        """The trial of a problem with other parts."""
        return self._replace(problem=self.problem._replace(**parts))

    def options(self) -> dict[str, Any]:
        """The problem's options, as keywords of `ops.run`: those that it has."""
        options = dict(zip(Problem._fields[4:], self.problem[4:], strict=True))
        return {name: v for name, v in options.items() if v is not None and v is not False}

    def inputs(self) -> dict[str, Tensor]:
        """What the result can be differentiated by."""
        x, state, weights, start = (getattr(self.problem, name) for name in ("x", "state", "weights", "start"))
        named = {"x": x} if x.is_floating_point() else {}
        for prefix, group in (("state", state), ("start", start)):
            named |= {f"{prefix}[{k}]": v for k, v in enumerate(group or ())}
        return named | {name: v for name, v in weights._asdict().items() if v is not None}

    def run(self, backend: str) -> tuple[Tensor, ...]:
        """y, h or y, h, c."""
        y, state = ops.run(*self.problem[:4], **self.options(), backend=backend)
        return y, *state

    def possible(self, backend: str) -> bool:
        return ops.BACKENDS[backend].unsupported(self.problem) is None


def make(case: Case, option: tuple[str, ...] = (), size: tuple[int, ...] = (7, 3, 1, 5), seed: int = 0) -> Trial:
    """A trial of the given size, float64, the same for the same seed."""
    T, B, I, H = size
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=F64)

    R = max(1, 2 * H // 3) if case.projection or "w_hr" in case.cell.facts.required else H
    widths = case.cell.facts.state_sizes(R, H)
    x = torch.randint(I, (T, B), generator=random) if "tokens" in option else normal(T, B, I)
    state = None if "no state" in option else tuple(normal(B, n) for n in widths)
    p = Problem(case.cell, x, state, _weights(case, option, I, H, R, normal), reverse="reverse" in option)
    if "reset" in option:
        p = p._replace(reset=torch.rand(T, B, generator=random) < 0.3)
    if "start" in option:
        p = p._replace(start=tuple(normal(n) for n in widths))
    if "mask" in option:
        p = p._replace(mask=2 * (normal(B, R) > 0).to(F64))
    trial = Trial(p, normal(T, B, R), tuple(normal(B, n) for n in widths))
    if "lengths" in option:
        trial = _unequal(trial, torch.randint(T + 1, (B,), generator=random))
    return trial.map(_strided) if "strided" in option else trial


def _weights(case: Case, option: tuple[str, ...], I: int, H: int, R: int, normal: Callable[..., Tensor]) -> Weights:
    shapes, scale = weight_shapes(case.cell.gates, I, H, R), 0.7 / H**0.5
    facts = case.cell.facts
    return Weights(
        w_ih=normal(*shapes.w_ih) / I**0.5,
        w_hh=normal(*shapes.w_hh) * scale,
        b_ih=None if {"no bias", "hidden bias only"} & {*option} else normal(*shapes.b_ih) * 0.5,
        b_hh=None if {"no bias", "input bias only"} & {*option} else normal(*shapes.b_hh) * 0.5,
        w_hr=normal(*shapes.w_hr) * scale if "w_hr" in facts.required or case.projection else None,
        b_hr=normal(*shapes.b_hr) * 0.5 + 0.5 if "b_hr" in facts.optional and "no bias" not in option else None,
        peephole=normal(*shapes.peephole) * 0.5 if case.peephole else None,
    )


def _unequal(trial: Trial, lengths: Tensor) -> Trial:
    x, dy = trial.problem.x.clone(), trial.dy.clone()
    padding = torch.arange(len(x))[:, None] >= lengths
    x[padding] = torch.nan if x.is_floating_point() else -100
    dy[padding] = torch.nan
    return Trial(trial.problem._replace(x=x, lengths=lengths), dy, trial.dstate)


def _strided(v: Tensor) -> Tensor:
    """The same numbers, every dimension in another order in memory, and with gaps."""
    order = tuple(range(v.ndim))[::-1]
    return v.permute(order).contiguous().repeat_interleave(2, -1)[..., ::2].permute(order)


def outcome(trial: Trial, run: Callable[[Trial], tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """The outputs of a run and the gradients of its inputs, by name."""
    trial = trial.map(Tensor.detach)
    inputs = trial.inputs()
    for v in inputs.values():
        v.requires_grad_()
    outputs = run(trial)
    above = (trial.dy, *trial.dstate)
    # Where all sequences are empty, an output may depend on nothing.
    known = [(v, d) for v, d in zip(outputs, above, strict=True) if v.requires_grad]
    gradients = [torch.zeros_like(v) for v in inputs.values()]
    if known:
        gradients = _gradients(known, list(inputs.values()))
    named = {f"d{name}": v for name, v in zip(inputs, gradients, strict=True)}
    names = ("y", *trial.problem.cell.facts.states)
    return {name: v.detach() for name, v in zip(names, outputs, strict=True)} | named


def _gradients(known: list[tuple[Tensor, Tensor]], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    outputs, above = zip(*known, strict=True)
    return torch.autograd.grad(outputs, inputs, above, materialize_grads=True)


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


def law_equals_plain_loop(trial: Trial) -> None:
    assert_same(outcome(trial, lambda trial: trial.run("reference")), outcome(trial, plain_loop), TOLERANCE[F64])


def plain_loop(trial: Trial) -> tuple[Tensor, ...]:
    """Every option spelt out: one sequence at a time, one step at a time, from `PLAIN`."""
    (T, B, R), p, w = trial.dy.shape, trial.problem, trial.problem.weights
    y = [[trial.dy.new_zeros(R)] * B for _ in range(T)]
    zeros = tuple(torch.zeros_like(s[0]) for s in trial.dstate)
    last = []
    for b in range(B):
        n = T if p.lengths is None else int(p.lengths[b])
        begins = {t for t in range(n) if p.reset is not None and p.reset[t, b]}
        state = (p.start or zeros) if p.state is None else tuple(s[b] for s in p.state)
        for t in reversed(range(n)) if p.reverse else range(n):
            if (t + 1 if p.reverse else t) in begins:
                state = p.start or zeros
            a = w.w_ih @ p.x[t, b] if p.x.is_floating_point() else w.w_ih[:, p.x[t, b]]
            m = state[0] if p.mask is None else state[0] * p.mask[b]
            state = PLAIN[p.cell.facts.name](p.cell, a if w.b_ih is None else a + w.b_ih, m, state, w)
            y[t][b] = state[0]
        last.append(state)
    return torch.stack([torch.stack(row) for row in y]), *(torch.stack(s) for s in zip(*last, strict=True))


# One step of one sequence in torch's functions: what `cells.py` says in its own.
φ = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": torch.clone}


def plain_elman(cell: Any, a: Tensor, m: Tensor, state: State, w: Weights) -> State:
    return (φ[cell.nonlinearity](a + w.w_hh @ m + _or_zeros(w.b_hh, a)),)


def plain_jordan(cell: Any, a: Tensor, m: Tensor, state: State, w: Weights) -> State:
    h = φ[cell.nonlinearity](a + w.w_hh @ m + _or_zeros(w.b_hh, a))
    return (φ[cell.output_nonlinearity](w.w_hr @ h + (0 if w.b_hr is None else w.b_hr)),)


def plain_gru(cell: Any, a: Tensor, m: Tensor, state: State, w: Weights) -> State:
    (a_r, a_z, a_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (v.chunk(3) for v in (a, w.w_hh, _or_zeros(w.b_hh, a)))
    r, z = torch.sigmoid(a_r + w_r @ m + b_r), torch.sigmoid(a_z + w_z @ m + b_z)
    n = torch.tanh(a_n + (r * (w_n @ m + b_n) if cell.reset_after else w_n @ (r * m) + b_n))
    return (n + z * (state[0] - n),)


def plain_lstm(cell: Any, a: Tensor, m: Tensor, state: State, w: Weights) -> State:
    c, gates = state[1], (a + w.w_hh @ m + _or_zeros(w.b_hh, a)).chunk(cell.gates)
    p = dict(zip("ifo" if cell.forget_gate else "io", [0, 0, 0] if w.peephole is None else w.peephole, strict=False))
    s = dict(zip("ifgo" if cell.forget_gate else "igo", gates, strict=True))
    kept = torch.sigmoid(s["f"] + p["f"] * c) * c if cell.forget_gate else c
    new = kept + torch.sigmoid(s["i"] + p["i"] * c) * torch.tanh(s["g"])
    h = torch.sigmoid(s["o"] + p["o"] * new) * torch.tanh(new)
    return h if w.w_hr is None else w.w_hr @ h, new


def _or_zeros(b: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if b is None else b


PLAIN = {"elman": plain_elman, "jordan": plain_jordan, "gru": plain_gru, "lstm": plain_lstm}


# Law 2: derivatives are derivatives.


def law_step_backward_is_autograd(trial: Trial) -> None:
    """`step_backward` and `project_backward` against autograd of `step` and `project`, on the first time step."""
    trial = trial.map(lambda v: v.detach().requires_grad_())
    p, w = trial.problem, trial.problem.weights
    a = project(p.x[0], w)
    new, saved = p.cell.step(a, p.state, w, p.mask)
    with torch.no_grad():
        da, dstate, dw = p.cell.step_backward(trial.dstate, saved, w)
        dx, dw_ih, db_ih = project_backward(da, p.x[0], w)
    dw = dw._replace(w_ih=dw_ih, b_ih=db_ih)
    actual = {"x": dx} | {f"state[{k}]": v for k, v in enumerate(dstate)} | dw._asdict()
    inputs = trial.inputs()
    expected = dict(zip(inputs, torch.autograd.grad(new, list(inputs.values()), trial.dstate), strict=True))
    if p.x.is_floating_point():
        expected["x"] = expected["x"][0]
    assert_same({name: v for name, v in actual.items() if v is not None}, expected, TOLERANCE[F64])


def law_gradcheck(trial: Trial, backend: str, second: bool) -> None:
    """Derivatives against differences, and derivatives of derivatives."""
    names = list(trial.inputs())

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        return _with(trial, dict(zip(names, values, strict=True))).run(backend)

    values = [v.detach().clone().requires_grad_() for v in trial.inputs().values()]
    check = torch.autograd.gradgradcheck if second else torch.autograd.gradcheck
    assert check(function, values, fast_mode=True)


def _with(trial: Trial, values: dict[str, Tensor]) -> Trial:
    """The trial with other inputs, of the names that `inputs` gives them."""
    p = trial.problem

    def group(prefix: str, old: State | None) -> State | None:
        return old and tuple(values[f"{prefix}[{k}]"] for k in range(len(old)))

    weights = p.weights._replace(**{name: v for name, v in values.items() if name in Weights._fields})
    state, start = group("state", p.state), group("start", p.start)
    return trial.change(x=values.get("x", p.x), state=state, weights=weights, start=start)


def law_gradients_one_at_a_time(trial: Trial, backend: str) -> None:
    """Each output's gradient by each input alone: a backend may leave out what nobody asks for, and nothing else."""
    outputs = range(1 + len(trial.dstate))
    for name, value in trial.inputs().items():
        for k in outputs:
            actual = _one_gradient(trial, name, value, k, backend)
            torch.testing.assert_close(actual, _one_gradient(trial, name, value, k, "reference"), rtol=0, atol=1e-11)


def _one_gradient(trial: Trial, name: str, value: Tensor, k: int, backend: str) -> Tensor:
    v = value.detach().requires_grad_()
    out = _with(trial, trial.inputs() | {name: v}).run(backend)[k]
    return torch.autograd.grad(out, v, (trial.dy, *trial.dstate)[k], materialize_grads=True)[0]


# Law 3: a backend errs at most twice as much as plain torch in the same dtype.


def law_error(trials: Sequence[Trial], backend: str, dtype: torch.dtype) -> None:
    errors: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        t = trial.to(dtype)
        exact = outcome(t.to(F64), lambda t: t.run("reference"))
        actual = outcome(t, lambda t: t.run(backend))
        plain = actual if backend == "eager" else outcome(t, lambda t: t.run("eager"))
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


def law_cut(trial: Trial, backend: str, cuts: list[int]) -> None:
    """Pieces with the state carried from one to the next equal the whole."""
    reset = trial.problem.reset
    if trial.problem.reverse and reset is not None:
        # In reverse a beginning at a cut would be for the piece before to know.
        trial = trial.change(reset=reset.index_fill(0, torch.tensor(cuts), False))
    pieces = outcome(trial, lambda trial: _in_pieces(trial, backend, cuts))
    assert_same(pieces, outcome(trial, lambda trial: trial.run(backend)), TOLERANCE[trial.dy.dtype])


def _in_pieces(trial: Trial, backend: str, cuts: list[int]) -> tuple[Tensor, ...]:
    p = trial.problem
    bounds = sorted({0, *cuts, len(p.x)})
    spans = list(itertools.pairwise(bounds))
    y, state = [], p.state
    for first, end in reversed(spans) if p.reverse else spans:
        reset = None if p.reset is None else p.reset[first:end]
        piece = trial.change(x=p.x[first:end], state=state and tuple(state), reset=reset)
        part, *state = piece.run(backend)
        y.append(part)
    return torch.cat(y[::-1] if p.reverse else y), *(state or ())


def law_alone(trial: Trial, backend: str) -> None:
    """A padded batch equals each sequence alone, and a reset equals starting afresh, in both directions."""
    alone = outcome(trial, lambda trial: _each_alone(trial, backend))
    assert_same(outcome(trial, lambda trial: trial.run(backend)), alone, TOLERANCE[trial.dy.dtype])


def _each_alone(trial: Trial, backend: str) -> tuple[Tensor, ...]:
    T, B, _ = trial.dy.shape
    p = trial.problem
    ys, states = [], []
    for b in range(B):
        n = T if p.lengths is None else int(p.lengths[b])
        if n == 0:  # the state stays
            start = p.start or tuple(torch.zeros_like(s[0]) for s in trial.dstate)
            states.append(tuple(s[b : b + 1] for s in p.state) if p.state else tuple(s[None] for s in start))
            ys.append(torch.zeros_like(trial.dy[:, b : b + 1]))
            continue
        parts = [_fresh(trial, b, first, end, n).run(backend) for first, end in _sequences(p, b, n)]
        states.append(parts[0 if p.reverse else -1][1:])
        ys.append(torch.nn.functional.pad(torch.cat([part[0] for part in parts]), (0, 0, 0, 0, 0, T - n)))
    return torch.cat(ys, 1), *(torch.cat(s) for s in zip(*states, strict=True))


def _sequences(p: Problem, b: int, n: int) -> Iterator[tuple[int, int]]:
    begins = [] if p.reset is None else p.reset[1:n, b].nonzero().flatten().add(1).tolist()
    yield from zip([0, *begins], [*begins, n], strict=True)


def _fresh(trial: Trial, b: int, first: int, end: int, n: int) -> Trial:
    """Sequence b from `first` to `end`; the one that is processed first has the given state, unless it begins there."""
    p = trial.problem
    begins = p.reset is not None and not p.reverse and bool(p.reset[first, b])
    given = (end == n if p.reverse else first == 0) and not begins
    start = p.start or tuple(torch.zeros_like(s[0]) for s in trial.dstate)
    state = tuple(s[b : b + 1] for s in p.state) if given and p.state else tuple(s[None] for s in start)
    mask = None if p.mask is None else p.mask[b : b + 1]
    alone = Problem(p.cell, p.x[first:end, b : b + 1], state, p.weights, mask=mask, reverse=p.reverse)
    return trial._replace(problem=alone)


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
