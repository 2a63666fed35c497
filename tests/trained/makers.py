"""Checkpoints, test sets and scores for tests of lifter files."""

import json

import numpy as np
import torch

from dg import evaluate
from dg.files.checkpoint import save_file
from dg.pose.joint_map import skeleton_named
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import TrainConfig
from dg.trained.description import inputs_of
from dg.training.build import make_lifter, options_for_windows
from tests.datasets.makers import cross_arrays

SMALL = {
    "simple_baseline": ["lifter.width=16", "lifter.blocks=1"],
    "sem_gcn": ["lifter.width=8", "lifter.blocks=1"],
    "st_gcn": ["lifter.width=4"],
    "video_pose_3d": ["lifter.width=16"],
    "pose_former": ["lifter.width=8", "lifter.depth=1", "lifter.heads=2"],
    "motion_bert": ["lifter.width=16", "lifter.depth=1", "lifter.heads=2"],
}


def store(folder, *words: str):
    """A checkpoint as dg.train writes it, of an untrained lifter whose batch norms have seen something."""
    config = parse(["device=cpu", *words])
    torch.manual_seed(1)
    lifter = fresh(config)
    for _ in range(3):
        lifter(torch.randn(8, config.frames, len(lifter.skeleton), lifter.channels))
    save_file(
        folder / "best.pt",
        {"lifter": lifter.state_dict(), "epoch": 3, "run_id": "abc", "config": config.plain()},
    )
    return folder / "best.pt", lifter.eval()


def fresh(config: TrainConfig):
    options = options_for_windows(config, check_plugins(config)["lifter"])
    return make_lifter(config, options, skeleton_named(config.skeleton), inputs_of(config))


def targets(folder) -> str:
    """A small test set, as a word of the command line."""
    np.savez(folder / "people.npz", **cross_arrays())
    return f"targets=[npz:{folder}/people.npz]"


def score(people, tmp_path, *words: str) -> dict:
    out = tmp_path / "result.json"
    assert evaluate.main([*words, people, "tracking.uri=off", f"out={out}"]) == 0
    return json.loads(out.read_text())["results"][0]
