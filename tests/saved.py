"""Networks with random weights, saved into folders."""

import json

import numpy as np
import torch

from unspool.network import Network
from unspool.saved import folder

DENSE, ONE_HOT = {"kind": "dense", "size": 5}, {"kind": "one-hot", "size": 9}
EMBEDDING = {"kind": "embedding", "tokens": 9, "size": 4}
LINEAR = {"kind": "linear", "size": 3}

# Every cell with every option, stacked.
RECURRENT = {
    "elman": {"cell": "elman"},
    "elman relu": {"cell": "elman", "nonlinearity": "relu"},
    "elman sigmoid": {"cell": "elman", "nonlinearity": "sigmoid", "bias": False},
    "jordan": {"cell": "jordan"},
    "jordan tanh": {"cell": "jordan", "output_size": 4, "nonlinearity": "sigmoid", "output_nonlinearity": "tanh"},
    "jordan relu": {"cell": "jordan", "output_size": 19, "nonlinearity": "relu", "output_nonlinearity": "relu"},
    "gru": {"cell": "gru"},
    "gru reset before": {"cell": "gru", "reset_after": False},
    "gru no bias": {"cell": "gru", "bias": False, "learn_initial_state": True},
    "lstm": {"cell": "lstm"},
    "lstm projected": {"cell": "lstm", "proj_size": 3, "peephole": True, "learn_initial_state": True},
    "lstm peephole": {"cell": "lstm", "peephole": True, "bias": False},
    "lstm no forget gate": {"cell": "lstm", "forget_gate": False},
    "lstm 1997 peephole": {"cell": "lstm", "forget_gate": False, "peephole": True, "proj_size": 6},
    "tdnn": {"cell": "tdnn", "window": [2, 3], "dilation": [1, 2]},
    "tdnn relu": {"cell": "tdnn", "window": [1, 4], "dilation": 3, "nonlinearity": "relu", "bias": False},
}


def config(front=DENSE, head=LINEAR, **recurrent):
    return {"front": front, "recurrent": {"cell": "lstm", "hidden_size": 7, "num_layers": 2} | recurrent, "head": head}


def network(config, seed=0):
    """With random peepholes, initial states and scales, too."""
    torch.manual_seed(seed)
    net = Network(config).eval()
    for name, value in net.state_dict().items():
        if "peephole" in name or "initial" in name or name == "front.mean":
            value.uniform_(-0.5, 0.5)
        if name == "front.std":
            value.uniform_(0.5, 2)
    return net


def save(path, net, config):
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    folder.write(path, {"task": "test", "network": config}, weights, {})
    return path


def saved(path, config, seed=0):
    net = network(config, seed)
    return net, save(path, net, config)


def pixels(front):
    return front["height"] * front["width"] * front["channels"]


def inputs(front, *shape, seed=0):
    rng = np.random.default_rng(seed)
    if front["kind"] in ("dense", "image", "sound"):
        size = {"dense": lambda: front["size"], "sound": lambda: 1}.get(front["kind"], lambda: pixels(front))()
        return rng.standard_normal((*shape, size)).astype(np.float32)
    return rng.integers(front.get("tokens", front["size"]), size=shape)


def edit_config(path, **changes):
    changed = json.loads((path / "config.json").read_bytes()) | changes
    (path / "config.json").write_text(json.dumps(changed), encoding="utf-8")
