"""A 2D pose network's features (METHODS 4.6): ViTPose (Xu et al., NeurIPS 2022), of which only the backbone runs.

METHODS has RTMPose's last map, 1024 channels; transformers carries ViTPose, whose last map has 768 for ViT-B: the
patches after the final block and layer norm, which is what its head turns into heatmaps.
It sees the person as its own image processor cuts it out: the box of the joints, widened to the network's aspect, 1.25
times as large, resized bilinearly. Here the box's edges go to the input's edges, there to the centres of the outermost
pixels, so the two differ by up to half a pixel of the input. What lies beyond the image looks like its border.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from dg.pose.devices import constant
from render_workers.depth.pretrained import backbone_width, load_network, normalisation, precision_on
from render_workers.feature_maps import FeatureMap, join_maps

POSE_OPTION = "pose_network"
BOX_PADDING = 1.25
SMALLEST_BOX_PX = 1.0
_CLASS, _KIND = "VitPoseForPoseEstimation", "vitpose"
# Networks of ViTPose+ have experts; the first is COCO's.
_COCO_EXPERT = 0


class PoseNetwork:
    """One copy of the backbone; it follows its input to the input's device, once.

    Args:
        folder: folder of the checkpoint, with safetensors.
        batch: people at once.
        precision: auto is bfloat16 on a GPU and float32 elsewhere.

    Raises:
        DepthCheckpointError: a folder that holds something else.
        OptionError: transformers is not installed.
    """

    def __init__(self, folder: Path, batch: int = 256, precision: str = "auto") -> None:
        self.batch, self.precision = batch, precision
        self.backbone = load_network(folder, _CLASS, _KIND).backbone
        self.mean, self.std = normalisation(folder)
        patch = self.backbone.embeddings.patch_embeddings
        self.height, self.width = patch.image_size
        stride, padding = patch.projection.stride, patch.projection.padding
        self.stride, self.padding = torch.tensor(stride[::-1]), torch.tensor(padding[::-1])
        self.cells = self.height // patch.patch_size[0], self.width // patch.patch_size[1]
        self._device: torch.device | None = None

    @torch.no_grad()
    def __call__(
        self, rgb: Float[Tensor, "batch 3 height width"], joints_px: Float[Tensor, "batch joints 2"]
    ) -> FeatureMap:
        """The map of one person in each image, over the image's pixels. rgb: in [0, 1]. joints_px: what to cut out."""
        self._follow(rgb.device)
        parts = zip(rgb.split(self.batch), joints_px.split(self.batch), strict=True)
        return join_maps([self._forward(*part) for part in parts])

    def _forward(self, rgb: Tensor, joints_px: Tensor) -> FeatureMap:
        corner, zoom = self.window(joints_px)
        pixels = (cut(rgb, corner, zoom, (self.height, self.width)) - self.mean) / self.std
        expert = {}
        if self.backbone.config.num_experts > 1:
            expert["dataset_index"] = torch.full((len(rgb),), _COCO_EXPERT, device=rgb.device)
        patches = self.backbone(pixels.to(precision_on(rgb.device, self.precision)), **expert).feature_maps[-1]
        values = patches.transpose(1, 2).unflatten(2, self.cells)
        # The patches begin in the padding around the input: a cell's centre is not where an even division puts it.
        return FeatureMap(values, zoom / self.stride, (self.padding - corner * zoom) / self.stride)

    def window(
        self, joints_px: Float[Tensor, "batch joints 2"]
    ) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch 1"]]:
        """What the network sees of each image: its upper left corner, and pixels of the input in one of the image."""
        low, high = joints_px.amin(1), joints_px.amax(1)
        size = constant((self.width, self.height), low.device, low.dtype)
        share = ((high - low).clamp_min(SMALLEST_BOX_PX) / size).amax(-1, keepdim=True) * BOX_PADDING
        return (low + high) / 2 - size * share / 2, 1 / share

    def _follow(self, device: torch.device) -> None:
        if self._device == device:
            return
        self._device = device
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        self.stride, self.padding = self.stride.to(device), self.padding.to(device)
        self.backbone.to(device, precision_on(device, self.precision))


def cut(
    rgb: Float[Tensor, "batch 3 height width"],
    corner: Float[Tensor, "batch 2"],
    zoom: Float[Tensor, "batch 1"],
    size: tuple[int, int],
) -> Float[Tensor, "batch 3 rows columns"]:
    """Cut windows out of images by bilinear sampling, with the border's colour beyond the border.

    Args:
        rgb: images to cut from.
        corner: first corner of each window, pixels of its image.
        zoom: pixels of the window for each pixel of the image.
        size: rows and columns of the answer.
    """
    rows, columns = (torch.arange(n, device=rgb.device) + 0.5 for n in size)
    inside = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    points = corner[:, None, None] + inside / zoom[:, None, None]
    grid = 2 * points / constant((rgb.shape[3], rgb.shape[2]), points.device, points.dtype) - 1
    return grid_sample(rgb, grid, "bilinear", "border", align_corners=False)


def pose_feature_width(folder: Path) -> int:
    """Channels of the map. Raises as loading the network does."""
    return backbone_width(folder, "VitPoseConfig", _KIND)
