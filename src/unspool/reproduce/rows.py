"""The table of published figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import classes, series, tags
from .figures import Figures


@dataclass(frozen=True)
class Row:
    """A published figure.

    figure: what it is, with its unit.
    published: the figures of others, and whose they are.
    anchor: what a model without memory, or none, reaches.
    goal: what ours must reach.
    seconds: what one seed takes on two cores, about.
    train: trains with a seed, and returns figures by name, the one that is published first.
    seeds: how many to run, as chance matters.
    least: whether a lower figure is better.
    above: the name of the figure, of those that `train` returns, that is to be surpassed instead of `goal`.
    """

    figure: str
    published: str
    anchor: str
    goal: float
    seconds: int
    train: Callable[[int], Figures]
    seeds: int = 3
    least: bool = False
    above: str | None = None

    def time(self, seeds: int | None = None) -> str:
        """What it takes, in words."""
        seconds = self.seconds * (seeds or self.seeds)
        return f"about {seconds} seconds" if seconds < 90 else f"about {round(seconds / 60)} minutes"

    def reached(self, ours: Figures) -> bool:
        """Whether the mean figures are good enough."""
        figure = next(iter(ours.values()))
        if self.above is not None:
            return figure > ours[self.above]
        return figure <= self.goal if self.least else figure >= self.goal

    def wanted(self) -> str:
        """What is good enough, in words."""
        if self.above is not None:
            return f"above {self.above}"
        return f"at {'most' if self.least else 'least'} {self.goal:g}"


ROWS = {
    "basic-motions": Row(
        "right of 40, %",
        "100 nearest neighbour with independent time warping; 97.5 dependent (Bagnall et al. 2018)",
        "67.6 nearest neighbour without warping",
        100,
        4,
        classes.motions,
    ),
    "japanese-vowels": Row(
        "right of 370, %",
        "94.1 (Kudo et al. 1999); 96.2 hidden Markov model; 95–98 UEA archive",
        "logistic regression on means and the like, below",
        95,
        12,
        classes.vowels,
    ),
    "promoters": Row(
        "errors of 106, leaving one out",
        "4 KBANN, 8 backpropagation (Towell et al. 1990)",
        "13 nearest neighbour, 53 chance",
        8,
        270,
        classes.promoters,
        seeds=1,
        least=True,
    ),
    "splice": Row(
        "errors in ten folds, %",
        "about 6 KBANN and backpropagation, on 1,000 examples (Towell et al. 1991)",
        "48 commonest class",
        7,
        80,
        classes.splice,
        seeds=1,
        least=True,
    ),
    "pendigits": Row(
        "right of 3,498, %",
        "97.7 nearest neighbour, 97.8 the three nearest (Alpaydin and Alimoglu 1998)",
        "logistic regression on means and the like, below",
        97,
        25,
        classes.pendigits,
    ),
    "names": Row(
        "right of the names held out, %",
        "none with names kept apart",
        "bag of letters, below",
        0,
        40,
        classes.names,
        above="bag of letters",
    ),
    "rt-polarity": Row(
        "right in ten folds, %",
        "76.1 CNN without word vectors (Kim 2014)",
        "bag of words, below",
        0,
        240,
        classes.polarity,
        seeds=1,
        above="bag of words",
    ),
    "moving-digits": Row(
        "right of 1,000, digit and direction, %",
        "none",
        "1.3 chance",
        95,
        340,
        classes.films,
    ),
    "spoken-digits": Row(
        "right of 250, %",
        "96–99 with six speakers, one of which is absent here",
        "logistic regression on means and the like, below",
        96,
        45,
        classes.spoken,
    ),
    "upos-partut": Row(
        "parts of speech right, %",
        "94.3 UDPipe 1.2",
        "commonest tag of each word, below",
        94,
        80,
        tags.partut,
    ),
    "upos-ewt": Row(
        "parts of speech right, %",
        "94.4 UDPipe 1.2, 95.48 bidirectional LSTM",
        "commonest tag of each word, below",
        94.4,
        1200,
        tags.ewt,
        seeds=1,
    ),
    "wnut17": Row(
        "F1 of new names, %",
        "41.86, surprise 40.24, the best of the shared task (Aguilar et al. 2017)",
        "commonest tag of each word, below",
        0,
        400,
        tags.emerging,
        above="commonest tag",
    ),
    "m4-hourly": Row(
        "OWA of 414 series",
        ".440 ES-RNN, .410 the best of the M4 competition; 1.036 its RNN benchmark",
        ".628 seasonal naive, 1 Naive2",
        0.6,
        30,
        series.m4,
        least=True,
    ),
    **{
        f"etth1-{horizon}": Row(
            f"squared error of {horizon} hours, standardised",
            f"{deep} DeepAR, {lstm} LSTMa, {informer} Informer (Zhou et al. 2021), {s4} S4 (Gu et al. 2022)",
            "the last value, below",
            deep,
            20,
            partial(series.ett, horizon),
            least=True,
        )
        for horizon, deep, lstm, informer, s4 in (
            (24, 0.107, 0.114, 0.098, 0.061),
            (48, 0.162, 0.193, 0.158, 0.079),
            (168, 0.239, 0.236, 0.183, 0.104),
        )
    },
    "metro-traffic": Row(
        "absolute error, as a part of that of the same hour a week before",
        "none with this split",
        "1 seasonal naive",
        2 / 3,
        30,
        series.traffic,
        least=True,
    ),
    "sunspots": Row(
        "absolute error of 12 months, as a part of that of the best baseline",
        "none with this split",
        "1 the best of naive, seasonal naive, drift and Naive2",
        1,
        5,
        series.sunspots,
        least=True,
    ),
    "temperatures": Row(
        "absolute error of 7 days, as a part of that of the best baseline",
        "none with this split",
        "1 the best of naive, seasonal naive, drift and Naive2",
        1,
        5,
        series.temperatures,
        least=True,
    ),
    "stocks": Row(
        "absolute error of 5 days of Apple's price, as a part of that of the best baseline",
        "none: prices are nearly a random walk, of which the last value is the best forecast",
        "1 the last value",
        1,
        2,
        series.apple,
        least=True,
    ),
}
