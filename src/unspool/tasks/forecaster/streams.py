"""Series that come a step at a time, and what is next in each. No PyTorch."""

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import DataError, UnspoolError
from ...stream import Loaded, Stream, Streams, from_bytes, to_bytes
from .history import Memories
from .outlook import Outlook
from .windows import Reader

if TYPE_CHECKING:
    from .saved import Setup

_ROWS = 2**13  # paths that are drawn side by side
_BLOCK = 2**15  # steps of a series that are read at a time


class Memory(NamedTuple):
    """What is remembered of n series.

    ids: what names each.
    arrays: by name, each (n, ...): `number`, the step that comes next on the clock; `static`, and `past` of the last
        step; what `Memories` keeps, with `history.` before its name; and the network's states, with `state.`.
    """

    ids: list[Any]
    arrays: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "Memory":
        return Memory([self.ids[k] for k in rows.tolist()], {name: a[rows] for name, a in self.arrays.items()})


def memory_of(setup: "Setup", network: Loaded, ids: Sequence[Any], static: np.ndarray, number: np.ndarray) -> Memory:
    """That of series of which nothing has come."""
    n, inputs = len(ids), setup.inputs
    states = Streams(network, 1).state(0)
    history = Memories(inputs.lags, n, inputs.targets).arrays
    arrays = {"number": number, "static": static, "past": np.full((n, len(inputs.past)), np.nan)}
    arrays |= {f"history.{name}": array for name, array in history.items()}
    arrays |= {f"state.{name}": np.repeat(array[None], n, 0) for name, array in states.items()}
    return Memory(list(ids), arrays)


def memory_after(setup: "Setup", network: Loaded, reader: Reader) -> Memory:
    """That of whole series, at their ends."""
    series = reader.series
    lengths = series.y.lengths
    memory = memory_of(setup, network, series.ids, series.static, series.start + lengths)
    past = reader.past.memories()
    memory.arrays.update({f"history.{name}": array for name, array in past.arrays.items()})
    for i, T in enumerate(lengths.tolist()):
        if T:
            memory.arrays["past"][i] = series.past[i][-1]
        stream = Stream(network)
        for _ in outputs_of(reader, stream, i, 0, T):
            pass
        for name, array in stream.state.items():
            memory.arrays[f"state.{name}"][i] = array
    return memory


def outputs_of(reader: Reader, stream: Stream, i: int, begin: int, end: int) -> "list[np.ndarray]":
    """The network's outputs at steps of series i, read as they come, some at a time."""
    found = []
    for at in range(begin, end, _BLOCK):
        steps = np.arange(at, min(at + _BLOCK, end))
        found.append(stream.run(reader.read(np.array(i), steps, steps)[0]))
    return found


class ForecastStreams:
    """n series that come a step at a time, side by side.

        streams.update(y, known=…)          the next step of each
        streams.forecast(known=…)           the medians of what is next
        streams.quantiles(levels, known=…)
        streams.sample(n, known=…)

    Each takes the same time however long the series are, and each series has the bits that it has alone. What a network
    is told of a series to come, `known`, must be given if it was trained with such covariates.

    Args:
        setup, network: of a `ForecastModel`.
        memory: what came before.
    """

    def __init__(self, setup: "Setup", network: Loaded, memory: Memory):
        self.setup, self.network, self.ids = setup, network, list(memory.ids)
        self.arrays = {name: np.array(array) for name, array in memory.arrays.items() if not name.startswith("state.")}
        self.history = Memories(setup.inputs.lags, len(self.ids), setup.inputs.targets)
        self.history.arrays = {n.partition(".")[2]: a for n, a in self.arrays.items() if n.startswith("history.")}
        self.sessions = Streams(network, max(len(self.ids), 1))
        names = [name for name in memory.arrays if name.startswith("state.")]
        for k in range(len(self.ids)):
            self.sessions.set_state(k, {name.partition(".")[2]: memory.arrays[name][k] for name in names})

    def __len__(self) -> int:
        return len(self.ids)

    def update(
        self,
        y: np.ndarray,
        known: np.ndarray | None = None,
        past: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> "ForecastStreams":
        """Take the next step of each series, or of some.

        Args:
            y: the values, (n,) or (n, O), NaN where missing.
            known, past: the covariates of this step, (n, K) and (n, P), NaN where missing.
            rows: the series, (n,) integers, all different; None: all of them.
        """
        rows = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        inputs = self.setup.inputs
        y = _rows("y", y, len(rows), inputs.targets)
        known = _rows("known", known, len(rows), len(inputs.known))
        past = _rows("past", past, len(rows), len(inputs.past))
        x, base, _ = self._read(rows, known, self.arrays["past"][rows], 0)
        self.sessions.step(x, rows)
        self.history.add(rows, y, base)
        self.arrays["past"][rows] = past
        self.arrays["number"][rows] += 1
        return self

    def outlook(self, known: Any = None, horizon: int | None = None) -> Outlook:
        """The distributions of the steps that come next, (n, H, O); `known`: (n, H, K)."""
        H, n, inputs = horizon or self.setup.horizon, len(self), self.setup.inputs
        known = steps_known(known, n, H, len(inputs.known))
        rows, ahead = np.arange(n), np.arange(H)[:, None]
        past = np.where((ahead == 0)[..., None], self.arrays["past"], np.nan)
        x, base, scale = self._read(rows, known.transpose(1, 0, 2), past, ahead)
        states = [self.sessions.state(k) for k in range(n)]
        s = self.sessions.run(x) if n else np.zeros((H, 0, inputs.targets * self.setup.family.size))
        for k, state in enumerate(states):
            self.sessions.set_state(k, state)
        s, base, scale = (np.ascontiguousarray(np.swapaxes(v, 0, 1)) for v in (s, base, scale))
        return Outlook.of(self.setup.family, s, base, scale)

    def forecast(self, known: Any = None, horizon: int | None = None) -> np.ndarray:
        """The medians of the next steps, (n, H), or (n, H, O)."""
        return self._flat(self.outlook(known, horizon).point())

    def quantiles(self, levels: Sequence[float], known: Any = None, horizon: int | None = None) -> np.ndarray:
        """The quantiles of the next steps, (n, levels, H), or (n, levels, H, O)."""
        outlook = self.outlook(known, horizon)
        return self._flat(np.stack([outlook.quantile(level) for level in levels], 1))

    def sample(self, n: int = 100, known: Any = None, horizon: int | None = None, random_state: int = 0) -> np.ndarray:
        """n paths of the next steps of each, (series, n, H), or (series, n, H, O): see `ForecastModel.sample`."""
        return self._flat(self.paths(n, self.outlook(known, horizon), known, random_state))

    def paths(self, n: int, outlook: Outlook, known: Any, random_state: int) -> np.ndarray:
        """The paths of `sample`, (series, n, H, O), of distributions that are known."""
        if not self.setup.family.spread:
            raise UnspoolError("sample needs a distribution; output='point' has none")
        H = outlook.base.shape[1]
        known = steps_known(known, len(self), H, len(self.setup.inputs.known))
        return np.stack(
            [self._paths_of(k, n, outlook.take(np.array([k])), known[k], random_state) for k in range(len(self))]
        )

    def _paths_of(self, k: int, n: int, outlook: Outlook, known: np.ndarray, random_state: int) -> np.ndarray:
        """The paths of series k, (n, H, O).

        Each is drawn step by step, as the network reads its own draws; then the draws of each step are put into the
        places of draws of the distribution that is told of it, by rank.
        """
        random = np.random.default_rng([random_state, zlib.crc32(str(self.ids[k]).encode())])
        mine = ForecastStreams(self.setup, self.network, self.memory(np.full(n, k)))
        drawn = np.zeros((n, *outlook.base.shape[1:]))
        for t in range(len(known)):
            drawn[:, t] = mine._next(np.repeat(known[t : t + 1], n, 0), random)
        ranks = drawn.argsort(0, kind="stable").argsort(0, kind="stable")
        each = tuple(np.repeat(parameter, n, 0) for parameter in outlook.parameters)
        wanted = np.sort(self.setup.family.sample(each, random), 0)
        return np.take_along_axis(wanted, ranks, 0)

    def _next(self, known: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A draw of the next step of each series, which is taken, (n, O)."""
        rows = np.arange(len(self))
        x, base, scale = self._read(rows, known, self.arrays["past"], 0)
        y = Outlook.of(self.setup.family, self.sessions.step(x), base, scale).sample(random)
        self.history.add(rows, y, base)
        self.arrays["past"][:] = np.nan
        self.arrays["number"] += 1
        return y

    def memory(self, rows: np.ndarray | None = None) -> Memory:
        """What is remembered of each series, or of some."""
        rows = np.arange(len(self)) if rows is None else rows
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        states = {k: self.sessions.state(k) for k in set(rows.tolist())}
        for name in self.network.fields:
            arrays[f"state.{name}"] = np.stack([states[k][name] for k in rows.tolist()])
        return Memory([self.ids[k] for k in rows.tolist()], arrays)

    def _read(
        self, rows: np.ndarray, known: np.ndarray, past: np.ndarray, ahead: np.ndarray | int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the network reads of steps to come, and what its outputs are measured against."""
        setup, history = self.setup, self.history.known(rows, ahead)
        shape = history.scale.shape[:-1]
        calendar = setup.inputs.turns(setup.clock, self.arrays["number"][rows] + np.asarray(ahead))
        static = np.broadcast_to(self.arrays["static"][rows], (*shape, setup.inputs.static))
        x = setup.inputs.read(history, known, past, static, calendar)
        return np.ascontiguousarray(x), history.bases[0], history.scale

    def _flat(self, values: np.ndarray) -> np.ndarray:
        return values[..., 0] if self.setup.inputs.targets == 1 else values


class ForecastStream:
    """One series that comes a step at a time; see `ForecastStreams`.

        stream.update(y, known=…).forecast(known=…)

    What is known, or past, is a mapping from the names of the columns to values, or a table of them, where the network
    was trained on tables; or the numbers that the network reads. A stream is for one thread.
    """

    def __init__(self, streams: ForecastStreams):
        self.streams = streams

    def update(self, y: Any, known: Any = None, past: Any = None) -> "ForecastStream":
        """Take the next step: a number, or O, NaN where missing; and the covariates of the step."""
        told = self._coded("known", known), self._coded("past", past)
        self.streams.update(np.asarray(y, np.float64).reshape(1, -1), *told)
        return self

    def forecast(self, known: Any = None, horizon: int | None = None) -> np.ndarray:
        """The medians of the next steps, (H,), or (H, O); `known`: of the H steps."""
        return self.streams.forecast(self._ahead(known), horizon)[0]

    def quantiles(self, levels: Sequence[float], known: Any = None, horizon: int | None = None) -> np.ndarray:
        """The quantiles of the next steps, (levels, H), or (levels, H, O)."""
        return self.streams.quantiles(levels, self._ahead(known), horizon)[0]

    def sample(self, n: int = 100, known: Any = None, horizon: int | None = None, random_state: int = 0) -> np.ndarray:
        """n paths of the next steps, (n, H), or (n, H, O)."""
        return self.streams.sample(n, self._ahead(known), horizon, random_state)[0]

    def _ahead(self, known: Any) -> np.ndarray | None:
        found = self._coded("known", known)
        return None if found is None else found[None]

    def _coded(self, role: str, values: Any) -> np.ndarray | None:
        """Covariates as the network reads them, float64 (rows, K)."""
        layout = self.streams.setup.layout
        if values is None or layout is None or isinstance(values, list | tuple | np.ndarray):
            return None if values is None else np.atleast_2d(np.asarray(values, np.float64))
        if isinstance(values, Mapping):
            values = {name: np.atleast_1d(np.asarray(v, dtype=object)).tolist() for name, v in values.items()}
        return layout.coded(role, values)

    def to_bytes(self) -> bytes:
        """What is remembered, so that another process can go on: a hot start."""
        return to_bytes(self.streams.network, self.streams.memory().arrays)

    def from_bytes(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave.

        Raises:
            UnspoolError: it is damaged, or of another network.
        """
        now, arrays = self.streams.memory(), from_bytes(self.streams.network, data)
        given = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if given != {name: (array.shape, array.dtype) for name, array in now.arrays.items()}:
            raise UnspoolError("data must be a state of this network; got arrays of other names or shapes")
        self.streams = ForecastStreams(self.streams.setup, self.streams.network, Memory(now.ids, arrays))


def steps_known(known: Any, n: int, H: int, K: int) -> np.ndarray:
    """What is known of the steps to come, float64 (n, H, K); raise DataError if it is missing."""
    if not K and known is not None and np.size(known):
        raise DataError("known must be left out, as the network reads nothing of the future")
    if not K:
        return np.zeros((n, H, 0))
    if known is None:
        raise DataError(
            f"known must be given, {K} numbers for each of the {H} steps to come, as the network reads them"
        )
    found = np.asarray(known, np.float64)
    if found.shape != (n, H, K):
        raise DataError(f"known must have the shape {(n, H, K)}, series, steps and covariates; got {found.shape}")
    return found


def _rows(name: str, values: Any, n: int, width: int) -> np.ndarray:
    """Values of a step, float64 (n, width); raise DataError unless they are that. Those of width 0 may be None."""
    if values is None:
        if width and name == "known":
            raise DataError(f"known must be given, {width} numbers for each series, as the network reads them")
        return np.full((n, width), np.nan)
    found = np.asarray(values, np.float64)
    found = found[:, None] if found.ndim == 1 and width == 1 else found
    if found.shape != (n, width):
        raise DataError(f"{name} must have the shape {(n, width)}; got {np.shape(values)}")
    if np.isinf(found).any():
        raise DataError(f"{name} must have finite numbers, NaN where missing; got infinity")
    return found
