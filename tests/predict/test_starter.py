"""The lifter that comes with the package: what it is, what it says of itself, and people of human proportions."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dg.predict import __main__ as predict
from dg.predict.starter import STARTER, starter_facts, starter_note
from dg.trained.stored import load_checkpoint
from tests.images.keypoint_files import coco

STREET = Path(__file__).resolve().parents[3] / "shared/data/keypoints/street_mediapipe.json"
CPU = ["device=cpu", "threads=1", "picture=false"]


def width(person: dict, names: list[str], joint: str) -> float:
    places = [np.array(person["joints_3d_m"][names.index(f"{side}_{joint}")]) for side in ("left", "right")]
    return float(np.linalg.norm(places[0] - places[1]))


def test_it_is_small_takes_xy_at_17_joints_and_names_no_place():
    stored = load_checkpoint(STARTER)
    config = stored.config
    assert STARTER.stat().st_size < 1.5e6
    assert (config.inputs, config.skeleton, config.frames, config.needs_depth) == ("xy", "h36m_17", 1, False)
    assert not re.findall(r'"/\w+', json.dumps(stored.recorded.plain()))
    assert config.targets == []


def test_it_says_what_it_is_and_how_wrong(capsys, tmp_path):
    path, _ = coco(tmp_path)
    assert predict.main([f"keypoints={path}", f"out={tmp_path}/out", *CPU]) == 0
    assert starter_note() in capsys.readouterr().out
    errors = starter_facts()["mpjpe_mm"]
    assert {"cmu_h36m", "cmu_3dhp", "uiprmd_3dhp"} <= set(errors)
    assert all(f"{error:.0f} mm on {name}" in starter_note() for name, error in errors.items())


def test_people_who_stand_upright_come_out_upright_and_as_broad_as_people(tmp_path):
    path, _ = coco(tmp_path)
    assert predict.main([f"keypoints={path}", f"out={tmp_path}/out", *CPU]) == 0
    found = json.loads((tmp_path / "out/a.json.json").read_text())
    names = found["joints"]
    for frame in found["frames"]:
        for person in frame["people"]:
            assert 0.22 < width(person, names, "shoulder") < 0.45
            assert 0.14 < width(person, names, "hip") < 0.35
            joints = {name: np.array(j) for name, j in zip(names, person["joints_3d_m"], strict=True) if j is not None}
            assert joints["head"][1] < -0.5 < 0.5 < joints["left_ankle"][1]


@pytest.mark.shared
@pytest.mark.skipif(not STREET.is_file(), reason="needs ../shared")
def test_people_of_a_street_photograph_are_about_as_broad_as_a_detectors_own_3d_says(tmp_path):
    """MediaPipe's own 3D of them: shoulders 0.30 and 0.32 m, hips 0.22 and 0.23 m apart."""
    assert predict.main([f"keypoints={STREET}", f"out={tmp_path}", *CPU]) == 0
    found = json.loads((tmp_path / f"{STREET.name}.json").read_text())
    names = found["joints"]
    people = found["frames"][0]["people"]
    assert len(people) == 2
    for person in people:
        assert 0.23 < width(person, names, "shoulder") < 0.40
        assert 0.17 < width(person, names, "hip") < 0.30
