"""Four training pairs from "hello", for a network of 3 hidden units (Karpathy 2015, "The unreasonable effectiveness").

    h -> e,  e -> l,  l -> l,  l -> o

The letters are 1-of-4 inputs. The two pairs from "l" differ only in what came before, so a network without memory
cannot learn both.
"""

import torch

from unspool import nn

LETTERS = "helo"


def encode(text: str) -> torch.Tensor:
    """The tokens of a text, (T,), which the layers take as 1-of-k inputs."""
    return torch.tensor([LETTERS.index(letter) for letter in text])


def main() -> None:
    torch.manual_seed(0)
    rnn = nn.Elman(input_size=len(LETTERS), hidden_size=3)
    head = torch.nn.Linear(3, len(LETTERS))
    optimiser = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.05)
    x, target = encode("hell"), encode("ello")
    for _ in range(300):
        y, _ = rnn(x)
        loss = torch.nn.functional.cross_entropy(head(y), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"loss {loss.item():.4f} nats per letter")
    assert loss.item() < 0.05

    text, state = "h", None
    while len(text) < 5:  # the network's output is its next input
        y, state = rnn.step(encode(text)[-1], state)
        text += LETTERS[head(y).argmax()]
    print(f"from 'h' it writes {text!r}")
    assert text == "hello"


if __name__ == "__main__":
    main()
