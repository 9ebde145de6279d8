"""How fast is one step? A saved network called from Python, beside its peers, at batch 1, on one thread, in one run.

Each side makes one time step of one recurrent layer with I = H, whose state is carried from call to call. Our network,
and the exported file that onnxruntime and openvino run, also scale the inputs and have a head of one output. The sides
must agree before they are timed. They take turns in blocks, and the time of the clock itself is subtracted. The limit
of a row is the time to read the weights once, at the bandwidth of the cache that holds them, which is measured here.
"""

import argparse
import json
import os
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino  # pyright: ignore[reportMissingImports]
import torch
from measure import machine, table
from onnxruntime.quantization import QuantType, quantize_dynamic

from unspool import LanguageModel, Training, _native, load
from unspool.network import Network
from unspool.onnx.export import export
from unspool.saved import folder, small
from unspool.tasks.language_model import saved as language_model

CELLS = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
TORCH_CELLS = {"elman": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
SIZES = (32, 64, 128, 256)
KINDS = ("float32", *small.KINDS)
SESSIONS = 1000
Step = Callable[[], Any]


def save(cell: str, H: int, path: Path) -> Network:
    """Save a network with one layer, with float32 and with small weights, and as an ONNX file."""
    config = {
        "front": {"kind": "dense", "size": H},
        "recurrent": {"cell": cell, "hidden_size": H, "num_layers": 1},
        "head": {"kind": "linear", "size": 1},
    }
    net = Network(config).eval()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    folder.write(path / "float32", {"task": "benchmark", "network": config}, weights, {})
    for kind in small.KINDS:
        small.pack(path / "float32", path / kind, kind)
    export(path / "float32", path / "float32.onnx")
    return net


def torch_sides(cell: str, net: Network, x: np.ndarray) -> dict[str, Step]:
    """torch.nn's module over one time step, and its cell."""
    H = len(x)
    module, single = CELLS[cell](H, H), TORCH_CELLS[cell](H, H)
    module.load_state_dict(net.recurrent.state_dict())
    single.load_state_dict({name.removesuffix("_l0"): value for name, value in net.recurrent.state_dict().items()})
    frame, row = torch.from_numpy(x).view(1, 1, H), torch.from_numpy(x).view(1, H)
    states: dict[str, Any] = {"module": None, "cell": None}

    @torch.inference_mode()
    def module_step() -> Any:
        y, states["module"] = module(frame, states["module"])
        return y

    @torch.inference_mode()
    def cell_step() -> Any:
        state = single(row, states["cell"])
        states["cell"] = state
        return state[0] if cell == "lstm" else state

    return {"torch module": module_step, "torch cell": cell_step}


def onnx_side(session: onnxruntime.InferenceSession, x: np.ndarray) -> Step:
    frame, lengths = x.reshape(1, 1, -1), np.ones(1, np.int32)
    names = [i.name for i in session.get_inputs()][2:]
    state: dict[str, Any] = {name: np.zeros((1, 1, len(x)), np.float32) for name in names}

    def step() -> Any:
        y, *last = session.run(None, {"x": frame, "lengths": lengths, **state})
        state.update(zip(names, last, strict=True))
        return y

    return step


def onnx_sides(cell: str, path: Path, x: np.ndarray) -> dict[str, Step]:
    """onnxruntime in float32, and dynamically quantised for the LSTM, the only cell with such a node."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    files = {"onnxruntime": path / "float32.onnx"}
    if cell == "lstm":
        files["onnxruntime int8"] = path / "int8.onnx"
        quantize_dynamic(files["onnxruntime"], files["onnxruntime int8"], weight_type=QuantType.QInt8)
    providers = ["CPUExecutionProvider"]
    return {
        name: onnx_side(onnxruntime.InferenceSession(file, options, providers=providers), x)
        for name, file in files.items()
    }


def openvino_side(path: Path, x: np.ndarray) -> Step:
    core: Any = openvino.Core()
    model = core.read_model(path / "float32.onnx")
    model.reshape({"x": [1, 1, len(x)], "lengths": [1], **{n: [1, 1, len(x)] for n in _states(model)}})
    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    names = _states(model)
    feed: dict[str, Any] = {"x": x.reshape(1, 1, -1), "lengths": np.ones(1, np.int32)}
    feed |= {name: np.zeros((1, 1, len(x)), np.float32) for name in names}

    def step() -> Any:
        results = request.infer(feed)
        for name in names:
            feed[name] = results[f"{name}_next"]
        return results["y"]

    return step


def _states(model: openvino.Model) -> list[str]:
    return [name for port in model.inputs for name in port.names if name in ("h", "c")]


def our_side(path: Path, x: np.ndarray) -> Step:
    step = load(path).step
    return lambda: step(x)


def agree(net: Network, path: Path, sides: dict[str, Step], x: np.ndarray) -> None:
    """Compare three steps of every side with the network's own: the output of the layer, or of the head."""
    assert net.front is not None
    xs = torch.from_numpy(np.repeat(x[None, None], 3, 0))
    with torch.no_grad():
        y, _ = net.recurrent(net.front(xs))
        layer, head = y[-1, 0].numpy(), net.head(y)[-1, 0].numpy()
    for name, step in sides.items():
        out = np.asarray([step() for _ in range(3)][-1]).reshape(-1)
        wanted = head if out.shape == head.shape and "torch" not in name else layer
        tolerance = 0.1 if "int8" in name or "bf16" in name else 1e-4
        np.testing.assert_allclose(out, wanted, rtol=0, atol=tolerance, err_msg=name)


def race(sides: dict[str, Step], seconds: float, block: int = 100) -> dict[str, np.ndarray]:
    """The microseconds of the calls of each side, in turns, minus the time of the clock itself."""
    clock = time.perf_counter_ns
    times: dict[str, list[int]] = {name: [] for name in ("clock", *sides)}
    rounds = {"clock": lambda: None, **sides}
    end = time.perf_counter() + seconds * len(sides)
    while time.perf_counter() < end or len(times["clock"]) < 10 * block:
        for name, call in rounds.items():
            call()
            call()
            for _ in range(block):
                begin = clock()
                call()
                times[name].append(clock() - begin)
    empty = np.median(times.pop("clock"))
    return {name: np.maximum(np.array(taken) - empty, 1) / 1e3 for name, taken in times.items()}


def bytes_of(path: Path) -> int:
    return load(path).network.native.bytes


def steps(cell: str, H: int, seconds: float) -> list[dict]:
    """One record for each side."""
    x = np.random.default_rng(0).standard_normal(H).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        net = save(cell, H, path)
        sides = {kind: our_side(path / kind, x) for kind in KINDS}
        sides |= torch_sides(cell, net, x) | onnx_sides(cell, path, x) | {"openvino": openvino_side(path, x)}
        agree(net, path, sides, x)
        taken = race(sides, seconds)
        sizes = {kind: bytes_of(path / kind) for kind in KINDS}
    records = []
    for side, values in taken.items():
        p50, p99 = (float(v) for v in np.percentile(values, [50, 99]))
        record = {"cell": cell, "H": H, "side": side, "p50": p50, "p99": p99}
        if side in sizes:
            record |= {"bytes": sizes[side], "limit": 1e6 * sizes[side] / _native.read_bandwidth(sizes[side], 0.05)}
        records.append(record)
    print(".", end="", file=sys.stderr, flush=True)
    return records


def sessions(seconds: float) -> dict[str, float]:
    """Microseconds per step and session of an LSTM of 128: alone, with a thousand together, and these on all cores."""
    with tempfile.TemporaryDirectory() as name:
        save("lstm", 128, Path(name))
        stream = load(Path(name) / "float32")
        together, shared = stream.streams(SESSIONS), stream.streams(SESSIONS, os.cpu_count() or 1)
        xs = np.random.default_rng(0).standard_normal((SESSIONS, 128), np.float32)
        x = xs[0].copy()
        sides = {
            "alone": lambda: stream.step(x),
            "together": lambda: together.step(xs),
            "on all cores": lambda: shared.step(xs),
        }
        median = {name: float(np.median(taken)) for name, taken in race(sides, seconds, 10).items()}
    return {name: taken / (1 if name == "alone" else SESSIONS) for name, taken in median.items()}


def starting() -> float:
    """Seconds of one core to import and to load an LSTM of 128 in a new process; the least of five."""
    program = (
        "import time; begin = time.process_time(); import sys, unspool; unspool.load(sys.argv[1]); "
        "print(time.process_time() - begin)"
    )
    with tempfile.TemporaryDirectory() as name:
        save("lstm", 128, Path(name))
        command = [sys.executable, "-c", program, str(Path(name) / "float32")]
        return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5))


def generation(seconds: float) -> dict[str, float]:
    """Characters per second that a character model of two layers of 256 writes."""
    speeds: dict[str, float] = {}
    text = string.printable[:96] * 12
    with tempfile.TemporaryDirectory() as name:
        for cell in ("gru", "lstm"):
            path = Path(name) / cell
            options = {"hidden_size": 256, "num_layers": 2, "epochs": 1, "training": Training(batch_size=4)}
            LanguageModel(cell=cell, **options).fit(text).save(path)
            for kind in KINDS:
                if kind != "float32":
                    small.pack(path, f"{path}-{kind}", kind)
                model = language_model.load(path if kind == "float32" else f"{path}-{kind}")
                model.generate(length=500)
                taken = []
                while sum(taken) < seconds or len(taken) < 5:
                    begin = time.perf_counter()
                    model.generate(length=500, temperature=0.8)
                    taken.append(time.perf_counter() - begin)
                speeds[f"{cell} {kind}"] = 500 / float(np.median(taken))
    return speeds


def step_table(records: list[dict], markdown: bool) -> str:
    head = ["cell, I = H", "side", "p50 µs", "p99 µs", "beside float32", "of its limit"]
    ours = {(r["cell"], r["H"]): r["p50"] for r in records if r["side"] == "float32"}
    rows = [
        [
            f"{r['cell']} {r['H']}",
            r["side"],
            f"{r['p50']:.2f}",
            f"{r['p99']:.2f}",
            f"×{r['p50'] / ours[r['cell'], r['H']]:.2f}",
            f"×{r['p50'] / r['limit']:.2f}" if "limit" in r else "",
        ]
        for r in records
    ]
    return table(head, rows, markdown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seconds", type=float, default=0.5, help="the time of the calls, for each side of each entry")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    records = [r for cell in args.cells for H in args.sizes for r in steps(cell, H, args.seconds)]
    together, speeds = sessions(args.seconds), generation(args.seconds)
    print(file=sys.stderr)
    versions = f"onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__.partition('-')[0]}"
    print(f"{machine()}; {versions}; kernels {_native.instruction_set()}\n")
    print(step_table(records, args.markdown), end="\n\n")
    one, many, shared = together.values()
    print(
        f"LSTM 128, a step of one session: {one:.2f} µs alone, {many:.2f} µs as one of {SESSIONS:,} "
        f"(×{one / many:.1f}), {shared:.2f} µs if these share {os.cpu_count()} cores (×{one / shared:.1f})"
    )
    print(f"import and load: {starting():.3f} s of one core")
    for name, speed in speeds.items():
        print(f"2×256 character model, {name}: {speed:,.0f} characters per second")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"machine": machine(), "steps": records, "sessions": together, "generation": speeds}
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
