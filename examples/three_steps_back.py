"""Backpropagation through three time steps with every term written out, beside the results of the kernels.

    h[t] = tanh(U x[t] + W h[t-1])       h[0] = 0
    ŷ[t] = softmax(V h[t])
    L = -Σ log ŷ[t][target[t]]           t = 1, 2, 3

U is the input's weight, W the recurrent one, V the output's.
"""

import numpy as np
import torch
from numpy import outer

from unspool import ops
from unspool.cells import Weights

INPUTS, HIDDEN, OUTPUTS = 4, 5, 3


def softmax(a: np.ndarray) -> np.ndarray:
    return np.exp(a) / np.exp(a).sum()


def by_hand(x: np.ndarray, target: np.ndarray, U: np.ndarray, W: np.ndarray, V: np.ndarray) -> tuple:
    """dL/dW, dL/dU and dL/dV by the chain rule; x is (3, INPUTS)."""
    x1, x2, x3 = x
    h0 = np.zeros(HIDDEN)
    h1 = np.tanh(U @ x1 + W @ h0)
    h2 = np.tanh(U @ x2 + W @ h1)
    h3 = np.tanh(U @ x3 + W @ h2)

    # The error at each output: ŷ - y, with y the target as 1-of-k.
    e1, e2, e3 = (softmax(V @ h) - np.eye(OUTPUTS)[k] for h, k in zip((h1, h2, h3), target, strict=True))

    # The error at each hidden layer, before its tanh: that of its own output, plus what the next step sends back by W.
    d3 = (V.T @ e3) * (1 - h3**2)
    d2 = (V.T @ e2 + W.T @ d3) * (1 - h2**2)
    d1 = (V.T @ e1 + W.T @ d2) * (1 - h1**2)

    dL_dW = outer(d3, h2) + outer(d2, h1) + outer(d1, h0)
    dL_dU = outer(d3, x3) + outer(d2, x2) + outer(d1, x1)
    dL_dV = outer(e3, h3) + outer(e2, h2) + outer(e1, h1)
    return dL_dW, dL_dU, dL_dV


def by_kernels(x: np.ndarray, target: np.ndarray, *weights: np.ndarray, backend: str) -> tuple[torch.Tensor, ...]:
    U, W, V = (torch.tensor(w, requires_grad=True) for w in weights)
    h, _ = ops.elman(torch.tensor(x)[:, None], None, Weights(U, W), backend=backend)
    loss = torch.nn.functional.cross_entropy(h[:, 0] @ V.T, torch.tensor(target), reduction="sum")
    return torch.autograd.grad(loss, [W, U, V])


def main() -> None:
    random = np.random.default_rng(0)
    x, target = random.normal(size=(3, INPUTS)), np.array([2, 0, 1])
    weights = [random.normal(size=shape) for shape in [(HIDDEN, INPUTS), (HIDDEN, HIDDEN), (OUTPUTS, HIDDEN)]]
    written_out = by_hand(x, target, *weights)
    for backend in ("reference", "native"):
        computed = by_kernels(x, target, *weights, backend=backend)
        for name, ours, theirs in zip("WUV", computed, written_out, strict=True):
            error = np.abs(ours.numpy() - theirs).max()
            print(f"{backend:9}  dL/d{name}  largest difference {error:.1e}")
            assert error < 1e-12


if __name__ == "__main__":
    main()
