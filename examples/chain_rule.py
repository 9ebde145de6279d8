"""A feed-forward network of 2 inputs, 3 hidden units and 1 output, trained by the chain rule on squared error.

    h = σ(x W1')
    ŷ = σ(h W2')
    L = ½ Σ (ŷ - y)²

From the hours of sleep and of study it predicts the mark in a test (Welch 2014, "Neural networks demystified"). Every
derivative is written out, and at each step the loss must be that of the network which autograd trains.
"""

import numpy as np
import torch

from unspool import nn

HOURS = np.array([[3, 5], [5, 1], [10, 2]]) / [10, 5]  # sleep and study, each divided by its largest value
MARKS = np.array([[75], [82], [93]]) / 100
RATE, STEPS = 10.0, 2000


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def loss_and_gradients(W1: np.ndarray, W2: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    h = sigmoid(HOURS @ W1.T)
    y = sigmoid(h @ W2.T)
    error = y - MARKS
    delta2 = error * y * (1 - y)  # dL/d(h W2')
    delta1 = delta2 @ W2 * h * (1 - h)  # dL/d(x W1')
    return 0.5 * (error**2).sum(), delta1.T @ HOURS, delta2.T @ h


def main() -> None:
    torch.manual_seed(0)
    mlp = nn.MLP([2, 3, 1], "sigmoid", "sigmoid", bias=False, dtype=torch.float64)
    optimiser = torch.optim.SGD(mlp.parameters(), RATE)
    W1, W2 = (parameter.detach().numpy().copy() for parameter in mlp.parameters())
    x, target = torch.tensor(HOURS), torch.tensor(MARKS)
    for step in range(STEPS):
        by_hand, dW1, dW2 = loss_and_gradients(W1, W2)
        W1, W2 = W1 - RATE * dW1, W2 - RATE * dW2
        loss = 0.5 * (mlp(x) - target).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert abs(loss.item() - by_hand) < 1e-12
        if step % 500 == 0:
            print(f"step {step:4}  loss {by_hand:.6f}")
    marks = 100 * mlp(x).detach().numpy().ravel()
    print(f"marks {marks.round(1)}, in truth {100 * MARKS.ravel()}")
    assert np.abs(marks - 100 * MARKS.ravel()).max() < 1


if __name__ == "__main__":
    main()
