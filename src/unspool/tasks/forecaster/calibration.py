"""Intervals that are calibrated by what they missed: conformalised quantiles. No PyTorch."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...errors import UnspoolError
from .distributions import Family
from .outlook import Outlook

_ENOUGH = 50  # windows for a margin of each step; of fewer all steps share one


class Calibration(NamedTuple):
    """Windows that were held out: y, base and scale, float64 (W, H, O), and what the network told, (W, H, O, size)."""

    y: np.ndarray
    base: np.ndarray
    scale: np.ndarray
    s: np.ndarray

    @classmethod
    def none(cls, H: int, O: int, family: Family) -> "Calibration":
        """That of no windows."""
        nothing = np.zeros((0, H, O))
        return cls(nothing, nothing, nothing, np.zeros((0, H, O, family.size)))

    @classmethod
    def of(cls, outlook: Outlook, y: np.ndarray, most: int) -> "Calibration":
        """That of the windows of which nothing is missing, but no more than `most` numbers, evenly chosen."""
        there = np.flatnonzero(np.isfinite(y).all((1, 2)))
        count = min(len(there), max(most // max(outlook.s[0].size, 1), 1)) if len(there) else 0
        at = there[np.linspace(0, len(there) - 1, count).astype(np.int64)] if count else there
        return cls(y[at], outlook.base[at], outlook.scale[at], outlook.s[at])

    def margin(self, family: Family, percent: float, H: int) -> np.ndarray:
        """By how much intervals of so many percent are to be widened, in units of the scale, (H, O).

        These are conformalised quantiles (Romano, Patterson & Candès 2019).

            E = max(low - y, y - high) / scale        of each window that was held out
            margin = the ⌈(W + 1) · percent / 100⌉-th smallest of the W numbers E

        Each step has its own where there are 50 windows, and else all steps share one.
        """
        W, T, O = self.y.shape
        if not W:
            raise UnspoolError("conformal needs a whole horizon that was held out; the series were too short")
        outlook = Outlook(family, self.s, self.base, self.scale)
        low, high = outlook.interval(percent)
        missed = np.maximum(low - self.y, self.y - high) / self.scale
        missed = missed if W >= _ENOUGH else np.broadcast_to(missed.reshape(W * T, 1, O), (W * T, T, O))
        n = len(missed)
        found = np.sort(missed, 0)[min(math.ceil((n + 1) * percent / 100), n) - 1]
        return found[np.minimum(np.arange(H), T - 1)]

    def saved(self) -> Mapping[str, np.ndarray]:
        return self._asdict()
