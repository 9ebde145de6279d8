"""Every cell × backend × dtype × option through the laws; the list is computed from the dispatch table."""

import itertools
import re

import laws
import pytest
import torch
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import CASES, F32, F64, OPTIONS, SIZES, Case
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from unspool import _native, ops
from unspool.cells import GRU, LSTM, Elman, Jordan, Weights
from unspool.ops import native

pytestmark = [
    pytest.mark.usefixtures("unwritten_is_nan"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]
DTYPES = {"reference": [F64, F32], "native": [F64, F32], "eager": list(laws.TOLERANCE), "torch": list(laws.TOLERANCE)}


def table(options, dtypes=tuple(laws.TOLERANCE), backends=tuple(ops.BACKENDS)):
    """(case, option, backend, dtypes) for all that the backends say they can run."""
    rows = []
    for case in CASES:
        for option in options:
            for backend in backends:
                trial = laws.make(case, option)
                able = [dtype for dtype in dtypes if dtype in DTYPES[backend] and trial.to(dtype).possible(backend)]
                if able:
                    rows.append(pytest.param(case, option, backend, able, id=f"{case}-{'+'.join(option)}-{backend}"))
    return rows


def double_and_single(options):
    """The table in float64, and in float32 for the kernels that are other ones there."""
    return table(options, (F64,), ["reference", "eager", "torch"]) + table(options, (F64, F32), ["native"])


def options_with(*words):
    return [option for option in OPTIONS if {*words} & {*option}]


# Law 1.


@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 3, 1, 5), (9, 4, 3, 16)], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "RNN relu", "GRU", "LSTM", "LSTM projection"])
def test_reference_equals_torch_nn(kind, size, bias, packed):
    name, *variant = kind.split()
    T, B, I, H = size
    extra = {"relu": {"nonlinearity": "relu"}, "projection": {"proj_size": H - 1}}[variant[0]] if variant else {}
    torch.manual_seed(T + H)
    module = getattr(torch.nn, name)(I, H, bias=bias, bidirectional=True, dtype=F64, **extra)
    lengths = T - torch.arange(B) % T if packed else None
    laws.law_equals_torch_nn(module, (T, B, I), lengths)


@pytest.mark.parametrize("option", OPTIONS, ids="+".join)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_equals_plain_loop(case, option):
    for seed, size in enumerate([(1, 1, 1, 1), (2, 3, 3, 2), (7, 3, 1, 5)]):
        laws.law_equals_plain_loop(laws.make(case, option, size, seed))


# Law 2.


@pytest.mark.parametrize("option", [(), OPTIONS[-1]], ids="+".join)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_gradcheck(case, option, backend):
    trial = laws.make(case, option, (3, 2, 2, 2))
    if trial.possible(backend):
        laws.law_gradcheck(trial, backend, second=False)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("backend", ["eager", "native"])
def test_gradgradcheck(case, backend):
    trial = laws.make(case, OPTIONS[-1], (3, 2, 2, 2))
    if trial.possible(backend):
        laws.law_gradcheck(trial, backend, second=True)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_gradients_one_at_a_time(case, backend):
    for option in [(), OPTIONS[-1]]:
        trial = laws.make(case, option, (3, 2, 2, 3))
        if trial.possible(backend):
            laws.law_gradients_one_at_a_time(trial, backend)


@pytest.mark.parametrize("option", [(), ("tokens",), ("lengths",), OPTIONS[-1]], ids="+".join)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_opcheck(case, option, monkeypatch):
    trial = laws.make(case, option, (3, 2, 2, 3))
    operator, calls = native._operator, []
    monkeypatch.setattr(native, "_operator", lambda *arguments: calls.append(arguments) or operator(*arguments))
    monkeypatch.setattr(native, "_traced", lambda inputs: True)
    laws.outcome(trial, lambda trial: trial.run("native"))
    torch.library.opcheck(
        operator,
        [v.detach().requires_grad_(v.requires_grad) if isinstance(v, torch.Tensor) else v for v in calls[0]],
    )


def test_who_watches_sees_the_operators():
    """A dispatch mode sees them, and gets the numbers that one has without it; tensors without data have shapes."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            seen.add(str(function))
            return function(*arguments, **(options or {}))

    p, seen = laws.make(Case(LSTM())), set()
    alone = laws.outcome(p, lambda p: p.run("native"))
    with Watch():
        watched = laws.outcome(p, lambda p: p.run("native"))
    assert {"unspool.recurrence.default", "unspool.recurrence_backward.default"} <= seen
    torch.testing.assert_close(alone, watched, rtol=0, atol=0)
    with FakeTensorMode():
        y, _ = ops.elman(torch.empty(5, 2, 3), None, Weights(torch.empty(4, 3), torch.empty(4, 4)), backend="native")
    assert y.shape == (5, 2, 4)
    y, _ = ops.elman(y, None, Weights(y.new_empty(4, 4), y.new_empty(4, 4)), backend="native")
    assert isinstance(y, FakeTensor)


@pytest.mark.parametrize("create_graph", [False, True], ids=["first order", "create_graph"])
@pytest.mark.parametrize("backend", ["eager", "native"])
def test_inputs_may_depend_on_each_other(backend, create_graph):
    """A state carried from call to call, and one weight in two places: each path counts once."""
    w, x = torch.linspace(-1, 1, 9, dtype=F64).view(3, 3).requires_grad_(), torch.linspace(0, 1, 12, dtype=F64)
    (h, x), by_hand = (torch.zeros(2, 3, dtype=F64), x.view(2, 2, 3)), torch.zeros(2, 3, dtype=F64)
    total = expected = torch.zeros((), dtype=F64)
    for t in range(2):
        _, (h,) = ops.elman(x[t : t + 1], (h,), Weights(w, w), backend=backend)
        by_hand = torch.tanh(x[t] @ w.T + by_hand @ w.T)
        total, expected = total + h.square().sum(), expected + by_hand.square().sum()
    (dw,), (exact,) = (torch.autograd.grad(loss, w, create_graph=create_graph) for loss in (total, expected))
    torch.testing.assert_close(dw, exact, rtol=0, atol=1e-12)
    if create_graph:
        (ddw,), (exact,) = (torch.autograd.grad(d.square().sum(), w) for d in (dw, exact))
        torch.testing.assert_close(ddw, exact, rtol=0, atol=1e-12)


def test_checkpoint_recomputes_native():
    trial = laws.make(Case(LSTM()))
    whole = laws.outcome(trial, lambda trial: trial.run("native"))
    checkpoint = torch.utils.checkpoint.checkpoint
    again = laws.outcome(trial, lambda trial: checkpoint(trial.run, "native", use_reentrant=False))
    laws.assert_same(again, whole, 0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own forward-mode rules
def test_other_derivatives_run_in_eager():
    (cell, x, state, weights, *_), dy, _ = laws.make(Case(GRU()))

    def f(x):
        return ops.gru(x, state, weights)[0]

    _, tangent = torch.func.jvp(f, (x,), (torch.ones_like(x),))
    gradient = torch.func.grad(lambda x: (f(x) * dy).sum())(x)
    assert ops.which(cell, x, weights) == "native"
    x = x.detach().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(f(x), x, dy)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close((tangent * dy).sum(), gradient.sum(), rtol=0, atol=1e-12)


def test_no_size_is_zero():
    with pytest.raises(ValueError, match=r"must have no dimension of 0; got I=0, H=2, R=2"):
        ops.elman(torch.zeros(3, 1, 0), None, Weights(torch.zeros(2, 0), torch.zeros(2, 2)))


@pytest.mark.parametrize("tokens", [False, True])
def test_empty_batch_has_no_gradient(tokens):
    p = laws.make(Case(LSTM()), ("tokens",) if tokens else ()).problem
    w = [v if v is None else v.requires_grad_() for v in p.weights]
    y, _ = ops.lstm(p.x[:, :0], None, Weights(*w), backend="native")
    for gradient in torch.autograd.grad(y.sum(), [v for v in w if v is not None]):
        assert not gradient.any()


def test_the_operator_refuses_what_would_crash(monkeypatch):
    operator, calls = native._operator, []
    monkeypatch.setattr(native, "_operator", lambda *arguments: calls.append(arguments) or operator(*arguments))
    monkeypatch.setattr(native, "_traced", lambda inputs: True)
    trial = laws.make(Case(LSTM()))
    trial.run("native")
    *inputs, kind, activation, output_activation, reverse, _ = calls[0]
    options = (kind, activation, output_activation, reverse)
    with pytest.raises(TypeError, match=r"state must be a tuple of tensors \(h, c,\)"):
        operator(*inputs[:2], None, *inputs[3:], *options, False)
    with pytest.raises(TypeError, match=r"x must be torch\.float64 .* got torch\.float32"):
        operator(inputs[0].float(), *inputs[1:], *options, False)
    x = inputs[0].detach().requires_grad_()
    y, *_ = operator(x, *inputs[1:], *options, False)
    with pytest.raises(ValueError, match="must have run with save=True"):
        y.sum().backward()


@pytest.mark.parametrize("case", [Case(LSTM(), True, True), Case(GRU()), Case(Jordan())], ids=str)
def test_the_operators_believe_no_shape(case, monkeypatch):
    """Each of their arrays in turn: too short in each dimension, one dimension more, of another dtype, or absent."""
    operators = {"_operator": native._operator, "_backward_operator": native._backward_operator}
    calls = {name: [] for name in operators}
    for name, operator in operators.items():
        seen = calls[name]
        monkeypatch.setattr(native, name, lambda *a, seen=seen, operator=operator: seen.append(a) or operator(*a))
    monkeypatch.setattr(native, "_traced", lambda inputs: True)
    trial = laws.make(case, OPTIONS[-1], (9, 4, 3, 5))
    laws.outcome(trial, lambda trial: trial.run("native"))
    names = {"_operator": native.Call._fields, "_backward_operator": (*native.Call._fields, *native.Above._fields)}
    optional = {"dy", "dh_n", "dc_n", "b_ih", "b_hh", "b_hr", "peephole", "mask", "lengths"}
    for operator, (arguments, *_) in calls.items():
        for k, (name, value) in enumerate(zip(names[operator], arguments, strict=True)):
            if not isinstance(value, torch.Tensor) or value.numel() == 0:
                continue
            wrong = [value.narrow(d, 0, size - 1) for d, size in enumerate(value.shape) if (name, d) != ("x", 0)]
            wrong += [value.half() if value.is_floating_point() else value.float(), value[None]]
            for other in wrong:
                with torch.no_grad(), pytest.raises((ValueError, TypeError)):
                    operators[operator](*arguments[:k], other, *arguments[k + 1 :])
            if name in optional:
                continue
            with torch.no_grad(), pytest.raises((ValueError, TypeError, RuntimeError)):
                operators[operator](*arguments[:k], None, *arguments[k + 1 :])


# Law 3.

KERNELS = [name for name in ops.BACKENDS if name != "reference"]


@pytest.mark.parametrize(("case", "option", "backend", "dtypes"), table([()], backends=KERNELS))
def test_error_at_every_size(case, option, backend, dtypes):
    for size in SIZES:
        trials = [laws.make(case, option, size, seed) for seed in range(laws.DRAWS)]
        for dtype in dtypes:
            if trials[0].to(dtype).possible(backend):
                laws.law_error(trials, backend, dtype)


@pytest.mark.parametrize("inputs", [500, 501])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_where_one_product_becomes_two(case, inputs):
    trials = [laws.make(case, (), (3, 9, inputs, 12), seed) for seed in range(laws.DRAWS)]
    for dtype in (F64, F32):
        laws.law_error(trials, "native", dtype)


@pytest.mark.parametrize(("case", "option", "backend", "dtypes"), table(OPTIONS[1:], backends=KERNELS))
def test_error_with_every_option(case, option, backend, dtypes):
    turn = CASES.index(case) + OPTIONS.index(option)
    for seed, dtype in enumerate(dtypes, turn):
        size = SIZES[1 + seed % 7]
        laws.law_error([laws.make(case, option, size, seed + draw) for draw in range(laws.DRAWS)], backend, dtype)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("case", CASES, ids=str)
def test_threads_change_no_bit(case, instruction_set):
    """Where rows are left over from full tiles, few, many, and in one product with x or not."""
    best = _native.instruction_set()
    _native.use(instruction_set)
    try:
        sizes = [(12, 33, 9, 48), (12, 20, 3, 40), (10, 5, 60, 70), (10, 4, 30, 60), (30, 3, 50, 64), (5, 16, 600, 40)]
        options = [*zip(OPTIONS, itertools.cycle(sizes), strict=False), *[((), size) for size in sizes]]
        for dtype, (option, size) in itertools.product((F32, F64), [*options, (("tokens",), (40, 1, 5, 150))]):
            trial = laws.make(case, option, size).to(dtype)
            alone = laws.outcome(trial, lambda trial: trial.run("native"))
            for threads in (2, 3, 5):
                torch.set_num_threads(threads)
                together = laws.outcome(trial, lambda trial: trial.run("native"))
                laws.assert_same(together, alone, 0)
    finally:
        torch.set_num_threads(1)
        _native.use(best)


def address(size):
    """Memory, and where it is."""
    memory = _native.memory(size)
    return memory, torch.frombuffer(memory, dtype=torch.uint8).data_ptr()


def test_memory_of_a_dead_array_is_that_of_the_next_one():
    size = 5 * _native.LARGE
    first, place = address(size)
    other, elsewhere = address(size)
    assert len(first) == size and place != elsewhere and place % 64 == 0
    del first
    assert address(size)[1] == place
    assert address(size - 1)[1] == place, "almost the same size"
    assert address(2 * size)[1] not in (place, elsewhere)
    small = [address(100) for _ in range(3)]
    assert len({place for _, place in small}) == 3
    del other


@pytest.mark.parametrize("case", CASES, ids=str)
def test_used_memory_changes_nothing(case):
    """With the memory of arrays that died full of NaN, and without touching those that live."""
    size = (40, 16, 5, 150)
    torch.use_deterministic_algorithms(False)  # under which `torch.empty` is asked for every array
    try:
        for option in ((), ("lengths",), ("tokens",), OPTIONS[-1]):
            p, q = (laws.make(case, option, size, seed).to(F32) for seed in (0, 1))
            alive = laws.outcome(p, lambda p: p.run("native"))
            before = {name: v.clone() for name, v in alive.items()}
            rooms = [torch.frombuffer(_native.memory(n << 17), dtype=F32) for n in range(2, 17) for _ in range(4)]
            for room in rooms:
                room.fill_(torch.nan)
            del rooms, room
            laws.assert_same(
                laws.outcome(q, lambda q: q.run("native")), laws.outcome(q, lambda q: q.run("eager")), 1e-4
            )
            assert all(torch.equal(alive[name], v) for name, v in before.items())
    finally:
        torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
def test_every_instruction_set(instruction_set, dtype):
    best = _native.instruction_set()
    _native.use(instruction_set)
    try:
        for case, option, size in itertools.product(CASES, [(), OPTIONS[-1]], [(2, 3, 3, 2), (9, 17, 17, 33)]):
            laws.law_error([laws.make(case, option, size, draw) for draw in range(laws.DRAWS)], "native", dtype)
    finally:
        _native.use(best)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_returns_the_dtype_it_was_given(case):
    laws.law_error([laws.make(case)], "reference", F32)


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("backend", ["native", "torch"])
@given(data=st.data())
def test_error_of_anything(backend, dtype, data):
    case, option = data.draw(st.sampled_from(CASES)), data.draw(st.sampled_from(OPTIONS))
    size = tuple(data.draw(st.integers(1, most)) for most in (40, 20, 20, 70))
    trials = [laws.make(case, option, size, seed) for seed in range(laws.DRAWS)]
    if trials[0].to(dtype).possible(backend):
        laws.law_error(trials, backend, dtype)


# Law 4.

CUT = [(), ("no state",), ("tokens",), ("mask",), ("reverse",), ("reset", "start", "mask"), ("reset", "reverse")]


@pytest.mark.parametrize(("case", "option", "backend", "dtypes"), double_and_single(CUT))
@settings(max_examples=2)
@given(cuts=st.sets(st.integers(1, 8), min_size=1, max_size=4))
def test_any_cut_equals_the_whole(case, option, backend, dtypes, cuts):
    for dtype in dtypes:
        laws.law_cut(laws.make(case, option, (9, 3, 2, 5), seed=len(cuts)).to(dtype), backend, sorted(cuts))


# Law 5. The padding is NaN.


@pytest.mark.parametrize(("case", "option", "backend", "dtypes"), double_and_single(options_with("lengths", "reset")))
def test_padding_and_resets_equal_each_sequence_alone(case, option, backend, dtypes):
    for seed, dtype in enumerate(dtypes):
        laws.law_alone(laws.make(case, option, (6, 4, 3, 5), seed).to(dtype), backend)


@pytest.mark.parametrize("backend", ["reference", "eager", "native"])
def test_padding_keeps_what_the_input_had(backend):
    """A full-length batch with lengths T is the batch without lengths."""
    trial = laws.make(CASES[-1])
    if trial.possible(backend):
        whole = trial.change(lengths=torch.tensor([7, 7, 7]))
        for actual, expected in zip(whole.run(backend), trial.run(backend), strict=True):
            torch.testing.assert_close(actual, expected)


# Law 7.


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_gradient_of_a_linear_cell_decays_as_its_spectral_radius(backend, dtype, radius):
    if laws.make(CASES[1]).to(dtype).possible(backend):
        laws.law_gradient_decays(backend, dtype, radius)


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_known_answers(backend):
    one, w = torch.ones(1, 1), Weights(torch.ones(1, 1), torch.ones(1, 1))
    if laws.make(CASES[1]).to(F32).possible(backend):
        y, _ = ops.elman(torch.ones(9, 1, 1), None, w, nonlinearity="relu", backend=backend)
        assert y.flatten().tolist() == list(range(1, 10))  # it counts
    if laws.make(Case(GRU())).to(F32).possible(backend):
        keep = Weights(torch.zeros(3, 1), torch.zeros(3, 1), torch.tensor([0.0, 100.0, 5.0]), torch.zeros(3))
        y, _ = ops.gru(torch.ones(9, 1, 1), (0.25 * one,), keep, backend=backend)
        torch.testing.assert_close(y, torch.full_like(y, 0.25))  # z = 1


# Law 9.


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_no_option_is_ignored(case, backend):
    for option in [(), *options_with("lengths", "reset", "mask", "reverse")]:
        trial = laws.make(case, option, (7, 3, 2, 5), seed=1)
        if trial.possible(backend):
            _nothing_is_ignored(trial, backend)


def _nothing_is_ignored(trial, backend):
    """The result changes without any one of the options, the state, or any one of the weights."""
    p = trial.problem
    finite = p.x.nan_to_num(1.0) if p.x.is_floating_point() else p.x.clamp(min=0)
    absent = {name: False if name == "reverse" else None for name in trial.options()}
    others = [trial.change(**{"x": finite, name: nothing}) for name, nothing in absent.items()]
    others.append(trial.change(state=None, start=None))
    for name, w in p.weights._asdict().items():
        if w is not None:
            others.append(trial.change(weights=p.weights._replace(**{name: torch.zeros_like(w)})))
    for other in others:
        laws.law_option_matters(trial.run(backend), other.run(backend))


@pytest.mark.parametrize("backend", ops.BACKENDS)
def test_no_choice_of_cell_is_ignored(backend):
    for alike in (
        [Elman("tanh"), Elman("relu"), Elman("sigmoid")],
        [Jordan(φ, ψ) for φ in ("tanh", "relu", "sigmoid") for ψ in ("tanh", "relu", "sigmoid", "identity")],
        [GRU(), GRU(reset_after=False)],
    ):
        trial = laws.make(Case(alike[0]), seed=2)
        same = [trial.change(cell=cell) for cell in alike]
        results = [q.run(backend) for q in same if q.possible(backend)]
        for a, b in itertools.combinations(results, 2):
            laws.law_option_matters(a, b)


# What run() takes and refuses.


def test_named_ops_are_their_cells():
    for function, cell, option in (
        (ops.elman, Elman("relu"), {"nonlinearity": "relu"}),
        (ops.jordan, Jordan("relu", "sigmoid"), {"nonlinearity": "relu", "output_nonlinearity": "sigmoid"}),
        (ops.gru, GRU(False), {"reset_after": False}),
        (ops.lstm, LSTM(False), {"forget_gate": False}),
    ):
        trial = laws.make(Case(cell), OPTIONS[-1])
        _, x, h, weights, *_ = trial.problem
        y, state = function(x, h, weights, **option, **trial.options(), backend="eager")
        for a, b in zip((y, *state), trial.run("eager"), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_which_backend_runs_is_what_auto_runs():
    trial = laws.make(Case(LSTM()))
    cell, x, _, weights, *_ = trial.problem
    assert ops.which(cell, x, weights) == next(name for name in ops.PREFERRED if trial.possible(name))
    torch.testing.assert_close(trial.run("auto"), trial.run(ops.which(cell, x, weights)), rtol=0, atol=0)
    _, x, _, weights, *_ = trial.to(torch.bfloat16).problem
    assert ops.which(cell, x, weights) == "torch"
    assert ops.which(cell, x, weights, mask=x.new_ones(3, 5)) == "eager"
    with pytest.raises(ValueError, match="x must have shape"):
        ops.which(cell, x[0], weights)


def test_empty_batch():
    trial = laws.make(Case(LSTM()), size=(4, 0, 3, 5))
    for backend in ops.BACKENDS:
        if trial.possible(backend):
            assert [v.shape for v in trial.run(backend)] == [(4, 0, 5), (0, 5), (0, 5)]


def refusals():
    x, h = torch.zeros(50, 32, 3), torch.zeros(32, 4)
    w = Weights(torch.zeros(4, 3), torch.zeros(4, 4), torch.zeros(4), torch.zeros(4))
    good = {"cell": Elman(), "x": x, "state": (h,), "weights": w}
    lstm = {"cell": LSTM(), "state": None, "weights": Weights(torch.zeros(16, 3), torch.zeros(16, 4))}

    def but(**change):
        return {"weights": w._replace(**change)}

    shapes = "x must have shape (T, B, I), or (T, B) if int64 tokens, with T ≥ 1; got "
    lengths = "lengths must be integers in 0..T=50, one per sequence (B=32); got "
    state = "state must be a tuple of tensors (h,); got "
    reset = "reset must be bool of shape (T, B) = (50, 32) on cpu; got "
    wide = lstm | {"weights": lstm["weights"]._replace(w_hh=torch.zeros(16, 3))}
    short = lstm | {"weights": lstm["weights"]._replace(peephole=torch.zeros(2, 4))}
    masked = {"backend": "torch", "mask": torch.ones(32, 4)}
    for change, error, message in [
        ({"x": x[0]}, ValueError, shapes + "float32 of shape (32, 3)"),
        ({"x": x[:0]}, ValueError, shapes + "float32 of shape (0, 32, 3)"),
        ({"x": x[..., 0].int()}, ValueError, shapes + "int32 of shape (50, 32)"),
        ({"x": x[..., :2]}, ValueError, "x must have shape (T, B, I) = (50, 32, 3); got (50, 32, 2)"),
        ({"x": x.double()}, TypeError, "x must be torch.float32 on cpu, as w_hh is; got torch.float64 on cpu"),
        ({"x": x.to("meta")}, TypeError, "x must be torch.float32 on cpu, as w_hh is; got torch.float32 on meta"),
        ({"x": torch.full((50, 32), 3)}, ValueError, "x must have tokens in 0..2, as w_ih has I=3 columns; got 3"),
        ({"state": h}, TypeError, state + "float32 of shape (32, 4)"),
        ({"state": (h, h)}, TypeError, state + "tuple"),
        ({"state": (h[:31],)}, ValueError, "state's h must have shape (B, R) = (32, 4); got (31, 4)"),
        ({"state": (h.half(),)}, TypeError, "state's h must be torch.float32 on cpu, as w_hh is; got torch.float16"),
        ({"start": (h,)}, ValueError, "start's h must have shape (R) = (4,); got (32, 4)"),
        (but(w_hh=torch.zeros(4, 5)), ValueError, "w_hh must have shape (G·H, H) = (4, 4); got (4, 5)"),
        (
            but(w_hh=torch.zeros(4)),
            ValueError,
            "w_hh must be floats of shape (G·H, R) with G=1; got float32 of shape (4,)",
        ),
        (but(w_ih=torch.zeros(5, 3)), ValueError, "w_ih must have shape (G·H, I) = (4, 3); got (5, 3)"),
        (but(b_ih=torch.zeros(3)), ValueError, "b_ih must have shape (G·H) = (4,); got (3,)"),
        (
            but(b_hh=torch.zeros(4).double()),
            TypeError,
            "b_hh must be torch.float32 on cpu, as w_hh is; got torch.float64",
        ),
        (but(w_hr=h), ValueError, "w_hr must be None, as Elman(nonlinearity='tanh') has none; got float32"),
        (but(b_hr=h), ValueError, "b_hr must be None, as Elman(nonlinearity='tanh') has none; got float32"),
        (but(peephole=h), ValueError, "peephole must be None, as Elman(nonlinearity='tanh') has none; got float32"),
        ({"cell": Jordan()}, ValueError, "w_hr must be given, (R, H) = (4, 4), for Jordan"),
        ({"cell": GRU()}, ValueError, "w_hh must be floats of shape (G·H, R) with G=3; got float32 of shape (4, 4)"),
        (short, ValueError, "peephole must have shape (G-1, H) = (3, 4); got (2, 4)"),
        (wide, ValueError, "w_hh must have shape (G·H, H) = (16, 4); got (16, 3)"),
        ({"lengths": torch.ones(31).long()}, ValueError, lengths + "shape (31,)"),
        ({"lengths": torch.ones(32)}, TypeError, lengths + "float32 of shape (32,)"),
        ({"lengths": [50.0] * 32}, TypeError, lengths + "list"),
        ({"lengths": [50] * 31}, ValueError, lengths + "shape (31,)"),
        ({"lengths": torch.arange(-1, 31)}, ValueError, lengths + "values from -1 to 30"),
        ({"lengths": torch.full((32,), 51)}, ValueError, lengths + "values from 51 to 51"),
        ({"reset": torch.zeros(50, 31).bool()}, ValueError, reset + "shape (50, 31) on cpu"),
        ({"reset": torch.zeros(50, 32)}, TypeError, reset + "float32 of shape (50, 32)"),
        ({"mask": torch.ones(32, 3)}, ValueError, "mask must have shape (B, R) = (32, 4); got (32, 3)"),
        ({"mask": torch.ones(32, 4).requires_grad_()}, ValueError, "mask must be a constant"),
        ({"backend": "cuda"}, ValueError, "backend must be one of auto, reference, eager, native, torch; got 'cuda'"),
        (masked, ValueError, "backend='torch' cannot run this: torch's kernels have no mask"),
    ]:
        yield pytest.param(good | change, error, message, id=message)


@pytest.mark.parametrize(("arguments", "error", "message"), list(refusals()))
def test_bad_arguments_are_refused_in_one_sentence(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}.*$"):
        ops.run(**arguments)


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("option", [(), OPTIONS[-1], ("tokens", "lengths")], ids="+".join)
def test_compiles_without_a_graph_break(backend, option):
    trial = laws.make(Case(LSTM()), option, (3, 2, 2, 3))

    def function(x, state, weights, options):
        return ops.run(LSTM(), x, state, weights, backend=backend, **options)

    arguments = (*trial.problem[1:4], trial.options())
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arguments), function(*arguments))


@pytest.mark.parametrize("option", [(), OPTIONS[-1], ("tokens", "lengths")], ids="+".join)
def test_gradients_are_compiled_without_a_graph_break(option):
    trial = laws.make(Case(LSTM()), option, (3, 2, 2, 3))
    p = trial.problem

    def gradients(run):
        w_hh = p.weights.w_hh.detach().clone().requires_grad_()
        y, (h, c) = run(p.x, p.state, p.weights._replace(w_hh=w_hh), trial.options())
        return torch.autograd.grad((y.nan_to_num().sum() + h.sum() * 2 + c.sum()), w_hh)[0]

    def function(x, state, weights, options):
        return ops.run(LSTM(), x, state, weights, **options)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(compiled), gradients(function))
