"""One finished run as a comparison sees it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from dg.datasets.protocols import DETECTORS
from dg.settings.config import FREE_KEYS
from dg.tracking.names import NO_DEPTH

CONTENT = "data_content"  # which data a run was trained on
# Parameters that vary between the runs of one row: their seed, and what the columns, the machine and the disk are.
_FREE = (*FREE_KEYS, "seed", "targets", "device", "data.root")
_BUDGET = ("epochs", "max_steps", "batch_size", "init_from", "skeleton", "data", CONTENT)
_ROW = ("method.name", "lifter.name", "inputs", "dscale2d", "depth.name")


@dataclass(frozen=True)
class RunResult:
    """One finished run: its labels, its flat parameters, and its value with the protocol id for each target.

    Attributes:
        adapted_to: `NAME:train` or `NAME:test`, whose 2D a domain-adaptation run saw; empty for any other.
        made_of: what `dg.training.made_of` says of it; empty for a run of a version that did not.
        recipe: the published experiment whose settings the run started from, if any.
    """

    method: str
    regime: str
    lifter: str
    inputs: str
    dscale2d: str
    depth: str
    seed: str
    started: int
    params: Mapping[str, str]
    values: Mapping[str, float]
    protocols: Mapping[str, str]
    oracle: str = ""
    adapted_to: str = ""
    made_of: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""

    @property
    def input_label(self) -> str:
        """The lifter's inputs with 2D scale and depth source, as tables print them; what an oracle gives is marked."""
        scale = "" if self.dscale2d == "off" else f"+dscale2d={self.dscale2d}"
        depth = "" if self.depth == NO_DEPTH else f", {self.depth}"
        if depth and "depth" in self.oracle.split(",") and "oracle" not in depth:
            depth += " (oracle)"
        root = ", true root (oracle)" if "root" in self.oracle.split(",") else ""
        return f"{self.inputs}{scale}{depth}{root}"

    @property
    def budget(self) -> dict[str, str]:
        """The parameters that must be equal for two runs to have had the same data and the same training cost."""
        # Where the content of the training data is known, it does not matter where they lay.
        free = (*_FREE, "data.path", "data.keypoints", "data.image_depth") if self.params.get(CONTENT) else _FREE
        return {k: v for k, v in self.params.items() if under(k, _BUDGET) and not under(k, free)}

    @property
    def settings(self) -> dict[str, str]:
        """Every other parameter that can move a number in this run."""
        inert = [*_FREE, *_BUDGET, *_ROW]
        if self.depth == NO_DEPTH:
            inert += ["depth", "body", "render", "d_ref", "f_ref", "depth_clip"]
        if self.dscale2d == "off":
            inert.append("d_ref")
        if self.dscale2d != "focal":
            inert.append("f_ref")
        if self.inputs == "xy":
            inert.append("depth_clip")
        return {k: v for k, v in self.params.items() if not under(k, inert)}

    @property
    def lifter_frames(self) -> int:
        """Frames that the lifter sees at once."""
        widths = re.findall(r"\d+", self.params.get("lifter.widths", ""))
        named = [int(self.params.get(name, "1")) for name in ("frames", "lifter.frames")]
        return max(prod(int(w) for w in widths), *named)


def training_set(params: Mapping[str, str]) -> str:
    """What a run was trained on, in the words of the published numbers where it is the same."""
    name = params.get("data.name", "?")
    label = params.get("data.label", name)
    subjects = re.findall(r"S\d+", params.get("data.subjects_train", ""))
    known = f"Human3.6M {','.join(subjects)}" if (name, label) == ("h36m", "h36m") and subjects else label
    stride = params.get("data.stride", "1")
    return known if stride == "1" else f"{known}, one frame in {stride}"


def training_2d(params: Mapping[str, str]) -> str:
    """2D source in training: `gt` or the detector, as the published numbers call it."""
    source = params.get("data.keypoints", "gt")
    return DETECTORS.get(source, source)


def under(name: str, roots: Sequence[str]) -> bool:
    """Whether a parameter is one of some, or an option of one.

    Args:
        name: of the parameter.
        roots: the others.
    """
    return any(name == root or name.startswith(f"{root}.") for root in roots)
