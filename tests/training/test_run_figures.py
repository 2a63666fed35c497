"""The two pictures of a run: every target has its marks and its word, and nothing is cut off."""

import io
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image

from dg.augment.viewpoint import QUANTITIES
from dg.methods.diagnosis import Diagnosis
from dg.pose.skeleton import H36M_17
from dg.training.run_figure import draw_run
from dg.training.view_log import ViewLog
from tests.cases import mostly_long

PICTURES_ARE_DRAWN = True  # see tests/conftest.py


def seen(names, seed=0) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {name: {q: 30 * torch.rand(50, generator=generator) for q in QUANTITIES} for name in names}


def view_log(targets: list[str], augmented: bool) -> ViewLog:
    log = ViewLog.__new__(ViewLog)  # as after its last look
    log.known = seen(["source", *targets])
    log.last = None
    if augmented:
        figures = dict.fromkeys((f.name for f in fields(Diagnosis)), 1.0)
        log.last = Diagnosis(**figures | {"views": seen(["augmented"], 1)["augmented"], "warnings": {}})
    return log


def details(targets: list[str]) -> dict:
    found = {
        "joints": {name: 100.0 + 2 * number for number, name in enumerate(H36M_17.joints)},
        "elevation": [{"from_deg": at, "mpjpe_mm": 90.0 + at} for at in range(-30, 60, 10)],
    }
    return {"epoch": 3, "targets": dict.fromkeys(targets, found)}


def ink(picture: bytes) -> np.ndarray:
    """Where a picture is not white."""
    with Image.open(io.BytesIO(picture)) as opened:
        return np.asarray(opened.convert("L")) < 250


@pytest.mark.parametrize("count", mostly_long([1, 2, 9], [1, 9]))
@pytest.mark.parametrize("augmented", [True, False], ids=["augmented", "plain"])
def test_nothing_touches_the_border_however_many_targets_there_are(count, augmented):
    targets = [f"a target of a long name {number}" for number in range(count)]
    log = view_log(targets, augmented)
    pictures = [draw_run(details(targets), log)] + [log.figure()] * augmented
    for picture in pictures:
        drawn = ink(picture)
        assert drawn.any()
        assert not drawn[[0, 1, -2, -1]].any()
        assert not drawn[:, [0, 1, -2, -1]].any()


def test_without_results_or_augmented_poses_there_is_no_picture():
    assert draw_run({}, view_log(["near"], True)) is None
    assert view_log(["near"], False).figure() is None
