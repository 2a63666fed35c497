"""`detector=mediapipe`: a photograph through MediaPipe to 3D where its environment is there, what is said where not."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from dg.images.mediapipe_detector import VARIABLE, MediaPipeDetector, mediapipe_python
from dg.images.settings import DetectorOptions
from dg.pose.joint_order import LIMBS
from dg.pose.skeleton import H36M_17, MEDIAPIPE_33
from dg.predict import __main__ as predict
from dg.settings.errors import OptionError
from tests.images.photo_maker import photograph, two_people

needs_mediapipe = pytest.mark.skipif(
    mediapipe_python() is None, reason=f"no environment with MediaPipe: name its interpreter in {VARIABLE}"
)
# A portrait in the public domain that comes with Matplotlib.
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def test_without_its_environment_it_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(OptionError, match=r"pip install mediapipe=="):
        MediaPipeDetector(DetectorOptions(detector="mediapipe"))


def test_an_environment_without_mediapipe_is_one_message(monkeypatch):
    import sys

    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(OptionError, match=r"its process ended.*mediapipe"):
        MediaPipeDetector(DetectorOptions(detector="mediapipe"))


@needs_mediapipe
def test_a_picture_of_a_rendered_person_becomes_that_person_in_3d(tmp_path):
    """Its 3D is known: the lifted one has its proportions, and its joints after alignment."""
    photo = photograph(two_people()[:1] - torch.tensor([-0.5, 0.1, 1.2]), 640, 720, 640.0)
    Image.fromarray(photo.rgb).save(tmp_path / "a.png")
    words = [f"{tmp_path}/a.png", "detector=mediapipe", f"out={tmp_path}/out", "device=cpu", "threads=1"]
    assert predict.main(words) == 0
    found = json.loads((tmp_path / "out/a.png.json").read_text())
    assert found["protocol"]["2d"] == "mediapipe"
    (person,) = found["people"]
    assert person["keypoints"]["joints"] == list(MEDIAPIPE_33.joints)
    true = photo.joints_3d[0].numpy() - photo.joints_3d[0, :1].numpy()
    limbs = [n for n, name in enumerate(H36M_17.joints) if name.split("_")[-1] in LIMBS]
    lifted = np.array([person["joints_3d_m"][n] for n in limbs])
    gap = np.linalg.norm(lifted - true[limbs], axis=-1).mean()
    assert gap < 0.13
    flat = np.array([person["joints_2d_px"][n] for n in limbs])
    seen = true[limbs] + photo.joints_3d[0, :1].numpy()
    assert np.abs(flat - (seen[:, :2] / seen[:, 2:] * 640 + [320, 360])).mean() < 15


@needs_mediapipe
def test_a_portrait_without_hips_is_left_out_and_said(tmp_path, capsys):
    words = [str(PORTRAIT), "detector=mediapipe", f"out={tmp_path}", "device=cpu", "threads=1"]
    assert predict.main(words) == 0
    assert "1 people with too few joints left out" in capsys.readouterr().out


@needs_mediapipe
def test_two_people_side_by_side_are_two_and_nobody_is_nobody():
    one = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    detector = MediaPipeDetector(DetectorOptions(detector="mediapipe"))
    try:
        (two, none) = detector([np.concatenate([one, one], 1), np.full_like(one, 200)])
    finally:
        detector.close()
    assert none == []
    noses = sorted(float(person.keypoints[0, 0]) for person in two)
    assert len(noses) == 2
    assert noses[1] - noses[0] == pytest.approx(one.shape[1], rel=0.05)
