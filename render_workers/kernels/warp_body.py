"""A body that is fitted and skinned by Warp kernels, on the CPU or a GPU, in two launches."""

from typing import TypeGuard

import numpy as np
import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from dg.body import fit as mapping
from dg.body.base import Body, BodyPose
from dg.body.closed_form import orthogonal, unit
from dg.body.mesh_body import MeshBody
from dg.body.rest import RestBody
from dg.body.skin import blend_matrix
from dg.pose.skeleton import SMPL_24, Skeleton
from render_workers.kernels import body_kernels
from render_workers.kernels.launching import Launcher, view


class WarpBody:
    """Fits and skins what `MeshBody` does with `bone_scale=absolute`; that is its slow twin.

    Args:
        rest: the body at rest.
        device: device of the joints to come.
    """

    def __init__(self, rest: RestBody, device: torch.device | str = "cpu") -> None:
        self._launch = Launcher(device)
        self.device = self._launch.device
        self.vertices = len(rest.vertices)
        self._rest = rest
        self._mappings: dict[str, object] = {}
        kinds = wp.int32, wp.int32, wp.vec4
        self._influences = [
            view(part.to(self.device), kind) for part, kind in zip(influences(rest), kinds, strict=True)
        ]

    @staticmethod
    def covers(body: Body) -> TypeGuard[MeshBody]:
        """Return whether there are kernels for a body.

        Args:
            body: any.
        """
        if not isinstance(body, MeshBody) or body.bone_scale != "absolute":
            return False
        # A body of one's own may fit or skin in a way of its own.
        return type(body).fit is MeshBody.fit and type(body).skin is MeshBody.skin

    def fit(
        self, joints_3d: Float[Tensor, "batch joints 3"], skeleton: Skeleton
    ) -> tuple[BodyPose, Float[Tensor, "batch 24 3 4"]]:
        """Pin the body to joints, as `dg.body.fit.fit_absolute` does.

        Args:
            joints_3d: absolute joints in the camera frame, metres.
            skeleton: H36M-17 or H36M-16.

        Returns:
            The posed bodies, and what `skin` needs of them: each joint's map of rest points to the camera's axes about
            the pelvis, metres.

        Raises:
            ValueError: for another skeleton, or joints that are not its.
        """
        tables = self._mapping(skeleton)
        if joints_3d.shape[1] != len(skeleton):
            raise ValueError(f"expected {len(skeleton)} joints ({skeleton.name}), got {joints_3d.shape[1]}")
        rows, count = len(joints_3d), len(SMPL_24)
        sizes = (rows, count, 3, 3), (rows, count, 3), (rows, count), (rows, count, 3, 4)
        parts = [torch.empty(size, device=self.device) for size in sizes]
        outputs = [view(part, kind) for part, kind in zip(parts, (wp.mat33, wp.vec3, wp.float32, wp.vec4), strict=True)]
        self._launch(body_kernels.fit, rows, [view(joints_3d.float(), wp.vec3), tables], outputs)
        return BodyPose(*parts[:3]), parts[3]

    def skin(self, pose: BodyPose, transforms: Float[Tensor, "batch 24 3 4"]) -> Float[Tensor, "batch vertices 3"]:
        """Compute the vertices by linear blend skinning, in the camera frame, metres.

        Args:
            pose: posed bodies.
            transforms: what `fit` returned with them.
        """
        rows = len(transforms)
        vertices = torch.empty(rows, self.vertices, 3, device=self.device)
        inputs = [view(pose.positions, wp.vec3), view(transforms, wp.vec4), *self._influences]
        groups = -(-rows // body_kernels.LANES) if self.device.type == "cpu" else rows
        self._launch.strided(body_kernels.skin, groups, self.vertices, inputs, [view(vertices, wp.vec3)])
        return vertices

    def _mapping(self, skeleton: Skeleton) -> object:
        """The kernels' tables, made once for a skeleton."""
        if skeleton.name not in self._mappings:
            self._mappings[skeleton.name] = _tables(self._rest, skeleton, self.device)
        return self._mappings[skeleton.name]


def influences(rest: RestBody) -> tuple[Tensor, Tensor, Tensor]:
    """Return the terms of `dg.body.skin.blend_matrix` that are not zero: two a vertex of the 24 that could be.

    Args:
        rest: the body at rest.

    Returns:
        The first term of each vertex and one past the last one, int32 `[vertices + 1]`; the joint of each term, int32;
        and its share (w v, w), `[terms, 4]`.
    """
    vertex, joint = rest.weights.nonzero(as_tuple=True)
    counts = torch.bincount(vertex, minlength=len(rest.vertices))
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    blend = blend_matrix(rest).view(len(rest.vertices), len(SMPL_24), 4)[vertex, joint]
    return start.int(), joint.int(), blend.contiguous()


def _tables(rest: RestBody, skeleton: Skeleton, device: torch.device) -> object:
    """The kernels' struct; its arrays keep the tensors whose memory they name."""
    source = np.full(len(SMPL_24), -1)
    source[[SMPL_24.index(name) for name in mapping.PLACED]] = mapping.sources_of(skeleton)
    order = [joint for level in (*mapping.AIMED, *mapping.CARRIED) for joint in level]
    aimed = set(sum(mapping.AIMED, ()))
    stretching = torch.tensor([joint in mapping.STRETCHING for joint in range(len(SMPL_24))])
    hub_tail, hub_head = (torch.tensor(part).view(2, -1) for part in (mapping.HUB_TAILS, mapping.HUB_HEADS))
    pins, riders = list(mapping.PINS), list(mapping.RIDERS)
    parts: dict[str, object] = {
        "source": source,
        "tail": mapping.TAILS,
        "head": mapping.HEADS,
        "parent": SMPL_24.parents,
        "order": order,
        "aimed": [joint in aimed for joint in range(len(SMPL_24))],
        "length": rest.bones.norm(dim=-1) * stretching,
        "joint": rest.joints,
        "axis": rest.axes,
        "across": orthogonal(rest.axes),
        "hub": mapping.HUBS,
        "hub_tail": hub_tail,
        "hub_head": hub_head,
        "hub_axis": unit((rest.joints[hub_head] - rest.joints[hub_tail]).double()),
        "pin": pins,
        "rider": riders,
        "rider_offset": rest.joints[riders] - rest.joints[pins].mean(0),
        "tip": mapping.TIPS,
    }
    tables = body_kernels.Mapping()
    for name, values in parts.items():
        kind = body_kernels.Mapping.vars[name].type.dtype
        tensor = torch.as_tensor(values, device=device)
        tensor = tensor if tensor.is_floating_point() else tensor.int()
        setattr(tables, name, wp.from_torch(tensor.contiguous(), dtype=kind))
    return tables
