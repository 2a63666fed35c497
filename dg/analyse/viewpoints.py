"""From where people are seen and where they stand: source poses against what the method makes of them.

PoseAug, Figure 7 and the text to it: viewpoints and positions of Human3.6M keep close to the horizontal plane and to
one place, those of PoseAug's poses do not. The paper defines neither; here the viewpoint is the direction from the
pelvis to the camera in the person's own frame (hips and trunk), as azimuth (0 in front, 90 on the person's left) and
elevation (90 above the head), and the position is that of the pelvis in the camera frame. The targets stand beside
them. Needs a checkpoint-STEP.pt, which holds the method.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value
from dg.analyse.checkpoints import AnalysisError, TrainedRun
from dg.analyse.novelty import evenly_spaced
from dg.analyse.stratified import percentile
from dg.augment.viewpoint import viewpoint_deg
from dg.drawing.figures import canvas, dress
from dg.methods.base import StepKey
from dg.methods.diagnosis import proposals
from dg.pose.batch import PoseBatch
from dg.settings.config import Count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TARGET = "target "  # begins the names of targets' sets
PERCENTS = (5, 25, 50, 75, 95)
QUANTITIES = ("azimuth_deg", "elevation_deg", "root_x_m", "root_y_m", "root_z_m")
_BELIEVED_OFFSET_M = 0.1  # of a surface before its joint: proposals do not depend on the source's depth


@dataclass(frozen=True)
class SetsOptions:
    """poses: of the source that are drawn, and of each target."""

    poses: Count = 4096


def described(poses: PoseBatch) -> dict[str, Float[Tensor, " poses"]]:
    """The quantities of each pose."""
    joints = poses.joints_3d[:, poses.joints_3d.shape[1] // 2].cpu()
    root = joints[:, poses.skeleton.root].unbind(-1)
    return dict(zip(QUANTITIES, (*viewpoint_deg(joints, poses.skeleton), *root), strict=True))


def augmented(run: TrainedRun, count: int) -> tuple[PoseBatch, PoseBatch]:
    """Draw source poses at random and return them with what the run's method makes of them.

    Args:
        run: the trained run.
        count: number of source poses.

    Returns:
        The source poses and the method's poses, valid or not.

    Raises:
        AnalysisError: the method adds no poses, or not yet.
    """
    method = run.method()
    data = run.source("train")
    poses = data.poses.to(run.device)
    if run.config.needs_depth:
        poses = poses.replace(depth=poses.joints_3d[..., 2] - _BELIEVED_OFFSET_M)
    if run.config.frames > 1:
        moved = method.propose_pass(poses, data.clip.to(run.device), StepKey(run.config.seed, 0, -1))
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(0))[:count].to(run.device)
        if moved is not None:
            return poses[order], moved[order]
    else:
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(0)).to(run.device)
        made = proposals(method, poses, order[:count], run.config.batch_size, run.config.seed)
        if made is not None:
            return made
    raise AnalysisError(
        f"{run.path}: method {run.config.method['name']} makes no poses at this step of the training; give a "
        "checkpoint of a method that augments, after its pre-training and warm-up"
    )


def sets_of(comparison: Comparison, count: int) -> dict[str, PoseBatch]:
    """The poses of each source, of each run's method and of each target, by what they are called.

    Args:
        comparison: the runs and targets.
        count: of the source's poses that are drawn, and of each target's.
    """
    sets: dict[str, PoseBatch] = {}
    for run in comparison.runs:
        source, made = augmented(run, count)
        sets.setdefault(f"source {run.source('train').name}", source)
        sets[f"augmented by {run.label}"] = made
    for title, target in comparison.titled_targets():
        sets[f"{TARGET}{title}"] = evenly_spaced(comparison.runs[0].target(target).poses, count)
    return sets


def in_frame(name: str, poses: PoseBatch) -> PoseBatch:
    """The poses that lie in the frame: others are never trained on. Raises AnalysisError where there is none.

    Args:
        name: what the set is called.
        poses: of the set.
    """
    if not poses.valid.any():
        raise AnalysisError(f"{name}: not one of {len(poses)} poses lies in the frame")
    return poses[poses.valid]


class Viewpoints(Analysis):
    """See the module's docstring."""

    Options: ClassVar[type] = SetsOptions

    def run(self, comparison: Comparison) -> Findings:
        """Compare viewpoints and root positions of the source poses, of the augmented poses and of the targets."""
        sets = sets_of(comparison, self.options.poses)
        found = {name: described(in_frame(name, poses)) for name, poses in sets.items()}
        shares = [_shares(name, sets[name], values) for name, values in found.items()]
        spread = [_spread(name, q, values[q]) for name, values in found.items() for q in QUANTITIES]
        notes = [
            "of the poses in the frame; azimuth 0: the camera in front of the person, 90: on the person's left; "
            "elevation 90: above the head",
            "root in the camera frame: x right, y down, z forward",
        ]
        tables = [
            Table("viewpoints", "From where people are seen", shares, notes=notes),
            Table("distributions", "Viewpoints and positions", spread),
        ]
        return Findings(tables, "the targets' sets are ground-truth 3D (an oracle)", {"viewpoints": draw(found)})


def _spread(name: str, quantity: str, values: Tensor) -> dict[str, Value]:
    percentiles = {f"p{p}": percentile(values, p) for p in PERCENTS}
    return {"set": name, "quantity": quantity, **percentiles, "std": float(values.std(unbiased=False))}


def _shares(name: str, poses: PoseBatch, values: dict[str, Tensor]) -> dict[str, Value]:
    azimuth, elevation = values["azimuth_deg"].abs(), values["elevation_deg"].abs()
    front, back = (azimuth <= 45).float().mean(), (azimuth >= 135).float().mean()
    return {
        "set": name,
        "poses": len(poses),
        "in_frame_percent": 100 * float(poses.valid.float().mean()),
        "front_percent": 100 * float(front),
        "side_percent": 100 * float(1 - front - back),
        "back_percent": 100 * float(back),
        "over_30_deg_percent": 100 * float((elevation > 30).float().mean()),
    }


_VIEWS = (
    ("azimuth_deg", "elevation_deg", "azimuth (deg)", "elevation (deg)"),
    ("root_x_m", "root_z_m", "root x (m, right)", "root z (m, forward)"),
    ("root_x_m", "root_y_m", "root x (m, right)", "root y (m, down)"),
)


def draw(sets: dict[str, dict[str, Tensor]]) -> "Figure":
    """A row for each set: viewpoints, positions from above, positions as the camera sees them."""
    heading = "Viewpoints and positions of people in the frame (darker: more; each panel on its own scale)"
    figure = canvas(12.5, 0.9 + 2.7 * len(sets), heading)
    bands = figure.subfigures(len(sets), 1, squeeze=False)[:, 0]
    ranges = {q: _range(q, [values[q] for values in sets.values()]) for q in QUANTITIES}
    for band, (name, values) in zip(bands, sets.items(), strict=True):
        band.suptitle(f"{name}: {len(values['azimuth_deg']):,} poses", fontsize=9, x=0.01, ha="left")
        for axis, view in zip(band.subplots(1, len(_VIEWS)), _VIEWS, strict=True):
            _draw_view(axis, values, view, ranges)
    return figure


def _range(quantity: str, values: list[Tensor]) -> tuple[float, float]:
    """The same for all sets, so that rows can be compared; positions without their last half percent."""
    if quantity.endswith("_deg"):
        return (-180.0, 180.0) if quantity.startswith("azimuth") else (-90.0, 90.0)
    low, high = min(percentile(v, 0.5) for v in values), max(percentile(v, 99.5) for v in values)
    rim = max(0.05 * (high - low), 0.1)
    return low - rim, high + rim


def _draw_view(
    axis: "Axes", values: dict[str, Tensor], view: tuple[str, str, str, str], ranges: dict[str, tuple[float, float]]
) -> None:
    x, y, x_name, y_name = view
    weights = torch.full_like(values[x], 1 / len(values[x])).numpy()
    axis.hist2d(
        values[x].numpy(), values[y].numpy(), bins=(36, 24), range=[ranges[x], ranges[y]], weights=weights,
        cmap="Blues", norm="log", cmin=1e-12,
    )  # fmt: skip
    dress(axis, x=x_name, y=y_name, grid="both")
    if x == "azimuth_deg":
        axis.set_xticks(range(-180, 181, 90))
        axis.set_yticks(range(-90, 91, 45))
    if y == "root_y_m":
        axis.invert_yaxis()
