"""A sequence of 100 steps of 32 features through 64 tanh units, by a loop of five lines and by ours.

    h[t] = tanh(W x[t] + U h[t-1] + b)       W (64, 32), U (64, 64), b (64,)

The names are those of Chollet's "Deep learning with Python" (2017), where U is the recurrent weight.
"""

import numpy as np
import torch

from unspool import ops
from unspool.cells import Weights

STEPS, FEATURES, UNITS = 100, 32, 64


def loop(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    h, outputs = np.zeros(UNITS), []
    for x_t in x:
        h = np.tanh(W @ x_t + U @ h + b)
        outputs.append(h)
    return np.stack(outputs)


def main() -> None:
    random = np.random.default_rng(0)
    x = random.random((STEPS, FEATURES))
    W, U, b = random.random((UNITS, FEATURES)), random.random((UNITS, UNITS)), random.random(UNITS)
    W, U = (w / np.sqrt(w.size) for w in (W, U))  # so that tanh does not saturate
    expected = loop(x, W, U, b)
    y, (h,) = ops.elman(torch.tensor(x)[:, None], None, Weights(*map(torch.tensor, (W, U, b))))
    print(f"input {x.shape}, output {tuple(y[:, 0].shape)}, last state {tuple(h[0].shape)}")
    print(f"largest difference from the loop {np.abs(y[:, 0].numpy() - expected).max():.1e}")
    np.testing.assert_allclose(y[:, 0].numpy(), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(h[0].numpy(), y[-1, 0].numpy())


if __name__ == "__main__":
    main()
