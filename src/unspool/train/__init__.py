"""Training through time: the one loop for every task, and the records that it keeps."""

from typing import TYPE_CHECKING

from ..lazy import attributes

if TYPE_CHECKING:
    from .loop import fit as fit
    from .plan import Outcome as Outcome
    from .plan import Plan as Plan
    from .plan import Progress as Progress

__getattr__, __dir__ = attributes(__name__, {"fit": "loop", "Outcome": "plan", "Plan": "plan", "Progress": "plan"})
