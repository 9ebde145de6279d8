"""Films of drifting digits, made from scikit-learn's images."""

import numpy as np

from ...arguments import integer, one_of

SIZE, FRAMES = 16, 20
# The direction of each name, rows down and columns to the right.
DIRECTIONS = {
    "north": (-1, 0),
    "north-east": (-1, 1),
    "east": (0, 1),
    "south-east": (1, 1),
    "south": (1, 0),
    "south-west": (1, -1),
    "west": (0, -1),
    "north-west": (-1, -1),
}
PARTS = {"train": slice(360, None), "validation": slice(180, 360), "test": slice(180)}


def moving_digits(n: int, random_state: int = 0, *, part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Films of 20 frames in which a digit of 8 × 8 pixels drifts, one pixel a frame, over 16 × 16.

    What leaves at one side comes in at the opposite one, so that a single frame tells nothing of the direction. Digit,
    direction, start and the image are drawn uniformly. No image of one part is in another.

    Args:
        n: the films.
        random_state: the seed of what is drawn.
        part: which images are used: train (1,437), validation (180) or test (180).
    Returns:
        float32 (n, 20, 16, 16), from 0 to 1; and (n,) texts, digit and direction, such as `3 north-east`: 80 classes.
    """
    from sklearn.datasets import load_digits

    integer("n", n, 1)
    one_of("part", part, tuple(PARTS))
    images, digits = load_digits(return_X_y=True)
    mine = np.random.default_rng(0).permutation(len(images))[PARTS[part]]  # the parts are the same for every seed
    draw = np.random.default_rng(random_state)
    chosen = mine[draw.integers(len(mine), size=n)]
    ways = draw.integers(len(DIRECTIONS), size=n)
    steps = np.array(list(DIRECTIONS.values()))[ways]
    at = draw.integers(SIZE, size=(n, 1, 2)) + np.arange(FRAMES)[:, None] * steps[:, None]  # the corner, (n, T, 2)
    rows, columns = ((at[..., i, None] + np.arange(8)) % SIZE for i in range(2))
    films = np.zeros((n, FRAMES, SIZE, SIZE), np.float32)
    film, frame = np.arange(n)[:, None, None, None], np.arange(FRAMES)[:, None, None]
    drawn = images[chosen].reshape(n, 1, 8, 8).astype(np.float32) / 16
    films[film, frame, rows[..., None], columns[..., None, :]] = drawn
    names = list(DIRECTIONS)
    return films, np.array([f"{digits[i]} {names[way]}" for i, way in zip(chosen, ways, strict=True)])
