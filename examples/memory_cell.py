"""A value is written to, kept in, and read from an LSTM's memory cell, whose gates are at 0 or 1.

    c[t] = f c[t-1] + i tanh(g)
    h[t] = o tanh(c[t])

There is one unit. Of its inputs (value, write, keep, read) the last three open the gates i, f, o at 1, and close them
at 0.
"""

import math

import torch

from unspool import ops
from unspool.cells import Weights

OPEN = 1000.0  # σ(±500) is 1 and 0 in float64: exp(-500) is lost beside 1
KEPT = 1000  # time steps


def gates() -> Weights:
    """Weights, in rows i f g o, that make each gate σ(OPEN · (control - ½)); the state h is not fed back."""
    w_ih = torch.zeros(4, 4, dtype=torch.float64)
    i, f, g, o = range(4)
    value, write, keep, read = range(4)
    w_ih[i, write] = w_ih[f, keep] = w_ih[o, read] = OPEN
    w_ih[g, value] = 1
    b_ih = -OPEN / 2 * torch.tensor([1, 1, 0, 1], dtype=torch.float64)
    return Weights(w_ih, torch.zeros(4, 1, dtype=torch.float64), b_ih)


def main() -> None:
    #               value write keep read
    writing = [[0.5, 1.0, 0.0, 0.0]]
    keeping = [[-9.0, 0.0, 1.0, 0.0]] * KEPT  # the value has no effect, as the gate i is closed
    reading = [[0.0, 0.0, 1.0, 1.0]]
    erasing = [[0.0, 0.0, 0.0, 1.0]]
    x = torch.tensor(writing + keeping + reading + erasing, dtype=torch.float64)[:, None].requires_grad_()
    y, (_, c) = ops.lstm(x, None, gates())
    h = y[:, 0, 0]

    memory = math.tanh(0.5)
    read = KEPT + 1
    print(f"written {memory:.15f}, read {KEPT} steps later {math.atanh(h[read].item()):.15f}")
    assert h[:read].abs().max() < 1e-15  # nothing comes out while the gate o is closed
    assert abs(h[read].item() - math.tanh(memory)) < 1e-15
    assert abs(h[-1].item()) < 1e-15  # the gate f was closed: the value is forgotten
    assert abs(c.item()) < 1e-15

    # The error that flows back along the cell neither vanishes nor explodes: it passes two tanh, and nothing else.
    (dx,) = torch.autograd.grad(h[read], x)
    slope = (1 - math.tanh(memory) ** 2) * (1 - memory**2)
    print(f"gradient of what is read by what was written: {dx[0, 0, 0]:.15f}, by the chain rule {slope:.15f}")
    assert abs(dx[0, 0, 0].item() - slope) < 1e-14


if __name__ == "__main__":
    main()
