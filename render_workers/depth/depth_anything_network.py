"""The Depth Anything network (Yang et al., 2024) by itself: batches of images in, depth or disparity out."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from dg.plugins import OptionError
from render_workers.depth.checkpoint_files import INSTALL, DepthCheckpointError

PATCH_PX = 14
PRECISIONS = ("auto", "bfloat16", "float32")
# ImageNet's, as in the preprocessor_config.json of every published checkpoint; taken where a folder has no such file.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnythingNetwork:
    """One copy of the weights; it follows its input to the input's device, once.

    folder: of the checkpoint, with safetensors (pickles are never read). input_px: the shorter side of what the network
    sees, a multiple of 14. batch: images at once. precision: auto is bfloat16 on a GPU and float32 elsewhere.
    metric: it answers metres, up to max_depth; else disparity up to scale and shift, larger for what is nearer.
    Raises DepthCheckpointError for a folder that holds something else, OptionError where transformers is missing.
    """

    def __init__(self, folder: Path, input_px: int = 140, batch: int = 256, precision: str = "auto") -> None:
        self.input_px, self.batch, self.precision = input_px, batch, precision
        self.model = _load(folder)
        self.metric = self.model.config.depth_estimation_type == "metric"
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in _normalisation(folder))
        self._device: torch.device | None = None

    @torch.no_grad()
    def __call__(self, rgb: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        """rgb: in [0, 1]. Answers at the images' own size, float32."""
        self._follow(rgb.device)
        return torch.cat([self._forward(part) for part in rgb.split(self.batch)])

    def _forward(self, rgb: Tensor) -> Tensor:
        size = input_size(rgb.shape[2], rgb.shape[3], self.input_px)
        # With antialiasing torch's bicubic filter is that of PIL, by which the checkpoints' image processor resizes.
        fitted = rgb if rgb.shape[2:] == size else interpolate(rgb, size, mode="bicubic", antialias=True)
        pixels = (fitted - self.mean) / self.std
        answer = self.model(pixels.to(self._dtype(rgb.device))).predicted_depth.float()[:, None]
        if answer.shape[2:] != rgb.shape[2:]:
            answer = interpolate(answer, rgb.shape[2:], mode="bilinear", align_corners=False)
        return answer[:, 0]

    def _dtype(self, device: torch.device) -> torch.dtype:
        if self.precision == "auto":
            return torch.bfloat16 if device.type == "cuda" else torch.float32
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def _follow(self, device: torch.device) -> None:
        if self._device == device:
            return
        self._device, dtype = device, self._dtype(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        self.model.to(device)
        # The head stays in float32: of twenty metres bfloat16 tells apart some three centimetres at five.
        for part in (self.model.backbone, self.model.neck):
            part.to(dtype)


def input_size(height: int, width: int, input_px: int) -> tuple[int, int]:
    """What an image is resized to: the shorter side to `input_px`, the longer in proportion, to multiples of 14."""
    scale = input_px / (PATCH_PX * min(height, width))
    return max(round(height * scale), 1) * PATCH_PX, max(round(width * scale), 1) * PATCH_PX


def _load(folder: Path) -> Any:  # noqa: ANN401 - transformers is an extra
    try:
        from transformers import DepthAnythingForDepthEstimation
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise OptionError(f"depth=depth_anything_v2 needs the packages of the extra `depth`; {INSTALL}") from error
    kind = _read_json(folder / "config.json").get("model_type")
    if kind != "depth_anything":
        raise DepthCheckpointError(f"{folder} holds a model of type {kind!r}, expected 'depth_anything'")
    transformers_logging.disable_progress_bar()
    try:
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # damaged files raise errors of json, safetensors, transformers and torch
        raise DepthCheckpointError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error
    model, report = loaded
    # A weight that is not in the file would be random, and only a warning would say so.
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise DepthCheckpointError(f"{folder}: {len(absent)} weights are missing or of another shape: {absent[:5]}")
    model.eval().requires_grad_(False)
    model.head.register_forward_pre_hook(_in_float32)
    return model


def _in_float32(_head: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    features, *rest = inputs
    return ([feature.float() for feature in features], *rest)


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    chosen = _read_json(path) if path.is_file() else {}
    return tuple(chosen.get("image_mean", MEAN)), tuple(chosen.get("image_std", STD))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DepthCheckpointError(f"{path} is no JSON file: {error}") from error
