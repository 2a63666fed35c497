"""`rerun=true`: a recording that Rerun reads, and what is said where it is not installed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dg.drawing.viewer import ViewerFrame
from dg.pose.skeleton import H36M_17
from dg.predict import __main__ as predict
from dg.predict.rerun_file import write_rerun
from tests.conftest import STANDING_17
from tests.images import keypoint_files as files

WORDS = [f"size={files.WIDTH}x{files.HEIGHT}", "rerun=true", "page=false", "device=cpu", "threads=1"]


def printed(path) -> str:
    """What Rerun's own program says of a recording."""
    command = [sys.executable, "-m", "rerun_cli", "rrd", "print", "-vv", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_it_it_says_what_to_install_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    path, _ = files.coco(tmp_path)
    assert predict.main([f"keypoints={path}", f"out={tmp_path}/out", *WORDS]) == 2
    said = capsys.readouterr().err
    assert "pip install -c constraints.txt -e '.[rerun]'" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("error")
def test_people_and_pictures_of_a_clip_stand_in_its_recording(tmp_path):
    pytest.importorskip("rerun", reason="needs the extra `rerun`")
    path, truth = files.alphapose(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(files.FRAMES):
        Image.new("RGB", (files.WIDTH, files.HEIGHT), "gray").save(tmp_path / f"photos/{number}.jpg")
    words = [f"keypoints={path}", f"images={tmp_path}/photos", f"out={tmp_path}/out", *WORDS]
    assert predict.main(words) == 0
    said = printed(tmp_path / f"out/{path.name}.rrd")
    for track in truth.tracks:
        assert f"/people/{track}" in said
        assert f"/picture/{track}" in said
    assert "EncodedImage" in said
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.filterwarnings("error")
def test_joints_that_were_not_found_and_people_who_left_are_not_drawn(tmp_path):
    pytest.importorskip("rerun", reason="needs the extra `rerun`")
    pose = np.asarray(STANDING_17, np.float64)
    pose[H36M_17.index("left_wrist")] = np.nan
    write_rerun(tmp_path / "a.rrd", [ViewerFrame([pose], labels=["7"]), ViewerFrame()], H36M_17, 25.0)
    said = printed(tmp_path / "a.rrd")
    assert "Clear" in said
    assert "/people/7" in said
