"""A body of capsules, one a bone: about 2,500 triangles, closed, and no asset to wait for."""

from dataclasses import dataclass

import torch

from dg.body.base import Body, BodyPose
from dg.pose.rotation import minimal_rotation
from dg.pose.skeleton import SMPL_24, Skeleton

SIDES, RINGS = 9, 6
# H36M-17 joints whose mean stands for each SMPL joint.
SOURCES = [
    [0], [4], [1], [0, 7], [5], [2], [7], [6], [3], [7, 8], [6], [3], [8], [8, 11], [8, 14], [9, 10], [11], [14],
    [12], [15], [13], [16], [13], [16],
]  # fmt: skip
RADII_M = {"hip": 0.10, "knee": 0.08, "ankle": 0.055, "spine1": 0.12, "spine2": 0.12, "spine3": 0.12, "head": 0.09}


class CapsuleBody(Body):
    @dataclass(frozen=True)
    class Options:
        pass

    digest = "capsules"

    def __init__(self, options: Options | None = None) -> None:
        self.bones = [(parent, child) for parent, child in SMPL_24.bones if "foot" not in SMPL_24.joints[child]]
        angle = torch.arange(SIDES) / SIDES * 2 * torch.pi
        t = torch.linspace(0, 1, RINGS)
        width = torch.tensor([0.6, 1.0, 1.0, 1.0, 1.0, 0.6])
        ring = torch.stack([angle.cos(), angle.sin()], -1)
        self.ring = (width[:, None, None] * ring).reshape(-1, 2)  # rings x sides
        self.t = t.repeat_interleave(SIDES)
        faces = []
        for r in range(RINGS - 1):
            for s in range(SIDES):
                a, b = r * SIDES + s, r * SIDES + (s + 1) % SIDES
                faces += [[a, b, a + SIDES], [b, b + SIDES, a + SIDES]]
        low, high = RINGS * SIDES, RINGS * SIDES + 1
        top = (RINGS - 1) * SIDES
        for s in range(SIDES):
            faces += [[low, (s + 1) % SIDES, s], [high, top + s, top + (s + 1) % SIDES]]
        one = torch.tensor(faces)
        self.faces = torch.cat([one + k * (RINGS * SIDES + 2) for k in range(len(self.bones))])
        names = [SMPL_24.joints[child].split("_")[-1] for _, child in self.bones]
        self.radius = torch.tensor([RADII_M.get(name, 0.045) for name in names])

    def fit(self, joints_3d, skeleton: Skeleton, reference=None) -> BodyPose:
        positions = torch.stack([joints_3d[:, source].mean(1) for source in SOURCES], 1)
        # Hands continue the forearm, feet point at the camera.
        positions[:, 22:24] = positions[:, 20:22] + 0.3 * (positions[:, 20:22] - positions[:, 18:20])
        rows = len(joints_3d)
        return BodyPose(torch.eye(3).expand(rows, 24, 3, 3), positions, torch.ones(rows, 24))

    def skin(self, pose: BodyPose) -> torch.Tensor:
        parent = pose.positions[:, [p for p, _ in self.bones]]
        child = pose.positions[:, [c for _, c in self.bones]]
        bone = child - parent
        length = bone.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        turn = minimal_rotation(torch.tensor([0.0, 0.0, 1.0]).expand_as(bone), bone / length)
        side = torch.einsum("njk,jvk->njvk", torch.ones_like(bone[..., :2]), self.radius[:, None, None] * self.ring)
        along = self.t[None, None, :] * (length + 0.04) - 0.02
        local = torch.cat([side, along[..., None]], -1)
        ends = torch.zeros(*bone.shape[:2], 2, 3)
        ends[..., 0, 2], ends[..., 1, 2] = -0.04, length[..., 0] + 0.04
        local = torch.cat([local, ends], -2)
        return (torch.einsum("njxy,njvy->njvx", turn, local) + parent[..., None, :]).flatten(1, 2)
