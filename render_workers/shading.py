"""What a depth network sees: neutral grey bodies under a headlight (METHODS 4.4), from the faces that a rasteriser saw.

The lighting is Phong's with the light at the camera, as PyTorch3D's HardPhongShader and HardFlatShader compute it, so
that the two rasterisers make the same picture.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

NORMALS = ("smooth", "flat")
SHININESS = 64.0  # PyTorch3D's default
_TINY = 1e-20


@dataclass(frozen=True)
class Look:
    """The appearance of rendered bodies, as grey values in [0, 1]. Raises ValueError for anything else."""

    albedo: float = 0.8  # grey value of the body
    ambient: float = 0.2  # share of the light that comes from everywhere; the rest comes from the camera
    specular: float = 0.0  # brightness of the highlight
    background: float = 1.0  # grey value around the body
    normals: str = "smooth"  # smooth: interpolated from the vertices; flat: one a face

    def __post_init__(self) -> None:
        for name in ("albedo", "ambient", "specular", "background"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")
        if self.normals not in NORMALS:
            raise ValueError(f"normals must be one of {list(NORMALS)}, got {self.normals!r}")


@runtime_checkable
class ShadingRasterizer(Protocol):
    """A rasteriser with a shader of its own, which makes z-buffer and picture in one go."""

    def shaded(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
        look: Look,
    ) -> tuple[Float[Tensor, "batch height width"], Float[Tensor, "batch 3 height width"]]:
        """Return the z-buffer in metres and the shaded picture in [0, 1] from one rasterisation.

        Args:
            vertices: camera frame, metres; x right, y down, z forward.
            focal_px: focal length along x and y, pixels.
            center_px: principal point, pixels.
            resolution: height and width of both images, pixels.
            look: grey values and shading of bodies and background.
        """
        ...


class Headlight:
    """Shades pictures of one mesh's poses.

    Args:
        faces: vertex numbers of each triangle, outward or inward: the side that is seen is lit.
    """

    def __init__(self, faces: Int[Tensor, "faces 3"], look: Look = Look()) -> None:
        self.look = look
        self.faces = faces.long()
        self._around = faces_around(self.faces)

    def __call__(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        zbuffer: Float[Tensor, "batch height width"],
        seen: Int[Tensor, "batch height width"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """RGB in [0, 1]. vertices: camera frame, metres. seen: face numbers, -1 for background."""
        self._follow(vertices.device)
        image, y, x = (seen >= 0).nonzero(as_tuple=True)
        mesh, corner = image[:, None], self.faces[seen[image, y, x].long()]
        corners = vertices[mesh, corner]
        across = _across(corners)
        if self.look.normals == "flat":
            point, normal = corners.mean(1), across
        else:
            pixel = torch.stack([x, y], -1) + 0.5
            ray = torch.cat([(pixel - center_px[image]) / focal_px[image], torch.ones_like(pixel[:, :1])], -1)
            point = zbuffer[image, y, x, None] * ray
            normal = _interpolate(self._vertex_normals(vertices)[mesh, corner], corners, across, point)
        grey = torch.full_like(zbuffer, self.look.background)
        grey[image, y, x] = self._lit(normal, point, across)
        return grey[:, None].expand(-1, 3, -1, -1)

    def _lit(self, normal: Tensor, point: Tensor, across: Tensor) -> Tensor:
        """Phong's brightness where light and eye are one; a face seen from behind has its normals turned round."""
        turn = -(across * point).sum(-1).sign()
        length = normal.norm(dim=-1) * point.norm(dim=-1)
        cosine = (-turn * (normal * point).sum(-1) / length.clamp_min(_TINY)).clamp(0.0, 1.0)
        look = self.look
        brightness = look.albedo * (look.ambient + (1 - look.ambient) * cosine)
        # The mirrored ray leaves at twice the angle between normal and eye.
        highlight = (2 * cosine.square() - 1).clamp_min(0.0) ** SHININESS
        return (brightness + look.specular * highlight).clamp_max(1.0)

    def _vertex_normals(self, vertices: Tensor) -> Tensor:
        """The mean normal of the faces around each vertex, weighted by area."""
        across = _across(vertices[:, self.faces])
        # A sum over a table and not a scattered one, which on a GPU adds in any order.
        return normalize(pad(across, (0, 0, 0, 1))[:, self._around].sum(2), dim=-1, eps=_TINY)

    def _follow(self, device: torch.device) -> None:
        if self.faces.device != device:
            self.faces, self._around = self.faces.to(device), self._around.to(device)


def faces_around(faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "vertices most"]:
    """The faces around each vertex, in rising order; filled up with a number one past the last face."""
    vertex, order = faces.flatten().sort(stable=True)
    count = vertex.bincount()
    first = count.cumsum(0) - count
    table = torch.full((len(count), int(count.max())), len(faces), device=faces.device)
    table[vertex, torch.arange(len(vertex), device=faces.device) - first[vertex]] = order // 3
    return table


def _across(corners: Tensor) -> Tensor:
    """Normals of triangles `[..., 3, 3]`, as long as twice their area."""
    a, b, c = corners.unbind(-2)
    return torch.linalg.cross(b - a, c - a)


def _interpolate(values: Tensor, corners: Tensor, across: Tensor, point: Tensor) -> Tensor:
    """Values of the corners at a point of each triangle, by the areas of the triangles opposite them."""
    to = corners - point[:, None]
    opposite = torch.linalg.cross(to.roll(-1, 1), to.roll(-2, 1))
    weight = (opposite * across[:, None]).sum(-1, keepdim=True).clamp_min(0.0)
    return (weight * values).sum(1) / weight.sum(1).clamp_min(_TINY)
