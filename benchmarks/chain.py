"""How fast is the conditional random field? Ours, two loops of PyTorch's operations, and pytorch-crf, in one run.

Training is the negative log-likelihood of random tags, summed, and its gradients by the emissions and all potentials;
decoding is the most probable path. All sequences have T steps, which spares the others their masks. The loops are

    log-sum-exp      α = logsumexp(α[:, :, None] + A, 1) + e[t]               of (B, K, K) numbers at each step
    product          α = log(exp(α - max α) exp(A)) + max α + e[t]            the trick of our kernel, which is not safe

The sides must agree before they are timed. pytorch-crf takes part where it is installed.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import machine, race, table
from torch import Tensor
from torch.testing import assert_close

from unspool import _native, nn

SHAPES = [(40, 32, 20), (40, 32, 5), (40, 32, 9), (40, 32, 50), (10, 32, 20), (200, 32, 20)]  # T, B, K
Shape = tuple[int, int, int]
Call = Callable[[], Any]


def log_sum_exp(e: Tensor, A: Tensor, start: Tensor, end: Tensor) -> Tensor:
    steps = e.unbind()
    α = start + steps[0]
    for now in steps[1:]:
        α = torch.logsumexp(α[:, :, None] + A, 1) + now
    return torch.logsumexp(α + end, 1)


def product(e: Tensor, A: Tensor, start: Tensor, end: Tensor) -> Tensor:
    steps, factors = e.unbind(), A.exp()
    α = start + steps[0]
    for now in steps[1:]:
        most = α.detach().amax(1, keepdim=True)
        α = ((α - most).exp() @ factors).log() + (most + now)
    return torch.logsumexp(α + end, 1)


def score(tags: Tensor, e: Tensor, A: Tensor, start: Tensor, end: Tensor) -> Tensor:
    steps = e.gather(2, tags[:, :, None]).sum((0, 2))
    return steps + A[tags[:-1], tags[1:]].sum(0) + start[tags[0]] + end[tags[-1]]


def viterbi(e: Tensor, A: Tensor, start: Tensor, end: Tensor) -> Tensor:
    best, before = start + e[0], []
    for now in e[1:]:
        most = (best[:, :, None] + A).max(1)
        best = most.values + now
        before.append(most.indices)
    path = [(best + end).argmax(1)]
    for indices in reversed(before):
        path.append(indices.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1])


def sides(shape: Shape) -> tuple[dict[str, Call], dict[str, Call]]:
    """What is timed, for training and for decoding, by the name of the side."""
    T, B, K = shape
    ours = nn.ConditionalRandomField(K)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)
    e, tags = torch.randn(T, B, K, requires_grad=True), torch.randint(K, (T, B))
    potentials = (ours.transitions, ours.start_transitions, ours.end_transitions)
    inputs: list[Any] = [e, *potentials]

    def by(loop: Callable[..., Tensor]) -> Call:
        def loss() -> Tensor:
            return (loop(*inputs) - score(tags, *inputs)).sum()

        return lambda: torch.autograd.grad(loss(), inputs)

    training = {"ours": lambda: torch.autograd.grad(ours(e, tags, reduction="sum"), inputs)}
    training |= {"log-sum-exp": by(log_sum_exp), "product": by(product)}
    decoding = {"ours": lambda: ours.decode(e), "log-sum-exp": torch.no_grad()(lambda: viterbi(*inputs))}
    try:
        theirs = importlib.import_module("torchcrf").CRF(K)
    except ImportError:
        return training, decoding
    theirs.load_state_dict(ours.state_dict())
    parameters = [e, theirs.transitions, theirs.start_transitions, theirs.end_transitions]
    training["pytorch-crf"] = lambda: torch.autograd.grad(-theirs(e, tags), parameters)
    decoding["pytorch-crf"] = torch.no_grad()(lambda: torch.tensor(theirs.decode(e)).T)
    return training, decoding


def agree(calls: dict[str, Call]) -> None:
    """Raise AssertionError unless the largest difference in each tensor is at most 1e-4 of its largest value."""
    for call in calls.values():
        for a, b in zip(call(), calls["ours"](), strict=True):
            assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))


def compare(shape: Shape, seconds: float) -> list[dict]:
    records = []
    for what, calls in zip(("training", "decoding"), sides(shape), strict=True):
        agree(calls)
        records.append({"shape": shape, "what": what} | race(calls, seconds))
        print(".", end="", file=sys.stderr, flush=True)
    return records


def comparison(records: list[dict], markdown: bool) -> str:
    names = ["log-sum-exp", "product", "pytorch-crf"]
    head = ["T, B, K", "", "ours ms", *(f"{name} ms" for name in names), *(f"× {name}" for name in names)]
    rows = []
    for r in records:
        times = [f"{1e3 * r[name]:.2f}" if name in r else "" for name in names]
        ratios = [f"{r[name] / r['ours']:.1f}" if name in r else "" for name in names]
        rows.append([" ".join(map(str, r["shape"])), r["what"], f"{1e3 * r['ours']:.3f}", *times, *ratios])
    return table(head, rows, markdown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", type=int, choices=range(len(SHAPES)), default=range(len(SHAPES)))
    parser.add_argument("--seconds", type=float, default=1.0, help="the time of the calls, for each side of each entry")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    records = [record for k in args.shapes for record in compare(SHAPES[k], args.seconds)]
    print(file=sys.stderr)
    print(f"{machine()}; kernels {_native.instruction_set()}\n", comparison(records, args.markdown), sep="\n")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"machine": machine(), "kernels": _native.instruction_set(), "records": records}
        args.json.write_text(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
