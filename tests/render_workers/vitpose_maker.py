"""ViTPose networks with random weights, of transformers' own classes, saved as a checkpoint is."""

from pathlib import Path

import torch


def save_vitpose(folder: Path, seed: int = 0, experts: int = 1) -> Path:
    """A tiny network for crops of 64 x 48 pixels: a map of 4 x 3 cells, 12 channels."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.utils import logging

    logging.disable_progress_bar()
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
        out_indices=[2], initializer_range=0.1, num_experts=experts, part_features=4,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17))
    model.save_pretrained(folder)
    return folder
