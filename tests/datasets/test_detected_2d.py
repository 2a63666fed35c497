"""Detected 2D that is not what it says is named for what it is; what was not found is filled in and counted."""

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.npz import CrossDataset, Options
from dg.datasets.synthetic import Options as SyntheticOptions
from dg.datasets.synthetic import Synthetic
from dg.pose.skeleton import H36M_17
from tests.datasets.makers import cross_arrays
from tests.datasets.motion import as_coco

FLIP = list(H36M_17.flip)
ARMS = [*range(11), 14, 15, 16, 11, 12, 13]
NOISE = 0.01


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Portrait videos of 40 frames, 2D with a detector's noise, and its confidence."""
    data = Synthetic(SyntheticOptions("near", clips=12, frames=40)).load("test")
    made = cross_arrays()
    poses, noise = data.poses, np.random.default_rng(0)
    rows = len(poses)
    made = {
        "pose3d": poses.joints_3d[:, 0].numpy(),
        "intrinsics": torch.cat([poses.camera.focal, poses.camera.center], -1).numpy(),
        "res": np.tile(made["res"][:1], (rows, 1)),
        "clip": np.array([f"take {n}" for n in data.clip.tolist()]),
    }
    error = noise.normal(0, NOISE, (rows, 17, 2))
    made["pose2d"] = (poses.joints_2d[:, 0].numpy() + error).astype(np.float32)
    return made | {"confidence": noise.uniform(0.3, 1, (rows, 17)).astype(np.float32)}


def load(folder, arrays, **changes):
    kept = {name: values for name, values in (arrays | changes).items() if values is not None}
    np.savez(folder / "found.npz", **kept)
    return CrossDataset(Options(str(folder / "found.npz"), source_2d="hrnet")).load("test")


def extent(arrays):
    return (arrays["res"] / arrays["res"].max(1, keepdims=True)).astype(np.float32)[:, None]


def shifted(arrays, rows):
    return np.roll(arrays["pose2d"], rows, 0)


def with_part(arrays, share, change):
    made = arrays["pose2d"].copy()
    some = int(share * len(made))
    made[:some] = change(made[:some])
    return made


MIX_UPS = {
    "COCO's order": (lambda a: as_coco(a["pose2d"]), "in the order of coco_17, not h36m_17"),
    "sides swapped": (lambda a: a["pose2d"][:, FLIP], "with left and right swapped;"),
    "arms swapped": (lambda a: a["pose2d"][:, ARMS], "left and right of the arms swapped"),
    "sides swapped in a third": (
        lambda a: with_part(a, 0.34, lambda v: v[:, FLIP]),
        r"with left and right swapped in [23]\d% of the rows",
    ),
    "mirrored image": (lambda a: a["pose2d"] * np.float32([-1, 1]), "with the image mirrored;"),
    "y up": (lambda a: a["pose2d"] * np.float32([1, -1]), "if their y points up"),
    "thirty frames late": (lambda a: shifted(a, 30), "stands 30 rows too late"),
    "five frames early": (lambda a: shifted(a, -5), "stands 5 rows too early"),
    "pixels": (lambda a: (a["pose2d"] + extent(a)) * 960, "if they are pixels"),
    "0 to 1": (lambda a: (a["pose2d"] / extent(a) + 1) / 2, r"in \[0, 1\] of width and height"),
    "-1 to 1": (lambda a: a["pose2d"] / extent(a), r"in \[-1, 1\] of width and height"),
    "by the width": (lambda a: a["pose2d"] / extent(a)[..., :1], "divided by the width"),
    "other people": (lambda a: shifted(a, 173), "other people"),
}


@pytest.mark.parametrize("what", MIX_UPS)
def test_a_mix_up_is_named_with_the_reading_that_fits(tmp_path, arrays, what):
    change, words = MIX_UPS[what]
    with pytest.raises(DataError, match=rf"found\.npz: pose2d: .*{words}"):
        load(tmp_path, arrays, pose2d=change(arrays).astype(np.float32))


def test_ground_truth_2d_in_another_order_is_named_too(tmp_path):
    arrays = cross_arrays()
    np.savez(tmp_path / "truth.npz", **(arrays | {"pose2d": arrays["pose2d"][:, FLIP]}))
    with pytest.raises(DataError, match="with left and right swapped"):
        CrossDataset(Options(str(tmp_path / "truth.npz"))).load("test")


def noisy(arrays, sigma, seed=1):
    return arrays["pose2d"] + np.random.default_rng(seed).normal(0, sigma, arrays["pose2d"].shape)


SOUND = {
    "a good detector": lambda a: a["pose2d"],
    "a poor one": lambda a: noisy(a, 0.04),
    "a constant offset": lambda a: a["pose2d"] + np.float32(0.02),
    "sides confused now and then": lambda a: np.where(
        (np.arange(len(a["pose2d"])) % 12 == 0)[:, None, None], a["pose2d"][:, FLIP], a["pose2d"]
    ),
    "a lost wrist now and then": lambda a: np.where(
        (np.arange(17) == 13)[:, None] & (np.arange(len(a["pose2d"])) % 9 == 0)[:, None, None], 0.9, a["pose2d"]
    ),
}


@pytest.mark.parametrize("what", SOUND)
def test_a_detectors_own_errors_are_no_mix_up(tmp_path, arrays, what):
    given = SOUND[what](arrays).astype(np.float32)
    data = load(tmp_path, arrays, pose2d=given)
    np.testing.assert_array_equal(data.poses.joints_2d[:, 0], given)
    assert data.notes == {}


def test_wild_rows_are_bounded_and_the_first_is_named(tmp_path, arrays):
    given = arrays["pose2d"].copy()
    given[100:150] = 10_000
    with pytest.raises(DataError, match=r"50 of 400 rows have a joint farther than 3 half sides.*first is row 100"):
        load(tmp_path, arrays, pose2d=given)


@pytest.mark.parametrize(("scale", "words"), [(100, "divide percent by 100"), (-1, "to that range")])
def test_confidences_are_shares(tmp_path, arrays, scale, words):
    with pytest.raises(DataError, match=rf"confidence: expected confidence in \[0, 1\], found .*{words}"):
        load(tmp_path, arrays, confidence=arrays["confidence"] * scale)


def test_nan_in_2d_names_its_row(tmp_path, arrays):
    given = arrays["pose2d"].copy()
    given[[23, 31], 4] = np.nan
    with pytest.raises(DataError, match=r"pose2d: expected finite numbers, but 2 of 400 rows .*first is row 23"):
        load(tmp_path, arrays, pose2d=given)


def undetected(arrays, lost):
    given, confidence = arrays["pose2d"].copy(), arrays["confidence"].copy()
    given[lost] = np.broadcast_to(-extent(arrays), given.shape)[lost]
    confidence[lost] = 0
    return {"pose2d": given, "confidence": confidence}


@pytest.mark.parametrize("with_confidence", [True, False])
def test_joints_in_the_corner_are_missing_and_lie_where_they_may_have_been(tmp_path, arrays, with_confidence):
    lost = np.random.default_rng(3).random((400, 17)) < 0.1
    changes = undetected(arrays, lost)
    data = load(tmp_path, arrays, **(changes if with_confidence else changes | {"confidence": None}))
    found, truth = data.poses.joints_2d[:, 0].numpy(), arrays["pose2d"]
    np.testing.assert_array_equal(found[~lost], truth[~lost])
    assert np.linalg.norm(found - truth, axis=-1)[lost].mean() < 0.04, "the corner lies 1 away"
    assert data.notes["missing_2d"].startswith(f"{lost.sum():,} joints in {lost.any(1).sum()} rows")
    if with_confidence:
        assert (data.poses.confidence[:, 0].numpy()[lost] == 0).all()


def test_a_joint_in_the_corner_with_confidence_is_where_it_is(tmp_path, arrays):
    given = arrays["pose2d"].copy()
    given[7, 16] = -extent(arrays)[7, 0]
    np.testing.assert_array_equal(load(tmp_path, arrays, pose2d=given).poses.joints_2d[7, 0, 16], given[7, 16])


def test_rows_in_which_nothing_was_found_for_long_are_left_out_and_end_their_clip(tmp_path, arrays):
    lost = np.zeros((400, 17), bool)
    lost[45:75], lost[210:213] = True, True
    data = load(tmp_path, arrays, **undetected(arrays, lost))
    assert len(data) == 370
    assert data.clip.bincount().tolist() == [40, 5, 5, *[40] * 8]
    assert "30 rows in which nothing was found are left out" in data.notes["missing_2d"]
    whole = load(tmp_path, arrays)
    assert data.protocol("none") != whole.protocol("none")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["cmu_3dpw", "uiprmd_h36m"])
def test_real_motion_with_a_detectors_noise_passes_and_every_mix_up_of_it_is_named(tmp_path, shared, name):
    real = dict(np.load(shared / "data" / "cross" / f"{name}.npz"))
    error = np.random.default_rng(0).normal(0, 0.012, real["pose2d"].shape)
    real["pose2d"] = (real["pose2d"] + error).astype(np.float32)
    assert load(tmp_path, real).notes == {}
    for what in ("COCO's order", "sides swapped", "arms swapped", "sides swapped in a third", "thirty frames late"):
        change, words = MIX_UPS[what]
        with pytest.raises(DataError, match=words):
            load(tmp_path, real, pose2d=change(real))
