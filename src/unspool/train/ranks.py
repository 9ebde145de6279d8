"""Several processes that train one network. Lightning Fabric starts them, and what they compute is put together here.

Rank r of R has the columns r, r + R, … of every batch; a rank without columns still takes part in all sums.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from ..arguments import integer, one_of
from ..errors import UnspoolError

Value = TypeVar("Value")

_MEETING = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")


def launch(
    devices: int = 1, nodes: int = 1, precision: str = "32-true", accelerator: str = "auto", **options: Any
) -> Fabric:
    """Start the ranks by running the same command once more for each, unless `torchrun` has started them.

    Args:
        devices: the processes on each machine, one per device; torchrun's own number overrides it.
        nodes: the machines; torchrun's own number overrides it. Without torchrun the command is begun on each machine,
            with MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment. All machines must see the same folders.
        precision: `32-true`, `64-true`, `bf16-mixed` or `16-mixed`.
        accelerator: `cpu`, `cuda`, `mps`, or `auto`, the best that is available.
        options: further options of Fabric.
    Raises:
        UnspoolError: there are not this many devices, or they cannot run in this precision.
    """
    one_of("precision", precision, PRECISIONS)
    integer("devices", devices, 1)
    integer("nodes", nodes, 1)
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif devices > (most := _devices_here(accelerator)):
        raise UnspoolError(
            f"devices must be at most {most}, the processors that this machine has for them; got {devices}"
        )
    several = devices * nodes > 1
    try:
        with warnings.catch_warnings():
            # Fabric would warn and take another precision; here that is an error, below.
            warnings.filterwarnings("ignore", message=".*not supported on CPU")
            fabric = Fabric(
                accelerator=accelerator,
                devices=devices,
                num_nodes=nodes,
                precision=precision,  # pyright: ignore[reportArgumentType]
                strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
                **options,
            )
        environment = getattr(fabric.strategy, "cluster_environment", None)
        if nodes > 1 and isinstance(environment, LightningEnvironment) and not os.environ.keys() >= _MEETING:
            raise ValueError(
                f"give each machine {', '.join(sorted(_MEETING))} in its environment, or start the ranks with torchrun"
            )
        if fabric.strategy.precision.precision != precision:
            raise ValueError(f"{precision} needs another accelerator than {accelerator}")
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise UnspoolError(f"{devices} devices on {nodes} nodes in {precision} cannot be started: {error}") from None
    return fabric


def _devices_here(accelerator: str) -> int:
    """The GPUs of this machine; or the processor's cores, where processes run on these."""
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return torch.cuda.device_count()
    return os.cpu_count() or 1


@contextmanager
def _together() -> Iterator[None]:
    """Processes exchange something; what is wrong with another one is an error of this one, too."""
    try:
        yield
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise
        raise UnspoolError(
            "another process of this run has ended, or cannot be reached: find out why (killed, out of memory?), and "
            "go on from the last checkpoint, if there is one, with --resume or resume=True"
        ) from None


def alone() -> Fabric:
    """A Fabric of this process alone, on its CPU."""
    return Fabric(accelerator="cpu", devices=1)


def same_weights(fabric: Fabric, network: torch.nn.Module) -> None:
    """Give every rank the first one's parameters and buffers."""
    if fabric.world_size > 1:
        with _together():
            for tensor in [*network.parameters(), *network.buffers()]:
                tensor.data.copy_(fabric.broadcast(tensor.data))


def add_up(fabric: Fabric, parameters: Sequence[Tensor], numbers: Sequence[float]) -> list[float]:
    """Sum the gradients over all ranks, in place, and return the sums of the numbers. A missing gradient is zero."""
    if fabric.world_size == 1:
        return list(numbers)
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    for dtype in {p.dtype for p in parameters}:
        gradients = [p.grad for p in parameters if p.dtype == dtype and p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        with _together():
            torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
    total = torch.tensor(numbers, dtype=torch.float64, device=fabric.device)
    with _together():
        torch.distributed.all_reduce(total)
    return total.tolist()


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """The values of all ranks, in a list that every rank receives."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    with _together():
        torch.distributed.all_gather_object(values, value)
    return values


def on_first(fabric: Fabric, work: Callable[[], Value]) -> Value:
    """Do the work on the first rank only; on all ranks, return what it returns, or raise the UnspoolError it raises."""
    value, error = None, None
    if fabric.global_rank == 0:
        try:
            value = work()
        except UnspoolError as refused:
            error = refused
    value, error = gather(fabric, (value, error))[0]
    if error is not None:
        raise error
    return value


def interleave(parts: Sequence[Tensor]) -> Tensor:
    """One tensor from the ranks' parts: along the last axis but one, the part of rank r becomes r, r + R, …"""
    if len(parts) == 1:
        return parts[0]
    columns = sum(part.shape[-2] for part in parts)
    whole = parts[0].new_empty((*parts[0].shape[:-2], columns, parts[0].shape[-1]))
    for rank, part in enumerate(parts):
        whole[..., rank :: len(parts), :] = part
    return whole
