"""stub"""
import numpy as np
def all_baselines(y,H,season): return {"naive":np.full(H,y[-1]),"seasonal naive":np.resize(y[-season:],H)}
