"""stub"""
from dataclasses import dataclass
import numpy as np
def softplus(x): return np.logaddexp(0,x)
@dataclass(frozen=True)
class Family:
    name: str; size: int; levels: tuple=(); counts: bool=False; spread: bool=True
    def parameters(self,s,location,scale):
        if self.name=="student-t": return np.stack([location+scale*s[...,0],scale*(softplus(s[...,1])+1e-4),2+softplus(s[...,2])],-1)
        return location[...,None]+scale[...,None]*s
    def quantile(self,p,level):
        from scipy.stats import t
        return p[...,0]+p[...,1]*t.ppf(level,p[...,2])
    def log_density(self,p,y):
        from scipy.stats import t
        return t.logpdf(y,p[...,2],p[...,0],p[...,1])
    def sample(self,p,rng): return p[...,0]+p[...,1]*rng.standard_t(p[...,2])
def family_of(o): return Family("student-t",3)
