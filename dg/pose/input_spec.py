"""InputSpec, the one description of what a lifter sees and answers. No torch here: configurations are checked by it."""

import re
from dataclasses import dataclass

CHANNELS = {
    "xy": ("x", "y"),
    "xyd": ("x", "y", "d"),
    "xyc": ("x", "y", "c"),
    "xycd": ("x", "y", "c", "d"),
    "uadd": ("x", "y", "c", "d", "dmin", "dmax"),
}
# What may be added to each of them, in this order: features of the depth network and of a 2D pose network (AugLiftV2).
FEATURES = ("depth_features", "image_features")
DSCALE2D = ("off", "paper", "focal", "box", "crop", "square")
DEPTH_UNITS = ("clip", "metre")
ANSWERS = ("metres", "image")

BINS = re.compile(r"three|(?!0+(\.0+)?cm)\d+(\.\d+)?cm")  # what `dg.pose.ordinal_depth.DepthBins` reads

D_REF_M = 4.5  # reference depth of dscale2d, metres
F_REF = 2.29  # reference focal length, width-normalised: Human3.6M's


def split_inputs(inputs: str) -> tuple[str, tuple[str, ...]]:
    """Split a text such as `uadd+depth_features` into its channels and its features.

    Raises ValueError for anything that is not known.
    """
    base, *features = inputs.split("+")
    if base not in CHANNELS or tuple(features) != tuple(name for name in FEATURES if name in features):
        raise ValueError(
            f"inputs must be one of {list(CHANNELS)}, with +{' and then +'.join(FEATURES)} behind it or one of them "
            f"or neither, got {inputs!r}"
        )
    return base, tuple(features)


@dataclass(frozen=True)
class InputSpec:
    """What a lifter sees at each joint, and what it answers.

    channels: `xy`, or `xyd` with depth relative to the pelvis; of detected 2D also `xyc` with its confidence in
    [-1, 1], `xycd` with both, and `uadd`, AugLift's descriptor: x, y, confidence, median, nearest and farthest depth
    (METHODS 4.1). Behind any of them `+depth_features`, `+image_features` or both (METHODS 4.6), of which feature_sizes
    gives the number of channels. dscale2d (AugLift's scale normalisation, METHODS 4.3): `off`; `paper`: (x, y) relative
    to the principal point, times d_root / d_ref; `focal`: also times f_ref / f; `box`, for detections: each pose's box
    has the size box_ref, the mean of the training set; `crop` and `square`: each pose in its own box, each side or the
    larger one made 2 (PoseDA's Table 5). d_root is the depth source's value at the pelvis. d_ref in
    metres; depth_clip in metres; depth_unit `clip` divides the depth channels by depth_clip, so that they span [-1, 1].
    depth_bins: coarse ordinal depth of the true joints takes the place of the source's (an oracle, see
    `dg.pose.ordinal_depth`); empty: it does not. answers: see `dg.pose.answers`.
    Raises ValueError naming the wrong value.
    """

    channels: str = "xyd"
    dscale2d: str = "focal"
    d_ref: float = D_REF_M
    f_ref: float = F_REF
    depth_clip: float = 2.0
    depth_unit: str = "clip"
    box_ref: float = 0.0
    feature_sizes: tuple[int, ...] = ()
    depth_bins: str = ""
    answers: str = "metres"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("dscale2d", self.dscale2d, DSCALE2D),
            ("depth_unit", self.depth_unit, DEPTH_UNITS),
            ("answers", self.answers, ANSWERS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")
        for name in ("d_ref", "f_ref", "depth_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        if self.dscale2d == "box" and not self.box_ref > 0:
            raise ValueError(
                f"box_ref must be positive for dscale2d=box: the mean box of the training set, got {self.box_ref!r}"
            )
        if self.depth_bins and (self.channels != "xyd" or self.dscale2d != "off"):
            raise ValueError(f"depth_bins needs channels=xyd and dscale2d=off, got {self.channels!r} {self.dscale2d!r}")
        if len(self.feature_sizes) != len(self.features) or not all(size > 0 for size in self.feature_sizes):
            raise ValueError(
                f"feature_sizes must be a positive number for each of {list(self.features)} (inputs={self.channels}), "
                f"got {self.feature_sizes!r}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The channels in order, features left out."""
        return CHANNELS[split_inputs(self.channels)[0]]

    @property
    def features(self) -> tuple[str, ...]:
        """Whose features follow the channels, in order."""
        return split_inputs(self.channels)[1]

    @property
    def sources(self) -> dict[str, int]:
        """The features by name, with their number of channels."""
        return dict(zip(self.features, self.feature_sizes, strict=True))

    @property
    def size(self) -> int:
        """Channels per joint, features included."""
        return len(self.names) + sum(self.feature_sizes)

    @property
    def needs_depth(self) -> bool:
        """Whether the inputs need depth at the joints, as a channel or for the scale normalisation."""
        return ("d" in self.names and not self.depth_bins) or self.dscale2d in ("paper", "focal")

    @property
    def needs_confidence(self) -> bool:
        """Whether the inputs need the confidence of the 2D."""
        return "c" in self.names
