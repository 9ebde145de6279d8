"""The recurrent layers: drop-in replacements for those of torch.nn, and Jordan's network.

Their parameters have the names, shapes, order and initial values of torch.nn's, so that state dicts load both ways and
the same seed gives the same weights. All layers have the `forward` and `step` of `Recurrent` and the keywords of
`Options`.
"""

import torch
from typing_extensions import Unpack

from .. import cells
from ..arguments import flag, integer
from ..cells import Nonlinearity, Weights
from ..errors import UnspoolError
from .recurrent import Options, Recurrent, Shared, torch_names


class Elman(Recurrent):
    """Simple recurrent network (Elman 1990), a drop-in replacement for `torch.nn.RNN`.

        h = φ(x[t] W_ih' + b_ih + h W_hh' + b_hh);  y[t] = h

    >>> import torch, unspool
    >>> y, h = unspool.nn.Elman(3, 8)(torch.zeros(20, 4, 3))
    >>> y.shape, h.shape
    (torch.Size([20, 4, 8]), torch.Size([1, 4, 8]))

    Args:
        input_size: I, the number of features of the input, or of different tokens.
        hidden_size: H, the number of hidden units.
        num_layers: the number of layers, each of which reads the output of the one before.
        nonlinearity: φ, "tanh", "relu" or "sigmoid".
        bias: whether the layers have b_ih and b_hh.
        batch_first: whether x and y are (B, T, ·) instead of (T, B, ·).
        dropout: the probability that an element is zeroed between two layers, in training mode.
        bidirectional: whether each layer has a second direction, which starts at the end of a sequence. In y, its
            features come after those of the first direction.
        device, dtype: those of the parameters.
        options: the keywords of `unspool.nn.recurrent.Options`.
    Raises:
        ValueError or TypeError: an argument is wrong. The message names it, what it must be, and what came.
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
    """The network that feeds its output back (Jordan 1986). Its state and its output are y.

        h = φ(x[t] W_ih' + y W_yh' + b_h)
        y = ψ(h W_hy' + b_y);  y[t] = y

    Its parameters are `weight_ih_l0` (H, I), `weight_yh_l0` (H, O), `bias_h_l0`, `weight_hy_l0` (O, H) and `bias_y_l0`.
    All are drawn from U(-1/√H, 1/√H).

    >>> import torch, unspool
    >>> y, state = unspool.nn.Jordan(3, 8, 2)(torch.zeros(20, 4, 3))
    >>> y.shape, state.shape
    (torch.Size([20, 4, 2]), torch.Size([1, 4, 2]))

    Args:
        output_size: O, the number of features of y, which is the state.
        output_nonlinearity: ψ, "tanh", "relu", "sigmoid" or "identity".
        The other arguments are those of `Elman`.
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
    """Gated recurrent unit (Cho et al. 2014), a drop-in replacement for `torch.nn.GRU`.

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
        reset_after: whether n is the first of the two, else it is the second.
        The other arguments are those of `Elman`.
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
    """Long short-term memory (Hochreiter & Schmidhuber 1997), a drop-in replacement for `torch.nn.LSTM`.

        i, f, g, o = x[t] W_ih' + b_ih + h W_hh' + b_hh
        i, f = σ(i + p_i ∘ c), σ(f + p_f ∘ c)                     f = 1 without a forget gate
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
        proj_size: R, the size of the projected h, which is less than H; 0 for no projection (Sak et al. 2014).
        peephole: whether the gates see the cell state through `weight_peephole_l0`, (3, H) with the rows i f o, or
            without a forget gate (2, H) with the rows i o. It begins at zero (Gers & Schmidhuber 2000).
        forget_gate: whether the cell has one; without it, it is the cell of 1997, whose gates are i g o.
        forget_bias: the value at which b_ih of the forget gate begins, while its b_hh begins at zero. If None, both are
            drawn as all weights are. With 1 the cell remembers from the start (Gers, Schmidhuber & Cummins 2000;
            Jozefowicz et al. 2015).
        The other arguments are those of `Elman`.
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
            raise UnspoolError(f"forget_bias must be None without bias or without a forget gate; got {forget_bias}")
        names = torch_names(bias, projected=proj_size > 0, peephole=peephole)
        set_bias = None if forget_bias is None else (1, forget_bias)
        shared = Shared(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        super().__init__(cells.LSTM(forget_gate), names, shared, proj_size or None, set_bias, **options)
        self.proj_size = proj_size
        self.peephole = peephole
        self.forget_gate = forget_gate
        self.forget_bias = forget_bias
