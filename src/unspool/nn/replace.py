"""Put the layers of unspool into a model that was written for those of torch.nn."""

import warnings

import torch

from .layers import GRU, LSTM, Elman
from .recurrent import Recurrent

# Our class for each class of torch.nn, and the arguments that it has beyond those that all layers share.
OURS = {torch.nn.RNN: (Elman, ["nonlinearity"]), torch.nn.GRU: (GRU, []), torch.nn.LSTM: (LSTM, ["proj_size"])}


def replace(model: torch.nn.Module) -> torch.nn.Module:
    """Replace each torch.nn.RNN, GRU and LSTM in a model by ours, in place.

    The new layers own the very same Parameters, so that an optimiser stays valid, and the same hooks and training flag.
    A layer that stands in several places of the model is replaced by one layer. A layer of a class that is derived from
    one of the three stays, because its methods can be its own, and so does a cell of torch.nn. A warning names each.

    >>> import torch, unspool
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4, batch_first=True))
    >>> unspool.nn.replace(model)
    Sequential(
      (0): LSTM(3, 4, batch_first=True)
    )

    Returns:
        model; or the new layer if the model itself is one of the three.
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
    """Our layer with the same options, and with everything that torch.nn.Module keeps in `layer`."""
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
    # This is not an argument above because the warning about dropout in a single layer would be repeated.
    ours.dropout = layer.dropout
    ours.__dict__.update({name: vars(layer)[name] for name in vars(torch.nn.Module())})
    return ours
