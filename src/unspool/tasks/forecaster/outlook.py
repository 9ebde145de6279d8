"""The distributions of steps to come."""

from typing import NamedTuple

import numpy as np

from .distributions import Family, Parameters


class Outlook(NamedTuple):
    """The distributions of some steps, of any shape (...,), of O targets.

    family: of the distributions.
    s: the network's outputs, float64 (..., O, size).
    base, scale: what they are measured against, float64 (..., O).
    """

    family: Family
    s: np.ndarray
    base: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, family: Family, s: np.ndarray, base: np.ndarray, scale: np.ndarray) -> "Outlook":
        """That of the network's outputs as they are, float32 (..., O · size)."""
        return cls(family, s.astype(np.float64).reshape(*base.shape, family.size), base, scale)

    @property
    def parameters(self) -> Parameters:
        """Those of the family, in the units of the series, each (..., O)."""
        return self.family.parameters(self.s, self.base, self.scale)

    def point(self) -> np.ndarray:
        """The medians, (..., O)."""
        return self.family.median(self.parameters)

    def quantile(self, level: float) -> np.ndarray:
        """The values that are not surpassed with a probability of `level`, (..., O)."""
        return self.family.quantile(self.parameters, level)

    def interval(self, percent: float) -> tuple[np.ndarray, np.ndarray]:
        """The quantiles between which a value lies with a probability of so many percent."""
        return self.quantile((100 - percent) / 200), self.quantile((100 + percent) / 200)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """log p(y), (..., O)."""
        return self.family.log_density(self.parameters, y)

    def sample(self, random: np.random.Generator) -> np.ndarray:
        """A draw of each, (..., O)."""
        return self.family.sample(self.parameters, random)

    def take(self, at: np.ndarray) -> "Outlook":
        """Those at some places of the first axis."""
        return self._replace(s=self.s[at], base=self.base[at], scale=self.scale[at])
