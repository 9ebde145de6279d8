"""stub"""
from dataclasses import dataclass
import numpy as np
from ...data.clock import Clock
from ...data.ragged import Ragged, ends
@dataclass(frozen=True)
class Series:
    ids: list
    y: Ragged
    start: np.ndarray
    clock: Clock
    known: Ragged
    past: Ragged
    static: np.ndarray
def from_arrays(data):
    ys=[np.asarray(v,float).reshape(len(v),-1) for v in data]
    n=len(ys); off=ends(np.array([len(y) for y in ys])); N=int(off[-1])
    return Series(list(range(n)),Ragged(np.concatenate(ys),off),np.zeros(n,np.int64),Clock(),Ragged(np.zeros((N,0)),off),Ragged(np.zeros((N,0)),off),np.zeros((n,0)))
