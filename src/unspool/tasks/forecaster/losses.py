"""The losses of a forecaster's distributions, of `distributions`, in PyTorch.

Where y are numbers, z = (y - base) / scale are the targets; where they are counts, y, base and scale.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .distributions import Family

def _student_t(family, s, z):
    mu,sg,nu=s[...,0],softplus(s[...,1])+1e-4,2+softplus(s[...,2])
    d=(z-mu)/sg
    return torch.lgamma(nu/2)-torch.lgamma((nu+1)/2)+.5*torch.log(torch.pi*nu)+sg.log()+(nu+1)/2*torch.log1p(d*d/nu)

class Loss:
    def __init__(self, family: Family):
        self.family = family
    def __call__(self, s: Tensor, targets: Tensor) -> Tensor:
        z = targets
        there = ~z.isnan()
        s = s.reshape(*z.shape, self.family.size)
        return _student_t(self.family, s[there], z[there]).sum()
