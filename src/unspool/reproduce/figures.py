"""What the rows share."""

from typing import TypeVar

from ..errors import UnspoolError
from ..tasks.estimator import Estimator

Figures = dict[str, float]
Fitted = TypeVar("Fitted", bound=Estimator)


def whole(model: Fitted) -> Fitted:
    """The same estimator; raise UnspoolError if its training was interrupted, as its figures would be of less."""
    if model.stopped_ == "interrupted":
        raise UnspoolError("interrupted: there is no figure of a network that was not trained to the end")
    return model
