"""The analytic mapping against an iterative fit, in one run on one thread: `python -m tests.bench.mapping`.

Both place SMPL's joints on the same targets. The iterative fit is a batched L-BFGS with local axis-angles, a scale for
each bone and a root position; its loss is the mean squared joint error. Goals: at least 200 times as fast, and a joint
error below 0.1 mm.
"""

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dg.body.base import Body, BodyPose
from dg.body.open_body import OpenBody
from dg.pose.joint_map import convert_joints
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, SMPL_24

BATCH = 1024
LBFGS_BATCH = 256
LBFGS_ITERATIONS = 100
# Joints by depth in the tree, so that one product serves all joints of a level.
_DEPTH = [0] * len(SMPL_24)
for _joint in SMPL_24.order[1:]:
    _DEPTH[_joint] = _DEPTH[SMPL_24.parents[_joint]] + 1
LEVELS = [torch.tensor([j for j, d in enumerate(_DEPTH) if d == level]) for level in range(1, max(_DEPTH) + 1)]


def forward_kinematics(rest: Tensor, axis_angle: Tensor, log_scale: Tensor, root: Tensor) -> Tensor:
    """Joints `[batch, 24, 3]` of the rest skeleton with scaled bones and local rotations."""
    parents = torch.tensor(SMPL_24.parents)
    local = rotation_from_axis_angle(axis_angle)
    bones = (rest - rest[parents]) * log_scale.exp()[..., None]
    rotations, joints = [local[:, 0]] + [local[:, 0]] * 23, [root] * 24
    for level in LEVELS:
        above = parents[level].tolist()
        turned = torch.stack([rotations[p] for p in above], 1)
        ends = torch.stack([joints[p] for p in above], 1) + (turned @ bones[:, level, :, None])[..., 0]
        turned = turned @ local[:, level]
        for row, joint in enumerate(level.tolist()):
            rotations[joint], joints[joint] = turned[:, row], ends[:, row]
    return torch.stack(joints, 1)


def random_people(body: OpenBody, rows: int, seed: int = 0) -> Tensor:
    """Human3.6M joints `[rows, 16, 3]` of bodies with random joint angles and bone lengths, some 5 m away."""
    generator = torch.Generator().manual_seed(seed)
    angles = 0.4 * torch.randn(rows, 24, 3, generator=generator)
    # Turned to face the camera, with any heading.
    upright = torch.tensor([torch.pi, 0.0, 0.0])
    angles[:, 0] = upright + angles[:, 0]
    scale = 0.1 * torch.randn(rows, 24, generator=generator)
    root = torch.randn(rows, 3, generator=generator) * 0.3 + torch.tensor([0.0, 0.0, 5.0])
    return convert_joints(forward_kinematics(body.rest.joints, angles, scale, root), SMPL_24, H36M_16)


def fit_lbfgs(rest: Tensor, targets: Tensor, iterations: int = LBFGS_ITERATIONS) -> Tensor:
    """Joints `[batch, 16, 3]` that the iterative fit reaches, all poses in one optimisation."""
    rows = len(targets)
    angles = torch.zeros(rows, 24, 3)
    angles[:, 0, 0] = torch.pi
    parameters = [angles, torch.zeros(rows, 24), targets[:, 0].clone()]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0
    )

    def reached() -> Tensor:
        return convert_joints(forward_kinematics(rest, *parameters), SMPL_24, H36M_16)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (reached() - targets).square().sum(-1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return reached().detach()


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs, processor time of the whole process."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def joint_error_mm(joints: Tensor, targets: Tensor) -> float:
    return float((joints - targets).norm(dim=-1).mean()) * 1000


def worst_joint_mm(body: Body, pose: BodyPose, targets: Tensor) -> float:
    return float((convert_joints(pose.positions, SMPL_24, H36M_16) - targets).norm(dim=-1).max()) * 1000


def measure() -> dict[str, float]:
    """Speeds in poses/s on one thread, joint errors in mm, and their ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        body = OpenBody(OpenBody.Options())
        targets = random_people(body, BATCH)
        pose = body.fit(targets, H36M_16)
        analytic = BATCH / seconds(lambda: body.fit(targets, H36M_16), 30)
        skinned = BATCH / seconds(lambda: [body.skin(pose[i : i + 128]) for i in range(0, BATCH, 128)], 10)
        few = targets[:LBFGS_BATCH]
        start = time.process_time()
        fitted = fit_lbfgs(body.rest.joints, few)
        iterative = LBFGS_BATCH / (time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {
        "mapping_poses_per_s": analytic,
        "mapping_worst_joint_error_mm": worst_joint_mm(body, pose, targets),
        "lbfgs_poses_per_s": iterative,
        "lbfgs_joint_error_mm": joint_error_mm(fitted, few),
        "mapping_vs_lbfgs": analytic / iterative,
        "skinning_poses_per_s": skinned,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
