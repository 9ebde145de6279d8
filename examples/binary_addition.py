"""A recurrent network learns to add two 8-bit numbers, bit by bit (trask 2015, "Anyone can learn to code an LSTM-RNN").

    h[t] = σ(x[t] W_in + h[t-1] W_rec)
    y[t] = σ(h[t] W_out)
    L = ½ Σ (target - y)²

It uses whole sequences of 8 steps, plain gradient descent and no biases. All ten published figures below must be met to
8 digits; one wrong sign, order or truncation would already change the second.

    python examples/binary_addition.py [reference | eager | native]
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unspool import ops
from unspool.cells import Weights

PUBLISHED = """3.45638663 3.63389116 3.91366595 3.72191702 3.5852713
               2.53352328 0.57691441 1.42589952 0.47477457 0.21595037"""
BITS, HIDDEN, RATE = 8, 16, 0.1


def bits(number: int) -> list[float]:
    """The bits of a number, the least significant first."""
    return [float(number >> place & 1) for place in range(BITS)]


def errors(iterations: int, backend: str) -> Iterator[float]:
    """Σ |target - y| of every thousandth addition, before the update."""
    random = np.random.RandomState(0)
    w_in, w_out, w_rec = (
        torch.tensor(2 * random.random_sample(shape) - 1, requires_grad=True)
        for shape in [(2, HIDDEN), (HIDDEN, 1), (HIDDEN, HIDDEN)]
    )
    for iteration in range(iterations):
        a, b = random.randint(128), random.randint(128)
        x = torch.tensor([bits(a), bits(b)], dtype=torch.float64).T.reshape(BITS, 1, 2)
        target = torch.tensor(bits(a + b), dtype=torch.float64)
        y = predict(x, w_in, w_out, w_rec, backend)
        if iteration % 1000 == 0:
            yield (target - y).abs().sum().item()
        descend(0.5 * (target - y).square().sum(), [w_in, w_out, w_rec])


def predict(x: Tensor, w_in: Tensor, w_out: Tensor, w_rec: Tensor, backend: str) -> Tensor:
    h, _ = ops.elman(x, None, Weights(w_in.T, w_rec.T), nonlinearity="sigmoid", backend=backend)
    return torch.sigmoid(h @ w_out).flatten()


def descend(loss: Tensor, parameters: list[Tensor]) -> None:
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= RATE * gradient


def main() -> None:
    backend = sys.argv[1] if len(sys.argv) > 1 else "reference"
    published = [float(figure) for figure in PUBLISHED.split()]
    print(f"backend {backend}: Σ|target - y|\n      ours   published")
    for ours, theirs in zip(errors(10_000, backend), published, strict=True):
        print(f"{ours:10.8f}  {theirs:10.8f}")
        assert round(ours, 8) == theirs, "not the published trace"


if __name__ == "__main__":
    main()
