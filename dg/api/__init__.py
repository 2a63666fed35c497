"""The laboratory from a notebook: load data, load a lifter, lift pixels, evaluate, draw a pose in 3D.

Every name here is also one of `dg` (`dg.load_lifter`), which loads this room when it is first asked for. Lengths are
metres, poses are relative to the root joint (the pelvis), and axes are the camera's: x right, y down, z away from it.
"""

from dg.api.data import load_data
from dg.api.lifter import Intrinsics, TrainedLifter, load_lifter
from dg.api.plot import plot_pose

__all__ = ["Intrinsics", "TrainedLifter", "load_data", "load_lifter", "plot_pose"]
