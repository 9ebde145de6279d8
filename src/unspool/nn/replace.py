"""Other people's models with our layers."""

import warnings

import torch

from .layers import GRU, LSTM, Elman
from .recurrent import Recurrent

# Our class for each of torch's, and which arguments it has beyond those that all have.
OURS = {torch.nn.RNN: (Elman, ["nonlinearity"]), torch.nn.GRU: (GRU, []), torch.nn.LSTM: (LSTM, ["proj_size"])}


def replace(model: torch.nn.Module) -> torch.nn.Module:
    """Swap each torch.nn.RNN, GRU and LSTM in a model for ours, in place.

    The new layers own the very same Parameters, so that an optimiser stays valid, and also the hooks and the training
    flag. A layer that stands in several places is one afterwards, too. Objects of classes derived from the three stay
    as they are, with a warning that names them, as their methods may be their own; so do torch.nn's cells.

    >>> import torch, unspool
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4, batch_first=True))
    >>> unspool.nn.replace(model)
    Sequential(
      (0): LSTM(3, 4, batch_first=True)
    )

    Returns:
        model, or the new layer if model is itself one of the three.
    """
    new: dict[torch.nn.Module, Recurrent] = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.RNNCellBase):
            warnings.warn(f"replace leaves {path or 'model'}, a {type(module).__name__}: a cell steps", stacklevel=2)
        if not isinstance(module, torch.nn.RNNBase):
            continue
        if type(module) in OURS:
            new[module] = _ours(module)
        else:
            name = path or "model"
            warnings.warn(f"replace leaves {name} as it is, its class {type(module).__name__} is derived", stacklevel=2)
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child in new:
                setattr(module, name, new[child])
    return new.get(model, model)


def _ours(layer: torch.nn.RNNBase) -> Recurrent:
    """Our layer of the same options, with everything that torch.nn.Module keeps in `layer`."""
    kind, further = OURS[type(layer)]
    ours = kind(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bias=layer.bias,
        batch_first=layer.batch_first,
        bidirectional=layer.bidirectional,
        device="meta",
        **{name: getattr(layer, name) for name in further},
    )
    # Not an argument, as that would repeat the warning about dropout in a single layer.
    ours.dropout = layer.dropout
    ours.__dict__.update({name: vars(layer)[name] for name in vars(torch.nn.Module())})
    return ours
