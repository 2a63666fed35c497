"""What is extracted in one process: right values, right rows, nothing lost, whatever the images are."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dg.extract_depth import shard
from dg.extract_depth.__main__ import main
from dg.extract_depth.shard import TRIES
from dg.files.safe_load import load_npz
from dg.images.detector import PersonPoseDetector
from dg.images.people import to_skeleton
from dg.images.reading import read_image
from dg.images.settings import DetectorOptions
from dg.pose.skeleton import H36M_17
from render_workers.depth.depth_anything_network import DepthAnythingNetwork
from tests.extract_depth.photos import people_in, slow_depths, write_photos
from tests.images.detector_maker import save_rt_detr, save_vit_pose
from tests.render_workers.depth_anything_maker import save_depth_anything

INPUT_PX = 42


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return save_depth_anything(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> Path:
    return save_depth_anything(tmp_path_factory.mktemp("relative"), metric=False)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    names = write_photos(folder, 30)
    np.savez(tmp_path / "people.npz", **people_in(names, folder))
    return folder


def words(photos: Path, network: Path, *more: str) -> list[str]:
    parent = photos.parent
    given = [
        f"images={photos}", f"keypoints={parent / 'people.npz'}", f"out={parent / 'depth.npz'}", "workers=0",
        f"depth.checkpoint={network}", f"depth.input_px={INPUT_PX}", "shard=4", "batch=3", "device=cpu",
    ]  # fmt: skip
    keys = {word.partition("=")[0] for word in more}
    return [word for word in given if word.partition("=")[0] not in keys] + list(more)


def report(photos: Path) -> dict:
    return json.loads((photos.parent / "depth.npz.report.json").read_text())


def test_every_value_equals_one_image_and_one_joint_at_a_time(photos, network):
    assert main(words(photos, network)) == 0
    found, people = load_npz(photos.parent / "depth.npz"), load_npz(photos.parent / "people.npz")
    slow = DepthAnythingNetwork(network, INPUT_PX, 1)
    names = [name.decode() for name in found["images"]]
    assert [names[i] for i in found["image"]] == people["image"].tolist()
    assert len(found["image"]) == 36
    for row, name in enumerate(people["image"]):
        joints, confidence = people["joints_2d"][row], people["confidence"][row]
        wanted = slow_depths(photos / name, joints, confidence, slow)
        got = np.stack([found[kind][row] for kind in ("depth", "nearest", "farthest")], -1)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
        assert tuple(found["size"][found["image"][row]]) == Image.open(photos / name).size
    assert np.isnan(found["depth"]).sum() == np.isnan(people["joints_2d"][..., 0]).sum() > 0
    np.testing.assert_array_equal(found["joints_2d"], people["joints_2d"])
    provenance = json.loads(str(found["provenance"]))
    assert provenance["unit"] == "m"
    assert provenance["radius"] == {"mode": "linear", "r_min": 3.0, "r_max": 30.0}
    assert str(photos.parent) not in str(found["provenance"])
    assert not (photos.parent / "depth.npz.parts").exists()


def test_depth_right_at_the_joints_and_half_precision(photos, network):
    assert main(words(photos, network, "inputs=xyd")) == 0
    exact = load_npz(photos.parent / "depth.npz")
    assert "nearest" not in exact
    (photos.parent / "depth.npz").unlink()
    assert main(words(photos, network, "inputs=xyd", "dtype=float16")) == 0
    half = load_npz(photos.parent / "depth.npz")
    assert half["depth"].dtype == np.float16
    np.testing.assert_array_equal(half["depth"], exact["depth"].astype(np.float16))


def test_images_that_cannot_be_read_are_left_out_and_listed(photos, network, capsys):
    whole = (photos / "a/3.png").read_bytes()
    (photos / "a/3.png").write_bytes(whole[: len(whole) // 2])
    (photos / "a/4.png").write_bytes(b"")
    (photos / "b/20.png").write_text("no image")
    (photos / "b/21.png").unlink()
    Image.new("RGB", (30, 96)).save(photos / "b/22.png")
    people = load_npz(photos.parent / "people.npz")
    np.savez(photos.parent / "people.npz", **people, size=[Image.open(photos / "a/0.png").size])  # wrong on purpose
    assert main(words(photos, network)) == 4
    assert "size: expected" in capsys.readouterr().err
    np.savez(photos.parent / "people.npz", **people)
    assert main(words(photos, network, "max_unreadable=0.5")) == 0
    said, listed = capsys.readouterr().out, report(photos)
    assert "warning: 3 unreadable, 1 missing" in said
    assert set(listed["unreadable"]) == {"a/3.png", "a/4.png", "b/20.png"}
    assert listed["unreadable"]["a/4.png"] == "the file is empty"
    assert set(listed["missing"]) == {"b/21.png"}
    assert listed["counts"]["fine"] == 26
    found = load_npz(photos.parent / "depth.npz")
    lost = np.isin(people["image"], ["a/3.png", "a/4.png", "b/20.png", "b/21.png"])
    assert np.isnan(found["depth"][lost]).all()
    assert np.isfinite(found["depth"][~lost]).any(-1).all()


def test_too_many_failures_are_exit_code_4_and_the_file_is_there_all_the_same(photos, network, capsys):
    for name in ("a/0.png", "a/1.png", "a/2.png", "a/3.png"):
        (photos / name).write_bytes(b"")
    assert main(words(photos, network)) == 4
    assert "13% of the images failed" in capsys.readouterr().err
    assert (photos.parent / "depth.npz").is_file()


def test_keypoints_that_name_other_images_are_exit_code_4(photos, network, capsys):
    people = load_npz(photos.parent / "people.npz")
    np.savez(photos.parent / "people.npz", **{**people, "image": np.char.add("x", people["image"])})
    assert main(words(photos, network)) == 4
    assert "30 missing" in capsys.readouterr().err
    assert report(photos)["counts"]["without_keypoints"] == 30


def test_keypoints_of_larger_images_are_brought_to_the_size_of_these(photos, network):
    assert main(words(photos, network)) == 0
    plain = load_npz(photos.parent / "depth.npz")
    people = load_npz(photos.parent / "people.npz")
    sizes = np.array([Image.open(photos / name).size for name in people["image"]]) * 2
    np.savez(photos.parent / "people.npz", **{**people, "joints_2d": people["joints_2d"] * 2}, size=sizes)
    (photos.parent / "depth.npz").unlink()
    assert main(words(photos, network)) == 0
    np.testing.assert_array_equal(load_npz(photos.parent / "depth.npz")["depth"], plain["depth"])
    np.savez(photos.parent / "people.npz", **people, size=sizes * [1, 2])
    (photos.parent / "depth.npz").unlink()
    assert main(words(photos, network)) == 4
    assert "keypoints were made on" in next(iter(report(photos)["unreadable"].values()))


# -- going on


def forked(given: list[str], before_reading) -> int:
    """The command in another process, in which something happens before each image is read; its id."""
    process = os.fork()
    if process:
        return process
    read = shard.read_image
    shard.read_image = lambda path: before_reading(path) or read(path)
    os._exit(main(given))


def bytes_of(photos: Path) -> bytes:
    return (photos.parent / "depth.npz").read_bytes()


def test_a_killed_run_goes_on_to_the_same_bytes(photos, network):
    assert main(words(photos, network)) == 0
    undisturbed = bytes_of(photos)
    (photos.parent / "depth.npz").unlink()
    process = forked(words(photos, network), lambda path: time.sleep(600) if path.name == "29.png" else None)
    parts = photos.parent / "depth.npz.parts"
    journal = parts / "shard-000007.trying"
    deadline = time.monotonic() + 120
    while not (journal.is_file() and "read 1" in journal.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert len(list(parts.glob("shard-*.npz"))) == 7
    (photos / "a/0.png").unlink()  # what is done is not read again
    (photos / "a/0.png").write_bytes(b"")
    assert main(words(photos, network)) == 0
    assert bytes_of(photos) == undisturbed


def test_an_image_that_kills_the_process_is_left_out_after_a_few_attempts(photos, network):
    for attempt in range(TRIES + 1):
        process = forked(words(photos, network), lambda path: os._exit(9) if path.name == "5.png" else None)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == (9 if attempt < TRIES else 0)
    assert report(photos)["unreadable"] == {"a/5.png": f"reading it killed the process {TRIES} times"}
    killed = load_npz(photos.parent / "depth.npz")
    assert np.isnan(killed["depth"][load_npz(photos.parent / "people.npz")["image"] == "a/5.png"]).all()


def test_another_extraction_is_not_mixed_in(photos, network, capsys):
    (photos.parent / "depth.npz.parts").mkdir()
    (photos.parent / "depth.npz.parts/plan.json").write_text(json.dumps({"digest": "x", "provenance": {}}))
    assert main(words(photos, network)) == 2
    assert "belongs to another extraction" in capsys.readouterr().err
    (photos.parent / "depth.npz").write_bytes(b"something")
    assert main(words(photos, network)) == 2
    assert "is there already" in capsys.readouterr().err


# -- relative networks


def test_a_relative_network_needs_a_word_on_its_alignment(photos, relative, network, capsys):
    assert main(words(photos, relative)) == 2
    assert "align=ground" in capsys.readouterr().err
    assert main(words(photos, network, "align=ground", "camera_height=1.6", "focal=1.2")) == 2
    assert "answers metres" in capsys.readouterr().err
    assert main(words(photos, relative, "align=ground")) == 2
    assert "camera_height" in capsys.readouterr().err
    assert main(words(photos, relative, "align=known")) == 2
    assert "`depth`" in capsys.readouterr().err


def test_disparity_that_is_not_aligned_says_so_and_is_nearest_where_it_is_largest(photos, relative):
    assert main(words(photos, relative, "align=off")) == 0
    found = load_npz(photos.parent / "depth.npz")
    assert json.loads(str(found["provenance"]))["unit"] == "disparity"
    known = np.isfinite(found["depth"])
    assert (found["nearest"] >= found["depth"])[known].all()
    assert (found["depth"] >= found["farthest"])[known].all()
    assert (found["nearest"] > found["farthest"])[known].any()


def test_joints_of_known_depth_bring_disparity_to_metres(photos, relative):
    people = load_npz(photos.parent / "people.npz")
    slow = DepthAnythingNetwork(relative, INPUT_PX, 1)
    depth = np.full(people["joints_2d"].shape[:2], np.nan, np.float32)
    for row, name in enumerate(people["image"]):
        seen = slow_depths(photos / name, people["joints_2d"][row], people["confidence"][row], slow)[:, 0]
        depth[row] = 1 / (0.03 * seen + 0.1)
    np.savez(photos.parent / "people.npz", **people, depth=depth)
    assert main(words(photos, relative, "align=known", "max_unreadable=1")) == 0
    found, listed = load_npz(photos.parent / "depth.npz"), report(photos)["not_aligned"]
    fine = ~np.isin(people["image"], list(listed))
    assert fine.sum() > 20
    np.testing.assert_allclose(found["depth"][fine], depth[fine], rtol=2e-3)


def test_help_needs_neither_torch_nor_ray():
    code = "import sys; from dg.extract_depth.__main__ import main; code = main(['--help']); " \
           "assert not {'torch', 'ray', 'transformers'} & set(sys.modules); sys.exit(code)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "max_unreadable" in done.stdout


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("layot=folder", "did you mean 'layout'"), ("layout=folded", "did you mean 'folder'"),
        ("depth.albedo=1", "'depth_anything_v2' has no option 'albedo'"), ("depth.input_px=100", "multiple of 14"),
        ("shard=some", "whole number"), ("detector.person_score=2", "person_score"), ("r_min=40", "r_min"),
        ("depth=zbuffer", "depth must be one of"), ("images", "expected key=value"),
    ],
)  # fmt: skip
def test_wrong_words_are_exit_code_2(photos, network, word, message, capsys):
    assert main(words(photos, network, word)) == 2
    assert message in capsys.readouterr().err


def test_the_network_sees_the_image_as_it_is_read(photos, network):
    """A check of the twin itself: a mirrored picture has another depth."""
    slow = DepthAnythingNetwork(network, INPUT_PX, 1)
    image = torch.from_numpy(read_image(photos / "a/0.png").copy()).permute(2, 0, 1)[None].float() / 255
    assert not torch.allclose(slow(image), slow(image.flip(3)))


# -- detected people


def test_detected_people_give_a_row_for_each_image_with_someone(photos, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    detector, pose = save_rt_detr(folder / "detector", labels=("person",)), save_vit_pose(folder / "pose")
    chosen = [f"detector.detector={detector}", f"detector.pose={pose}", "detector.person_score=0.3"]
    assert main(words(photos, network, "keypoints=detector", *chosen)) == 0
    found, listed = load_npz(photos.parent / "depth.npz"), report(photos)
    names = [name.decode() for name in found["images"]]
    assert len(names) + len(listed["no_person"]) == 30
    assert 0 < len(names) < 30
    detect = PersonPoseDetector(DetectorOptions(str(detector), str(pose), 0.3, device="cpu"))
    slow = DepthAnythingNetwork(network, INPUT_PX, 1)
    for row in (0, len(names) - 1):
        path = photos / names[row]
        (people,) = detect([read_image(path)])
        best = max(people, key=lambda person: person.confidence.mean())
        joints, confidence = to_skeleton(best, H36M_17)
        np.testing.assert_allclose(found["joints_2d"][row], joints, atol=1e-3)
        np.testing.assert_allclose(found["confidence"][row], confidence, atol=1e-5)
        wanted = slow_depths(path, found["joints_2d"][row], found["confidence"][row], slow)
        np.testing.assert_allclose(found["depth"][row], wanted[:, 0], rtol=1e-5)
    assert json.loads(str(found["provenance"]))["source_2d"] == "detector"


def test_nobody_in_any_image_is_exit_code_4(photos, network, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("detector")
    detector, pose = save_rt_detr(folder / "detector", labels=("person",)), save_vit_pose(folder / "pose")
    chosen = [f"detector.detector={detector}", f"detector.pose={pose}", "detector.person_score=0.99"]
    assert main(words(photos, network, "keypoints=detector", *chosen)) == 4
    assert "30 no person" in capsys.readouterr().err
    assert load_npz(photos.parent / "depth.npz")["depth"].shape == (0, 17)
