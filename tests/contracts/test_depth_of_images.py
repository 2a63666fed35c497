"""A depth source is one file and one line for photographs too: `dg predict` and `dg extract-depth` take it by name."""

import json

import numpy as np
import pytest
from PIL import Image

from dg.extract_depth import __main__ as extract_depth
from dg.files.safe_load import load_npz
from dg.images.depth_choice import choose_depth
from dg.images.joint_depth import depth_at_joints
from dg.images.people import Person
from dg.images.reading import read_image
from dg.predict import __main__ as predict
from dg.predict.run import run
from dg.predict.settings import predict_options
from dg.settings.errors import OptionError
from render_workers.depth import DEPTH_SOURCES
from tests.extract_depth.photos import people_in, write_photos
from tests.images.image_depth_source import PLACE
from tests.trained.makers import SMALL, store


@pytest.fixture(autouse=True)
def one_line(monkeypatch):
    """The line in the table."""
    monkeypatch.setitem(DEPTH_SOURCES, "brightness", PLACE)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    np.savez(tmp_path / "people.npz", **people_in(write_photos(folder, 6), folder))
    return folder


def expected_metres(path, far_m=6.0, range_m=2.0):
    """Of each pixel, as the source is defined."""
    return far_m - range_m * (read_image(path).astype(np.float32) / 255).mean(-1)


def somebody(images):
    """A detector that finds one upright person in each image."""
    found = []
    for image in images:
        height, width = image.shape[:2]
        joints = np.random.default_rng(0).uniform(0.3, 0.7, (17, 2)) * [width, height]
        box = np.array([0, 0, width, height], np.float32)
        found.append([Person(box, 0.9, joints.astype(np.float32), np.full(17, 0.99, np.float32))])
    return found


def predicted(folder, tmp_path, *more):
    store(tmp_path, "method=erm", "lifter=simple_baseline", *SMALL["simple_baseline"], "inputs=xyd")
    args = [f"{folder}", f"checkpoint={tmp_path}", f"out={tmp_path}/out", "picture=false", "device=cpu", *more]
    run(predict_options(args), lambda _: None, somebody)
    return json.loads((tmp_path / "out/a/0.png.json").read_text())


def test_predict_reads_its_depth_brought_to_the_camera_of_the_image(photos, tmp_path):
    found = predicted(photos, tmp_path, "depth=brightness", "depth.range_m=4", "focal=144")
    assert found["networks"]["depth"] == {
        "source": "brightness", "far_m": 6.0, "range_m": 4.0, "disparity": False, "digest": "0123",
    }  # fmt: skip
    (person,) = found["people"]
    # 144 pixels are 1.5 times the shorter side of 96: the camera that the source knows.
    joints = np.array(person["joints_2d_px"], np.float32)
    exact = depth_at_joints(expected_metres(photos / "a/0.png", range_m=4.0), joints)
    assert np.allclose(person["depth_m"], exact, atol=5e-3)
    zoomed = predicted(photos, tmp_path, "depth=brightness", "depth.range_m=4", "focal=288")["people"][0]
    assert np.allclose(zoomed["depth_m"], 2 * np.array(person["depth_m"]), atol=2e-4)


def extracted(photos, *more):
    out = photos.parent / "depth.npz"
    out.unlink(missing_ok=True)
    args = [f"images={photos}", f"keypoints={photos.parent / 'people.npz'}", f"out={out}", "workers=0", "device=cpu"]
    assert extract_depth.main([*args, "depth=brightness", *more]) == 0
    return load_npz(out)


def test_extract_depth_reads_it_and_says_so(photos):
    found, people = (
        extracted(photos, "inputs=xyd", "min_pool=1", "depth.far_m=8"),
        load_npz(photos.parent / "people.npz"),
    )
    for row, name in enumerate(people["image"]):
        exact = depth_at_joints(expected_metres(photos / name, far_m=8.0), people["joints_2d"][row], min_pool=1)
        np.testing.assert_allclose(found["depth"][row], exact, rtol=1e-5)
    provenance = json.loads(str(found["provenance"]))
    wanted = {
        "depth": "brightness", "checkpoint": "brightness", "network_digest": "0123", "trained_focal": 1.5, "unit": "m",
        "far_m": 8.0, "batch": 8, "depth.batch": "none",
    }  # fmt: skip
    assert {name: provenance[name] for name in wanted} == wanted


def test_disparity_of_any_source_is_aligned_or_refused(photos, tmp_path, capsys):
    people = load_npz(photos.parent / "people.npz")
    metres = extracted(photos, "inputs=xyd", "min_pool=1")["depth"]
    np.savez(photos.parent / "people.npz", **people, depth=metres)
    aligned = extracted(photos, "inputs=xyd", "min_pool=1", "align=known", "depth.disparity=true")["depth"]
    np.testing.assert_allclose(aligned, metres, rtol=2e-2)
    store(tmp_path, "method=erm", "lifter=simple_baseline", *SMALL["simple_baseline"], "inputs=xyd")
    detected = {"detector": somebody}
    with pytest.raises(ValueError, match=r"depth=brightness: brightness answers disparity"):
        run(predict_options([f"{photos}", f"checkpoint={tmp_path}", "depth=brightness", "depth.disparity=true"]),
            lambda _: None, **detected)  # fmt: skip


def test_its_options_are_listed_and_checked(photos, capsys):
    for command in (predict, extract_depth):
        assert command.main(["depth=brightness", "--help"]) == 0
        printed = capsys.readouterr().out
        assert "depth.far_m=6 " in printed
        assert "depth of black" in printed
        assert command.main(["depth=zbuffer", "--help"]) == 2
    args = [f"{photos}", "checkpoint=x", "depth=brightness"]
    assert predict.main([*args, "depth.farm=1"]) == 2
    assert "did you mean 'far_m'" in capsys.readouterr().err
    assert predict.main([*args, "depth.far_m=much"]) == 2
    assert "depth.far_m expects a number" in capsys.readouterr().err


def test_options_of_a_lifters_training_hold_where_they_mean_the_same():
    trained = {"name": "brightness", "far_m": 3.0, "range_m": 1.0}
    assert choose_depth({"name": "brightness"}, trained).record() == {"far_m": 6.0, "range_m": 1.0, "disparity": False}
    asked = choose_depth({"name": "brightness", "range_m": "5"}, trained)
    assert asked.record()["range_m"] == 5.0
    assert choose_depth({}, trained).name == "depth_anything_v2"
    with pytest.raises(OptionError, match=r"depth must be one of \['depth_anything_v2', 'brightness'\], got 'zbuffer'"):
        choose_depth({"name": "zbuffer"})


def test_the_photographs_are_not_all_alike(photos):
    """A check of the tests themselves."""
    assert np.ptp(expected_metres(photos / "a/0.png")) > 0.5
    with Image.open(photos / "a/0.png") as image:
        assert min(image.size) == 96
