"""Depth Anything networks with random weights, of transformers' own classes, saved as a checkpoint is."""

import json
from pathlib import Path

import torch

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def save_depth_anything(folder: Path, metric: bool = True, small: bool = False, seed: int = 0) -> Path:
    """A tiny network, or with `small` one of the size of the published small checkpoints. metric: else relative."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
    from transformers.utils import logging

    logging.disable_progress_bar()
    width, layers, heads = (384, 12, 6) if small else (16, 4, 2)
    backbone = Dinov2Config(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=518 if small else 70,
        patch_size=14, out_indices=[layers * part // 4 for part in (1, 2, 3, 4)], reshape_hidden_states=False,
        initializer_range=0.1,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width,
        neck_hidden_sizes=[48, 96, 192, 384] if small else [8, 8, 8, 8],
        fusion_hidden_size=64 if small else 8, head_hidden_size=32 if small else 8, initializer_range=0.1,
        depth_estimation_type="metric" if metric else "relative", max_depth=20 if metric else 1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DepthAnythingForDepthEstimation(config)
        # Else a relative head, which ends in a ReLU, may be zero for every image.
        torch.nn.init.constant_(model.head.conv3.bias, 0.0 if metric else 5.0)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGENET))
    return folder
