"""The Depth Anything network (Yang et al., 2024) by itself: batches of images in, depth or disparity out.

Its features (METHODS 4.6: its last map) are the last of the four maps that the backbone hands to the neck, DINOv2's
patches after the final block and layer norm: 384 channels for ViT-S, a cell for each 14 x 14 pixels of its input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from dg.pose.devices import constant
from render_workers.depth.pretrained import (
    Layout,
    backbone_width,
    layout_on,
    load_network,
    normalisation,
    precision_on,
    read_json,
)
from render_workers.feature_maps import FeatureMap, join_maps

PATCH_PX = 14
_CLASS, _KIND, _METRIC = "DepthAnythingForDepthEstimation", "depth_anything", "metric"


class DepthAnythingNetwork:
    """One copy of the weights; it follows its input to the input's device, once.

    Attributes:
        folder: folder of the checkpoint, with safetensors (pickles are never read).
        input_px: the shorter side of what the network sees, a multiple of 14.
        batch: images at once.
        precision: auto is bfloat16 on a GPU and float32 elsewhere.
        compiled: whether torch compiles the backbone at the first images, for `batch` of them: fewer are filled up.
        layout: how the maps of neck and head lie in memory; auto is channels_last on a GPU, else channels_first.
        metric: whether it answers metres, up to max_depth; else disparity up to scale and shift, larger for what is
            nearer.

    Raises:
        DepthCheckpointError: a folder that holds something else.
        OptionError: transformers is not installed.
    """

    def __init__(
        self,
        folder: Path,
        input_px: int = 140,
        batch: int = 256,
        precision: str = "auto",
        compiled: bool = False,
        layout: Layout = "auto",
    ) -> None:
        self.input_px, self.batch, self.precision, self.compiled = input_px, batch, precision, compiled
        self.layout: Layout = layout
        self.model = load_network(folder, _CLASS, _KIND)
        _keep_positions(self.model.backbone.embeddings)
        if compiled:
            self.model.backbone.compile(dynamic=False)
        self.model.head.register_forward_pre_hook(_in_float32)
        self.model.neck.register_forward_pre_hook(self._keep)
        self.metric = self.model.config.depth_estimation_type == _METRIC
        self.mean, self.std = normalisation(folder)
        self._device: torch.device | None = None
        self._patches: Tensor | None = None

    @torch.no_grad()
    def __call__(self, rgb: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        """rgb: in [0, 1]. Answers at the images' own size, float32."""
        self._follow(rgb.device)
        return torch.cat([self._forward(part)[0] for part in rgb.split(self.batch)])

    @torch.no_grad()
    def with_map(
        self, rgb: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch height width"], FeatureMap]:
        """The same answer and, of the same pass, the backbone's last feature map: one cell a patch."""
        self._follow(rgb.device)
        depths, maps = zip(*[self._forward(part) for part in rgb.split(self.batch)], strict=True)
        return torch.cat(depths), join_maps(maps)

    def _forward(self, rgb: Tensor) -> tuple[Tensor, FeatureMap]:
        size = input_size(rgb.shape[2], rgb.shape[3], self.input_px)
        images = len(rgb)
        # Rendered bodies are grey, one channel seen three times: it is resized once.
        seen = rgb[:, :1] if rgb.stride(1) == 0 else rgb
        # With antialiasing torch's bicubic filter is that of PIL, by which the checkpoints' image processor resizes.
        fitted = seen if rgb.shape[2:] == size else interpolate(seen, size, mode="bicubic", antialias=True)
        pixels = ((fitted - self.mean) / self.std).to(precision_on(rgb.device, self.precision))
        if self.compiled and images < self.batch:
            # A compiled network is one for its batch: others would be compiled anew.
            pixels = torch.cat([pixels, pixels[-1:].expand(self.batch - images, -1, -1, -1)])
        answer = self.model(pixels).predicted_depth.float()[:images, None]
        if answer.shape[2:] != rgb.shape[2:]:
            answer = interpolate(answer, rgb.shape[2:], mode="bilinear", align_corners=False)
        return answer[:, 0], self._map(rgb, size)

    def _keep(self, _neck: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        """The last of the backbone's maps as a sequence of patches, without the token of the whole image."""
        self._patches = inputs[0][-1][:, 1:]

    def _map(self, rgb: Tensor, size: tuple[int, int]) -> FeatureMap:
        assert self._patches is not None
        rows, columns = size[0] // PATCH_PX, size[1] // PATCH_PX
        values = self._patches[: len(rgb)].transpose(1, 2).unflatten(2, (rows, columns))
        self._patches = None
        # Resizing keeps the image's edges where they are, and patches cover what it makes from edge to edge.
        scale = constant((columns / rgb.shape[3], rows / rgb.shape[2]), rgb.device).expand(len(rgb), 2)
        return FeatureMap(values, scale, torch.zeros_like(scale))

    def _follow(self, device: torch.device) -> None:
        if self._device == device:
            return
        self._device, dtype = device, precision_on(device, self.precision)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        self.model.to(device)
        # The head stays in float32: of twenty metres bfloat16 tells apart some three centimetres at five.
        for part in (self.model.backbone, self.model.neck):
            part.to(dtype)
        # Convolutions answer in the layout of their weights, and what lies between keeps it.
        for part in (self.model.neck, self.model.head):
            part.to(memory_format=layout_on(device, self.layout))


def _keep_positions(embeddings: torch.nn.Module) -> None:
    """Let DINOv2 resize its position embeddings once for each size of image, not at every batch."""
    resize: Callable[..., Tensor] = embeddings.interpolate_pos_encoding  # type: ignore[assignment]
    kept: dict[tuple[Any, ...], Tensor] = {}

    def resized(patches: Tensor, height: int, width: int) -> Tensor:
        key = patches.shape[1], height, width, patches.dtype, patches.device
        if key not in kept:
            kept[key] = resize(patches, height, width)
        return kept[key]

    embeddings.interpolate_pos_encoding = resized  # type: ignore[assignment]


def feature_width(folder: Path) -> int:
    """Channels of the feature map. Raises as loading the network does."""
    return backbone_width(folder, "DepthAnythingConfig", _KIND)


def answers_metres(folder: Path) -> bool:
    """Whether the checkpoint's network answers metres, and not disparity.

    Args:
        folder: of the checkpoint; only its config.json is read.

    Raises:
        DepthCheckpointError: for a config.json that is no JSON.
    """
    return read_json(folder / "config.json").get("depth_estimation_type") == _METRIC


def input_size(height: int, width: int, input_px: int) -> tuple[int, int]:
    """What an image is resized to: the shorter side to `input_px`, the longer in proportion, to multiples of 14.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        input_px: the shorter side's wanted length.

    Returns:
        Height and width, pixels.
    """
    scale = input_px / (PATCH_PX * min(height, width))
    return max(round(height * scale), 1) * PATCH_PX, max(round(width * scale), 1) * PATCH_PX


def _in_float32(_head: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    features, *rest = inputs
    return ([feature.float() for feature in features], *rest)
