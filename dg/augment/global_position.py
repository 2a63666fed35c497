"""Global position alignment: source poses put where a target's people are seen, by the target's cameras.

Chai et al., "Global Adaptation meets Local Generalization" (PoseDA), ICCV 2023, section 3.2, equations 6 to 9
(METHODS 3.1). Closed form, nothing learned. Of a target pose only the root and the size of its 2D box are used.

Departures from the authors' public function: every pose is aligned with the intrinsics of the camera that saw its
own target pose, where the function takes the first row's focal length for all; both axes are normalised by the width;
the drawn poses are not changed in place; degenerate boxes and poses too near the camera are drawn again; the depth is
kept in a range. Poses that leave the target's frame are drawn again as well, since they could not be rendered.
"""

from collections.abc import Callable
from dataclasses import fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera

NEAREST_M = 0.3
# Width plus height of a 2D box, normalised, below which it says nothing about distance (METHODS 3.1).
SMALLEST_BOX = 0.05
DEPTH_M = (1.0, 15.0)
ATTEMPTS = 4

Draw = Callable[[int, torch.Generator], tuple[Tensor, Camera]]


def aligned_root(
    joints: Float[Tensor, "batch joints 3"],
    target_2d: Float[Tensor, "batch joints 2"],
    camera: Camera,
    root: int,
    depth_m: tuple[float, ...] = DEPTH_M,
) -> tuple[Float[Tensor, "batch 3"], Bool[Tensor, " batch"]]:
    """Find where a pose's root belongs so that it is seen like a target pose (METHODS 3.1).

    The size of the projected box, width plus height, agrees with the target's to first order in joint depth over root
    depth.

    Args:
        joints: poses in the camera frame, metres; their place does not matter.
        target_2d: the target poses, normalised image coordinates, a row for each pose.
        camera: the pinholes that the target poses belong to.
        root: index of the root joint.
        depth_m: the least and the greatest depth of the root, metres.

    Returns:
        The root in the camera frame in metres, finite in every row, which projects exactly onto the target's root; and
        whether the target pose is large and complete enough to tell.
    """
    size = (joints.amax(1) - joints.amin(1))[:, :2]
    box = (target_2d.amax(1) - target_2d.amin(1)).sum(-1)
    usable = (box >= SMALLEST_BOX) & target_2d.isfinite().flatten(1).all(-1)
    seen = torch.where(usable[:, None], target_2d[:, root], camera.center)
    depth = (camera.focal * size).sum(-1) / torch.where(usable, box, 1.0)
    depth = depth.clamp(*depth_m)[:, None]
    return torch.cat([depth * (seen - camera.center) / camera.focal, depth], -1), usable


def align(
    source: PoseBatch,
    joints: Float[Tensor, "batch joints 3"],
    draw: Draw,
    generator: torch.Generator,
    depth_m: tuple[float, ...] = DEPTH_M,
    attempts: int = ATTEMPTS,
) -> PoseBatch:
    """Place poses where target poses are seen.

    Each row gets up to `attempts` pairings, until the target pose's box is large enough, all joints lie farther than
    0.3 m and the pose is inside the target camera's frame.

    Args:
        source: the batch that the poses stem from.
        joints: the poses in the camera frame, metres, a row for each of `source`.
        draw: returns 2D poses and their cameras for a number of rows, from the generator.
        generator: the random generator of the target poses.
        depth_m: the least and the greatest depth of the root, metres.
        attempts: the most target poses that are tried for a row.

    Returns:
        Aligned poses carry the target's camera, without distortion. The others keep place and camera, and are not
        valid. 2D is projected anew; depth and confidence are dropped.
    """
    root = source.skeleton.root
    local, placed, camera = joints - joints[:, root : root + 1], joints, source.camera
    done = torch.zeros(len(joints), dtype=torch.bool, device=joints.device)
    for _ in range(attempts):
        target_2d, seen_by = draw(len(joints), generator)
        pinhole = Camera(seen_by.focal, seen_by.center, torch.zeros_like(seen_by.distortion), seen_by.extent)
        pinhole = pinhole.knowing(pinhole=True)
        place, usable = aligned_root(local, target_2d, pinhole, root, depth_m)
        moved = local + place[:, None]
        fits = usable & pinhole.in_frame(moved, NEAREST_M) & ~done
        placed = torch.where(fits[:, None, None], moved, placed)
        camera = _choose(fits, pinhole, camera)
        done = done | fits
    aligned = source.replace(camera=camera, valid=source.valid & done)
    return aligned.with_joints(placed[:, None])


def _choose(rows: Bool[Tensor, " batch"], chosen: Camera, otherwise: Camera) -> Camera:
    pairs = [(getattr(chosen, f.name), getattr(otherwise, f.name)) for f in fields(Camera)]
    return Camera(*[torch.where(rows[:, None], a, b) for a, b in pairs]).knowing(chosen.pinhole and otherwise.pinhole)
