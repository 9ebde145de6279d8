"""The recurrent layers: drop-ins for torch.nn's, and Jordan's.

Their parameters have torch.nn's names, shapes, order and initial values, so that state dicts load both ways and a seed
gives the same weights. `forward` and `step` are those of `Recurrent`; the further keywords of all are in `Options`.
"""

import torch
from typing_extensions import Unpack

from .. import cells
from ..arguments import flag, integer
from ..cells import Nonlinearity, Weights
from ..errors import UnspoolError
from .recurrent import Options, Recurrent, Shared, torch_names


class Elman(Recurrent):
    """Simple recurrent network (Elman 1990); drop-in for `torch.nn.RNN`.

        h = φ(x[t] W_ih' + b_ih + h W_hh' + b_hh);  y[t] = h

    >>> import torch, unspool
    >>> y, h = unspool.nn.Elman(3, 8)(torch.zeros(20, 4, 3))
    >>> y.shape, h.shape
    (torch.Size([20, 4, 8]), torch.Size([1, 4, 8]))

    Args:
        input_size: I, features of the input, or kinds of tokens.
        hidden_size: H.
        num_layers: layers, each of which reads the output of the one before.
        nonlinearity: φ, "tanh", "relu" or "sigmoid".
        bias: whether there are b_ih and b_hh.
        batch_first: x and y are (B, T, ·) instead of (T, B, ·).
        dropout: probability that an element is zeroed between two layers, in training mode.
        bidirectional: a second direction, which starts at the end; y has its features behind the first one's.
        device, dtype: of the parameters.
        options: see `unspool.nn.recurrent.Options`.
    Raises:
        ValueError or TypeError that names the argument, what it must be, and what came.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Nonlinearity = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        shared = Shared(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        super().__init__(cells.Elman(nonlinearity), torch_names(bias), shared, **options)
        self.nonlinearity = nonlinearity


class Jordan(Recurrent):
    """Network that feeds its output back (Jordan 1986); state and output are y.

        h = φ(x[t] W_ih' + y W_yh' + b_h)
        y = ψ(h W_hy' + b_y);  y[t] = y

    Its parameters are `weight_ih_l0` (H, I), `weight_yh_l0` (H, O), `bias_h_l0`, `weight_hy_l0` (O, H) and `bias_y_l0`,
    all from U(-1/√H, 1/√H).

    >>> import torch, unspool
    >>> y, state = unspool.nn.Jordan(3, 8, 2)(torch.zeros(20, 4, 3))
    >>> y.shape, state.shape
    (torch.Size([20, 4, 2]), torch.Size([1, 4, 2]))

    Args:
        output_size: O, the size of y, which is the state.
        output_nonlinearity: ψ, "tanh", "relu", "sigmoid" or "identity".
        The others are `Elman`'s.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 1,
        nonlinearity: Nonlinearity = "tanh",
        output_nonlinearity: Nonlinearity = "identity",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        output_size = integer("output_size", output_size, 1)
        biases = {"b_ih": "bias_h", "b_hr": "bias_y"} if bias else {}
        names = Weights("weight_ih", "weight_yh", w_hr="weight_hy", **biases)
        shared = Shared(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        super().__init__(cells.Jordan(nonlinearity, output_nonlinearity), names, shared, output_size, **options)
        self.output_size = output_size
        self.nonlinearity = nonlinearity
        self.output_nonlinearity = output_nonlinearity


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014); drop-in for `torch.nn.GRU`.

        a, u = x[t] W_ih' + b_ih, h W_hh' + b_hh                  gates r z n
        r, z = σ(a_r + u_r), σ(a_z + u_z)
        n = tanh(a_n + r ∘ u_n)                                   reset after the product, as torch and cuDNN
        n = tanh(a_n + (r ∘ h) W_hn' + b_hn)                      reset before it, as the paper's equation 8
        h = (1 - z) ∘ n + z ∘ h;  y[t] = h

    >>> import torch, unspool
    >>> gru = unspool.nn.GRU(3, 8, num_layers=2, batch_first=True, dropout=0.1)
    >>> y, h = gru(torch.zeros(4, 20, 3), lengths=torch.tensor([20, 7, 1, 12]))
    >>> y.shape, h.shape
    (torch.Size([4, 20, 8]), torch.Size([2, 4, 8]))

    Args:
        reset_after: the first n, else the second.
        The others are `Elman`'s.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        **options: Unpack[Options],
    ) -> None:
        reset_after = flag("reset_after", reset_after)
        shared = Shared(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        super().__init__(cells.GRU(reset_after), torch_names(bias), shared, **options)
        self.reset_after = reset_after


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); drop-in for `torch.nn.LSTM`.

        i, f, g, o = x[t] W_ih' + b_ih + h W_hh' + b_hh
        i, f = σ(i + p_i ∘ c), σ(f + p_f ∘ c)                     f = 1 without forget gate
        c = f ∘ c + i ∘ tanh(g)
        h = σ(o + p_o ∘ c) ∘ tanh(c)                              p = 0 without peepholes
        h = h W_hr'                                               with projection;  y[t] = h

    >>> import torch, unspool
    >>> lstm = unspool.nn.LSTM(3, 8, peephole=True, forget_bias=1.0)
    >>> y, state = lstm(torch.zeros(20, 4, 3))
    >>> y, (h, c) = lstm.step(torch.zeros(4, 3), state)
    >>> y.shape, c.shape
    (torch.Size([4, 8]), torch.Size([1, 4, 8]))

    Args:
        proj_size: R, size of the projected h (Sak et al. 2014), less than H; none if 0.
        peephole: gates see the cell state through `weight_peephole_l0`, (3, H), rows i f o, or without forget gate
            (2, H), rows i o; zero at first (Gers & Schmidhuber 2000).
        forget_gate: False for the cell of 1997, whose gates are i g o.
        forget_bias: at first the forget gate's b_ih is this and its b_hh zero; drawn as the others if None. With 1 the
            cell remembers from the start (Gers, Schmidhuber & Cummins 2000; Jozefowicz et al. 2015).
        The others are `Elman`'s.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        peephole: bool = False,
        forget_gate: bool = True,
        forget_bias: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        peephole, forget_gate = flag("peephole", peephole), flag("forget_gate", forget_gate)
        hidden_size = integer("hidden_size", hidden_size, 1)
        proj_size = integer("proj_size", proj_size, 0)
        if proj_size >= hidden_size:
            raise UnspoolError(f"proj_size must be less than hidden_size={hidden_size}, or 0 for none; got {proj_size}")
        if forget_bias is not None and not (bias and forget_gate):
            raise UnspoolError(f"forget_bias must be None without bias or without forget gate; got {forget_bias}")
        names = torch_names(bias, projected=proj_size > 0, peephole=peephole)
        set_bias = None if forget_bias is None else (1, forget_bias)
        shared = Shared(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        super().__init__(cells.LSTM(forget_gate), names, shared, proj_size or None, set_bias, **options)
        self.proj_size = proj_size
        self.peephole = peephole
        self.forget_gate = forget_gate
        self.forget_bias = forget_bias
