"""Loads networks of transformers' own classes from the files of a checkpoint; the precision that they compute in."""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from dg.settings.plugins import OptionError
from render_workers.depth.checkpoint_files import INSTALL, DepthCheckpointError

Precision = Literal["auto", "bfloat16", "float32"]
PRECISIONS = get_args(Precision)
Layout = Literal["auto", "channels_first", "channels_last"]
# ImageNet's, as in the preprocessor_config.json of every published checkpoint; taken where a folder has no such file.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_network(folder: Path, name: str, kind: str) -> Any:  # noqa: ANN401 - transformers is an extra
    """A network in eval mode, float32, without gradients. Only safetensors are read.

    Args:
        folder: of the checkpoint.
        name: of the network's class in transformers.
        kind: the `model_type` that the checkpoint's config must have.

    Raises:
        DepthCheckpointError: for a folder that holds something else, or not all weights.
        OptionError: where transformers is missing.
    """
    loaded = _transformers(folder, name, kind)
    try:
        model, report = loaded.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # damaged files raise errors of json, safetensors, transformers and torch
        raise DepthCheckpointError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error
    # A weight that is not in the file would be random, and only a warning would say so.
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise DepthCheckpointError(f"{folder}: {len(absent)} weights are missing or of another shape: {absent[:5]}")
    return model.eval().requires_grad_(False)


def backbone_width(folder: Path, name: str, kind: str) -> int:
    """The number of channels of the last map of a network's backbone, from its config alone.

    Args:
        folder: of the checkpoint.
        name: of the config's class in transformers.
        kind: the `model_type` that the config must have.

    Raises:
        DepthCheckpointError: for a folder that holds something else.
        OptionError: where transformers is missing.
    """
    loaded = _transformers(folder, name, kind)
    try:
        return int(loaded.from_pretrained(folder, local_files_only=True).backbone_config.hidden_size)
    except Exception as error:
        raise DepthCheckpointError(
            f"{folder}: its config.json cannot be used: {type(error).__name__}: {error}"
        ) from error


def normalisation(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """How a network wants pixels normalised.

    Args:
        folder: of its checkpoint.

    Returns:
        Mean and standard deviation of RGB in [0, 1], `[3, 1, 1]` each.
    """
    path = folder / "preprocessor_config.json"
    chosen = read_json(path) if path.is_file() else {}
    mean, std = chosen.get("image_mean", MEAN), chosen.get("image_std", STD)
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)


def precision_on(device: torch.device, precision: str) -> torch.dtype:
    """The number type of a precision on a device.

    Args:
        device: that computes.
        precision: `auto` is bfloat16 on a GPU and float32 elsewhere.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def layout_on(device: torch.device, layout: Layout) -> torch.memory_format:
    """How the maps of convolutions lie in memory on a device.

    Args:
        device: that computes.
        layout: `auto` is channels_last on a GPU, whose convolutions want it in bfloat16 and TF32, else channels_first.
    """
    last = device.type == "cuda" if layout == "auto" else layout == "channels_last"
    return torch.channels_last if last else torch.contiguous_format


def _transformers(folder: Path, name: str, kind: str) -> Any:  # noqa: ANN401
    """A class of transformers, when the folder holds a model of this kind."""
    try:
        import transformers
        from transformers.utils import logging as transformers_logging

        found = getattr(transformers, name)
    except ImportError as error:
        raise OptionError(f"{kind} networks need the packages of the extra `depth`; {INSTALL}") from error
    holds = read_json(folder / "config.json").get("model_type")
    if holds != kind:
        raise DepthCheckpointError(f"{folder} holds a model of type {holds!r}, expected {kind!r}")
    transformers_logging.disable_progress_bar()
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The content of a checkpoint's JSON file.

    Args:
        path: of the file.

    Raises:
        DepthCheckpointError: for a file that is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DepthCheckpointError(f"{path} is no JSON file: {error}") from error
