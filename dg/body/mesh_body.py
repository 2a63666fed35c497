"""What the open body and SMPL have in common: a rest mesh, the analytic mapping and skinning."""

import hashlib
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import Body, BodyPose
from dg.body.fit import fit_absolute, fit_relative, place_targets
from dg.body.rest import RestBody
from dg.body.skin import blend_matrix, skin
from dg.pose.skeleton import Skeleton

BoneScale = Literal["absolute", "relative"]
# Part of the digest: to be raised when the mapping or skinning changes what is rendered from the same rest body.
MAPPING_VERSION = 3


class MeshBody(Body):
    """A body made of a rest mesh in SMPL's conventions. Runs on whichever device the joints are on."""

    def __init__(self, rest: RestBody, bone_scale: BoneScale) -> None:
        self.bone_scale, self.uses_reference = bone_scale, bone_scale == "relative"
        self.faces = rest.faces
        name = f"{rest.digest()}/{bone_scale}/{MAPPING_VERSION}"
        self.digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        self._parts = {torch.device("cpu"): (rest, blend_matrix(rest))}

    @property
    def rest(self) -> RestBody:
        """The rest body on the CPU."""
        return self._on(torch.device("cpu"))[0]

    @torch.no_grad()
    def fit(
        self,
        joints_3d: Float[Tensor, "batch joints 3"],
        skeleton: Skeleton,
        reference: Float[Tensor, "batch joints 3"] | None = None,
    ) -> BodyPose:
        """Pose the rest body by the scale `bone_scale`; `dg.body.fit` describes the two scales.

        Without a reference a pose is its own, so `relative` keeps the body's bone lengths. Raises ValueError for
        another skeleton than H36M-17 or H36M-16.
        """
        rest, _ = self._on(joints_3d.device)
        targets = place_targets(joints_3d.to(rest.joints), skeleton)
        if self.bone_scale == "absolute":
            return fit_absolute(rest, targets)
        original = targets if reference is None else place_targets(reference.to(rest.joints), skeleton)
        return fit_relative(rest, targets, original)

    @torch.no_grad()
    def skin(self, pose: BodyPose) -> Float[Tensor, "batch vertices 3"]:
        """Compute the vertices by linear blend skinning, on the device of the pose."""
        rest, blend = self._on(pose.positions.device)
        return skin(pose, blend, rest.joints, rest.axes)

    def _on(self, device: torch.device) -> tuple[RestBody, Tensor]:
        if device not in self._parts:
            rest = self._parts[torch.device("cpu")][0].to(device)
            self._parts[device] = rest, blend_matrix(rest)
        return self._parts[device]
