"""Names and defaults of the radius in which a joint's depth is read (`dg.pose.uadd`). Loads no torch."""

from typing import Literal

RadiusMode = Literal["linear", "scale"]
R_MIN, R_MAX = 3.0, 30.0  # pixels of a frame 1000 wide: where the 2D is certain, and where it is not
