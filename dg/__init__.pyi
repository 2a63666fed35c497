from dg.api import Intrinsics as Intrinsics
from dg.api import TrainedLifter as TrainedLifter
from dg.api import load_data as load_data
from dg.api import load_lifter as load_lifter
from dg.api import plot_pose as plot_pose

__version__: str
