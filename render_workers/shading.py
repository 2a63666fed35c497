"""Grey pictures of bodies under a headlight, for people to look at: faces turned to the camera are bright."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

AMBIENT, HEADLIGHT = 0.15, 0.65
BACKGROUND_GREY = 1.0


def headlight(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    seen: Int[Tensor, "batch height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """RGB in [0, 1] of what a rasteriser saw; `seen` holds face numbers, -1 for background."""
    corners = vertices[:, faces.long()]
    normal = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    ray = corners.mean(2)
    towards = (normal * ray).sum(-1).abs() / (normal.norm(dim=-1) * ray.norm(dim=-1)).clamp_min(1e-12)
    brightness = AMBIENT + HEADLIGHT * towards
    flat = seen.flatten(1).long()
    grey = torch.where(flat < 0, BACKGROUND_GREY, brightness.gather(1, flat.clamp_min(0)))
    return grey.view(len(seen), 1, *seen.shape[1:]).expand(-1, 3, -1, -1)
