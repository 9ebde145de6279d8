"""Streams: a saved network run a step at a time, without PyTorch.

    rnn = unspool.load("folder")
    y = rnn.step(x)

A step is one call into the compiled core, which runs the whole network. NumPy is all that is needed beside it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from . import _native
from .arguments import integer
from .errors import FolderError, UnspoolError
from .saved import folder
from .saved.architecture import as_json, parse

State = dict[str, np.ndarray]

_BLOCK = 2**22  # numbers of the sequences that `predict` holds at a time


class Stream(_native.Sessions):
    """A saved network that is run over one sequence; `load` makes it.

        e = front(x);  y, state = recurrent(e, state);  out = head(y)

    With a stride (`unspool.saved.architecture`) a step may have no output.

    x is a token, an integer in 0..K-1, or a contiguous float32 array, (I,), of finite numbers; out is float32, (O,):
    what the head of the network gives (`unspool.saved.architecture`). A call that is refused leaves the state as it
    was.

        step(x)    one time step: out, a new array; None at a step that has no output.
        run(xs)    T of them, int64 (T,) or float32 (T, I): (T, O), or the outputs there are. However a sequence is cut
                   into runs and steps, the results are the same to the last bit. A bidirectional network has only
                   this, for whole sequences.

    A stream is for one thread; `predict` runs many sequences, and `streams` makes more of them, which share the
    weights. A copy (`copy.copy`) shares them, too, and has a state of its own. A pickle holds the configuration, the
    weights and the state, so that a pool of processes can go on with the same bits; it needs no folder. As with every
    pickle, load only what is your own.

    Raises:
        UnspoolError: x is of another shape or dtype, not finite, or no token that the network knows.
    """

    def __init__(self, network: "Loaded"):
        super().__init__(network.native, 1)
        self.network = network

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.network,), self.state

    def __setstate__(self, state: State) -> None:
        self.state = state

    def reset(self) -> None:
        """Begin a new sequence: from zero, or from the initial state that the network has learned."""
        super().reset(0)

    @property
    def state(self) -> State:
        """What the stream remembers, as named float32 arrays; assigning to it sets all of them.

        `h` (L, R), and for an LSTM `c` (L, H); for a TDNN `window_l0` … (steps, features), the oldest first. So are the
        past `samples` of sound and the past inputs of a `convolution`; `phase`, (1,), counts the steps of a stride.
        """
        return _read(self, 0)

    @state.setter
    def state(self, state: Mapping[str, np.ndarray]) -> None:
        _write(self, 0, state)

    def to_bytes(self) -> bytes:
        """The state, so that another process can go on: safetensors, with the SHA-256 of the network's weights."""
        return to_bytes(self.network, self.state)

    def from_bytes(self, data: bytes) -> None:
        """Set the state to one of `to_bytes`.

        Raises:
            UnspoolError: it is damaged, or that of another network.
        """
        self.state = from_bytes(self.network, data)

    def predict(self, sequences: Iterable[np.ndarray], last: bool = False, threads: int = 1) -> Iterator[np.ndarray]:
        """The outputs of many sequences of any lengths, each from its initial state, as `run` of it alone gives them.

        Many sequences share each pass over the weights, without padding, and the results are the same bits whatever
        their order, their number, or the threads. The stream's own state stays as it is.

        Args:
            sequences: int64 tokens, (T,), or float32, (T, I), contiguous, each with a T of its own. Blocks of them are
                read at a time, of some million numbers, so that there may be more than memory has room for.
            last: give only the outputs of the last step of each, whose T is then at least 1.
            threads: that share the sequences of a block.
        Returns:
            out for each sequence, in their order: float32, (T, O), or the outputs there are, or (O,).
        Raises:
            UnspoolError: a sequence is of another shape or dtype, not finite, or has tokens that the network does not
                know; it is named by its number. Those of the blocks before it have been given.
        """
        return self._predict(sequences, last, integer("threads", threads, 1, 1024))

    def _predict(self, sequences: Iterable[np.ndarray], last: bool, threads: int) -> Iterator[np.ndarray]:
        a = self.network.architecture
        step = (1 if a.tokens else a.inputs) + a.outputs + (2 * max(a.features, a.fed) if a.bidirectional else 0)
        first, block, numbers = 0, [], 0
        for xs in sequences:
            block.append(xs)
            numbers += step * (len(xs) if isinstance(xs, np.ndarray) and xs.ndim else 1)
            if numbers >= _BLOCK:
                yield from self.predict_many(block, first, last, threads)
                first, block, numbers = first + len(block), [], 0
        yield from self.predict_many(block, first, last, threads)

    def streams(self, n: int, threads: int = 1) -> "Streams":
        """n new sessions of this network, which are stepped together, on up to so many threads."""
        return Streams(self.network, n, threads)


class Streams(_native.Sessions):
    """n independent sessions of one network, stepped together: one pass over the weights serves many.

    Args:
        network: of a stream.
        n: sessions, numbered 0..n-1.
        threads: that share the sessions of a call, where there is enough to do.

    Each session has the bits of a `Stream` of its own, whichever others are stepped with it, and on any threads.
    """

    def __init__(self, network: "Loaded", n: int, threads: int = 1):
        if network.architecture.bidirectional:
            raise UnspoolError("streams needs a network of one direction; a bidirectional one has run")
        try:
            super().__init__(network.native, integer("n", n, 1, 2**31), integer("threads", threads, 1, 1024))
        except MemoryError:
            raise UnspoolError(f"n must be as many sessions as memory has room for; got {n}") from None
        self.network, self.threads = network, threads

    def __len__(self) -> int:
        return self.count

    def __reduce__(self) -> tuple[Any, ...]:
        states = [self.state(k) for k in range(self.count)]
        together = {name: np.stack([state[name] for state in states]) for name in self.network.fields}
        return type(self), (self.network, self.count, self.threads), together

    def __setstate__(self, together: State) -> None:
        for k in range(self.count):
            self.set_state(k, {name: array[k] for name, array in together.items()})

    def step(self, x: np.ndarray, sessions: np.ndarray | None = None) -> np.ndarray:
        """One time step of some sessions.

        Args:
            x: int64 tokens, (rows,), or float32, (rows, I), contiguous.
            sessions: which ones, int64, (rows,), all different; all of them if None.
        Returns:
            out, float32, (rows, O), NaN for a session whose step has no output.
        """
        return self.step_many(x, sessions)

    def run(self, xs: np.ndarray) -> np.ndarray:
        """T steps of all sessions: int64 (T, n) or float32 (T, n, I) to (T, n, O), or the outputs there are.

        Raises:
            UnspoolError: the network has a stride, and not all sessions are at the same step of it.
        """
        return self.run_many(xs)

    def reset(self, session: int | None = None) -> None:
        """Begin a new sequence in one session, or in all."""
        for k in range(self.count) if session is None else (self._number(session),):
            super().reset(k)

    def _number(self, session: int) -> int:
        return integer("session", session, 0, self.count - 1)

    def state(self, session: int) -> State:
        """What a session remembers, as `Stream.state`."""
        return _read(self, self._number(session))

    def set_state(self, session: int, state: Mapping[str, np.ndarray]) -> None:
        """Set all arrays of a session's state."""
        _write(self, self._number(session), state)

    def to_bytes(self, session: int) -> bytes:
        """A session's state, as `Stream.to_bytes`."""
        return to_bytes(self.network, self.state(session))

    def from_bytes(self, session: int, data: bytes) -> None:
        """Set a session's state to one of `to_bytes`, a stream's or another session's."""
        self.set_state(session, from_bytes(self.network, data))


class Loaded:
    """The weights of a saved network, laid out for the core.

    Args:
        saved: what `folder.read` gave.
        path: of it, for complaints.
        instruction_set: one of `_native.instruction_sets()` instead of the best.
        part: the name of one of the further networks of the folder, `config["parts"]`; without it the main one.

    It never changes, so that copies of streams share it. The weights are kept as they were saved, for pickles.
    """

    def __init__(self, saved: folder.Saved, path: str | Path, instruction_set: str = "", part: str = ""):
        config, weights = folder.part(saved, part)
        # What a pickle holds is this network alone.
        self.made_of = saved._replace(config=config, weights=weights, files={}), str(path), instruction_set
        self.config = saved.config
        try:
            network = config.get("network")
            self.architecture = parse(network)
            self.native = _native.Network(as_json(network), weights, instruction_set)
        except UnspoolError as error:
            raise FolderError(f"{path}: is not a saved network that can be run ({error}); save it again") from None
        if more := sorted(weights.keys() - self.native.names):
            raise FolderError(f"{path}: has weights that its network has not, {more[0]!r:.80}; save it again")
        self.sha256 = saved.sha256
        self.fields: dict[str, tuple[int, ...]] = dict(self.native.fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.made_of

    def __copy__(self) -> "Loaded":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Loaded":
        return self


def load(path: str | Path) -> Stream:
    """A stream of the network that was saved in a folder.

    Raises:
        FolderError: it is not a saved network, a damaged one, or of a newer format.
    """
    return Stream(Loaded(folder.read(path), path))


def _read(sessions: Stream | Streams, session: int) -> State:
    state = {name: np.zeros(shape, np.float32) for name, shape in sessions.network.fields.items()}
    for k, array in enumerate(state.values()):
        sessions.read(session, k, array)
    return state


def _write(sessions: Stream | Streams, session: int, state: Mapping[str, np.ndarray]) -> None:
    """All arrays are checked before the first one is written."""
    fields = sessions.network.fields
    if not isinstance(state, Mapping) or state.keys() != fields.keys():
        raise UnspoolError(f"state must have {', '.join(fields) or 'no arrays'}; got {_names(state)}")
    for name, shape in fields.items():
        array = state[name]
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
            came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
            raise UnspoolError(f"{name} of the state must be a float32 array of shape {shape}; got {came:.80}")
        if not np.isfinite(array).all():
            raise UnspoolError(f"{name} of the state must be finite; got NaN or infinity")
        stride = sessions.network.architecture.stride
        if name == "phase" and not (0 <= array[0] < stride and array[0] == int(array[0])):
            raise UnspoolError(f"phase of the state must be an integer in 0..{stride - 1}; got {array[0]}")
    for k, name in enumerate(fields):
        sessions.write(session, k, np.ascontiguousarray(state[name]))


def _names(state: Any) -> str:
    return ", ".join(map(str, state)) or "none" if isinstance(state, Mapping) else f"{state!r:.80}"


def to_bytes(network: Loaded, state: State) -> bytes:
    """Arrays by name, and which network they belong to."""
    folder.make_room(sum(array.nbytes for array in state.values()))
    return safetensors.save(state, {"network": network.sha256})


def from_bytes(network: Loaded, data: bytes) -> State:
    """The inverse of `to_bytes`; raise UnspoolError unless it is of this network."""
    try:
        state = safetensors.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UnspoolError(f"data must be a state, as to_bytes makes it; it cannot be read ({error})") from None
    if (header.get("__metadata__") or {}).get("network") != network.sha256:
        raise UnspoolError("data must be a state of this network; got that of another, or of other weights")
    return state
