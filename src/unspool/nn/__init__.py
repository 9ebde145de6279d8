"""The layers: `torch.nn.Module`s that own weights and call `unspool.ops`."""

from .crf import ConditionalRandomField as ConditionalRandomField
from .feedforward import MLP as MLP
from .feedforward import TDNN as TDNN
from .layers import GRU as GRU
from .layers import LSTM as LSTM
from .layers import Elman as Elman
from .layers import Jordan as Jordan
from .replace import replace as replace
