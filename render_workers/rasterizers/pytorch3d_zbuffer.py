"""PyTorch3D's rasteriser and its hard shaders behind the same seam as Warp's (DESIGN 5.4).

PyTorch3D looks along z as we do, but its x points left and its y up: vertices are turned by 180 degrees about z, which
is a rotation and keeps outside outside. Its z-buffer is then our z in metres, with pixel centres at + 0.5, and -1 for
background. It is not on the package registry and is built by the user (docs/depth.md).
"""

from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.settings.plugins import OptionError
from render_workers.base import BACKGROUND, Rasterizer
from render_workers.shading import SHININESS, Look

INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/pytorch3d.git@stable'"
TURN = (-1.0, -1.0, 1.0)


class PyTorch3DZBuffer(Rasterizer):
    """Exact, on one face a pixel: no blur, no bins. Faces that reach behind the camera are PyTorch3D's to skip.

    Args:
        faces: vertex numbers of each triangle, facing outward.
        device: device of the vertices to come.

    Raises:
        OptionError: PyTorch3D is not installed.
    """

    def __init__(self, faces: Int[Tensor, "faces 3"], device: torch.device | str = "cpu") -> None:
        _import("renderer")
        self.device = torch.device(device)
        self.faces = faces.to(self.device).long()

    def zbuffer(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> tuple[Float[Tensor, "batch height width"], Int[Tensor, "batch height width"]]:
        """Rasterise with PyTorch3D and convert its depth and face numbers to the convention of `Rasterizer`."""
        meshes, cameras = self._scene(vertices, focal_px, center_px, resolution)
        fragments = self._fragments(meshes, cameras, resolution)
        return metres(fragments.zbuf[..., 0]), face_numbers(fragments.pix_to_face[..., 0], len(self.faces))

    def shaded(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
        look: Look,
    ) -> tuple[Float[Tensor, "batch height width"], Float[Tensor, "batch 3 height width"]]:
        """The z-buffer, and the picture that HardPhongShader (HardFlatShader for flat normals) makes of it."""
        meshes, cameras = self._scene(vertices, focal_px, center_px, resolution)
        renderer = _import("renderer")
        grey = torch.full_like(vertices, look.albedo)
        meshes.textures = renderer.TexturesVertex(verts_features=grey)
        fragments = self._fragments(meshes, cameras, resolution)
        kind = renderer.HardFlatShader if look.normals == "flat" else renderer.HardPhongShader
        shader = kind(
            device=self.device,
            cameras=cameras,
            lights=renderer.PointLights(**light_arguments(look), device=self.device),
            materials=renderer.Materials(shininess=SHININESS, device=self.device),
            blend_params=renderer.BlendParams(background_color=(look.background,) * 3),
        )
        image = shader(fragments, meshes)[..., :3].clamp(0.0, 1.0)
        return metres(fragments.zbuf[..., 0]), image.permute(0, 3, 1, 2)

    def _scene(self, vertices: Tensor, focal_px: Tensor, center_px: Tensor, resolution: int) -> tuple[Any, Any]:
        faces = self.faces.expand(len(vertices), -1, -1)
        arguments = camera_arguments(focal_px, center_px, resolution)
        cameras = _import("renderer").PerspectiveCameras(**arguments, device=self.device)
        return _import("structures").Meshes(turned(vertices), faces), cameras

    def _fragments(self, meshes: Any, cameras: Any, resolution: int) -> Any:  # noqa: ANN401 - PyTorch3D's own classes
        renderer = _import("renderer")
        settings = renderer.RasterizationSettings(
            image_size=resolution, blur_radius=0.0, faces_per_pixel=1, bin_size=0, cull_backfaces=False
        )
        return renderer.MeshRasterizer(cameras, settings)(meshes)


def turned(points: Float[Tensor, "*axes 3"]) -> Float[Tensor, "*axes 3"]:
    """From our axes (x right, y down, z forward) to PyTorch3D's (x left, y up, z forward), and back."""
    return points * points.new_tensor(TURN)


def camera_arguments(
    focal_px: Float[Tensor, "batch 2"], center_px: Float[Tensor, "batch 2"], resolution: int
) -> dict[str, Any]:
    """Of PerspectiveCameras: intrinsics in pixels of a square image; camera and world are one.

    Args:
        focal_px: focal lengths in x and y, pixels.
        center_px: principal points, pixels.
        resolution: the image's side, pixels.
    """
    size = focal_px.new_full((len(focal_px), 2), float(resolution))
    return {"focal_length": focal_px, "principal_point": center_px, "image_size": size, "in_ndc": False}


def light_arguments(look: Look) -> dict[str, Any]:
    """Of PointLights: one light in the camera's place."""
    colours = {"ambient": look.ambient, "diffuse": 1 - look.ambient, "specular": look.specular}
    return {f"{name}_color": ((value,) * 3,) for name, value in colours.items()} | {"location": ((0.0, 0.0, 0.0),)}


def metres(zbuf: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """Our z-buffer from PyTorch3D's: -1, for background, becomes inf."""
    return torch.where(zbuf < 0, BACKGROUND, zbuf)


def face_numbers(pix_to_face: Int[Tensor, "batch height width"], faces: int) -> Int[Tensor, "batch height width"]:
    """Numbers within each mesh from those that PyTorch3D counts through the batch; -1, for background, stays."""
    return torch.where(pix_to_face < 0, -1, pix_to_face % faces)


def _import(part: str) -> Any:  # noqa: ANN401 - a module that pyright cannot see where it is not installed
    try:
        return import_module(f"pytorch3d.{part}")
    except ImportError as error:
        raise OptionError(
            f"rasterizer=pytorch3d needs PyTorch3D, which is built from its repository: {INSTALL} (docs/depth.md); "
            "rasterizer=warp needs nothing more and gives the same depth"
        ) from error
