"""Tiny RT-DETR and ViTPose networks with random weights, of transformers' own classes, saved as checkpoints are."""

import json
from pathlib import Path

import torch

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


LABELS = ("person", "bicycle")


def save_rt_detr(folder: Path, version: int = 2, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Path:
    """It sees images of 64 x 64 and answers at most 12 boxes, all of them with scores near one half."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config_class, model_class = (
        (transformers.RTDetrV2Config, transformers.RTDetrV2ForObjectDetection)
        if version == 2
        else (transformers.RTDetrConfig, transformers.RTDetrForObjectDetection)
    )
    config = config_class(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, num_queries=12, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16,
        decoder_layers=2, decoder_attention_heads=2, num_denoising=0, initializer_bias_prior_prob=0.5,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    settings = {
        "image_processor_type": "RTDetrImageProcessor",
        "size": {"height": 64, "width": 64},
        "do_normalize": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def save_vit_pose(folder: Path, experts: int = 1, keypoints: int = 17, seed: int = 0) -> Path:
    """It sees crops of 64 x 48."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.utils import logging

    logging.disable_progress_bar()
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_experts=experts, part_features=4 if experts > 1 else 0, out_features=["stage2"],
    )  # fmt: skip
    config = VitPoseConfig(backbone_config=backbone, num_labels=keypoints, initializer_range=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        VitPoseForPoseEstimation(config).save_pretrained(folder)
    settings = {"image_processor_type": "VitPoseImageProcessor", "size": {"height": 64, "width": 48}, **IMAGENET}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
