"""People averaged over time: what a Gaussian mean keeps, where it ends, and when nothing is averaged."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from dg.images.people import Person
from dg.pose.skeleton import H36M_17
from dg.predict import __main__ as predict
from dg.predict.lifter_inputs import LiftedPerson, PersonInputs
from dg.predict.smoothing import smooth, smooth_people
from tests.conftest import STANDING_17

FRAMES, JOINTS, SIGMA = 40, 17, 1.5
ONE_CLIP = np.zeros(FRAMES, int)
CPU = ["device=cpu", "threads=1", "picture=false"]


def noise(frames=FRAMES, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(frames, JOINTS, 3), scale=scale).astype(np.float32)


def lifted(joints, placed=True) -> list[LiftedPerson]:
    flat, sure = np.zeros((JOINTS, 2), np.float32), np.ones(JOINTS, np.float32)
    inputs = PersonInputs(Person(np.zeros(4, np.float32), 1.0, flat, sure, H36M_17), flat, sure)
    return [LiftedPerson(inputs, j, j + np.float32(5) if placed else None) for j in joints]


def test_a_still_person_stays_and_a_steady_walk_goes_on():
    still = np.repeat(noise(1), FRAMES, 0)
    np.testing.assert_allclose(smooth(still, ONE_CLIP, SIGMA), still, atol=1e-6)
    walk = still + np.arange(FRAMES, dtype=np.float32)[:, None, None] * 0.1
    inside = slice(8, -8)  # the ends are repeated, over four standard deviations
    np.testing.assert_allclose(smooth(walk, ONE_CLIP, SIGMA)[inside], walk[inside], atol=1e-5)


def test_independent_errors_shrink_by_what_a_gaussian_mean_of_them_has():
    found = smooth(noise(4000), np.zeros(4000, int), SIGMA)[10:-10]
    assert found.var() == pytest.approx(1 / (2 * SIGMA * math.sqrt(math.pi)), rel=0.02)


def test_below_a_third_of_a_frame_nothing_is_seen_and_a_long_mean_needs_no_memory():
    joints = noise()
    assert np.abs(smooth(joints, ONE_CLIP, 0.25) - joints).max() < 0.01
    assert np.isfinite(smooth(joints, ONE_CLIP, 1e12)).all()


def test_clips_are_averaged_apart_and_people_in_space_with_their_places():
    first, second = noise(seed=1), noise(seed=2) + 3
    clip = np.repeat([4, 7], FRAMES)
    found = smooth_people(lifted([*first, *second]), clip, SIGMA)
    expected = np.concatenate([gaussian_filter1d(part, SIGMA, axis=0, mode="nearest") for part in (first, second)])
    np.testing.assert_allclose([p.joints_3d for p in found], expected, atol=1e-6)
    np.testing.assert_allclose([p.placed for p in found], expected + 5, atol=1e-5)


def test_a_place_that_is_not_known_leaves_all_places_as_they_are():
    people = lifted(noise())
    people[3] = replace(people[3], placed=None)
    found = smooth_people(people, ONE_CLIP, SIGMA)
    assert all(f.placed is p.placed for f, p in zip(found, people, strict=True))


def walker(tmp_path, **more):
    """One person in 2D who walks to the right, with errors of 3 px a joint and frame."""
    chance = np.random.default_rng(3)
    flat = np.asarray(STANDING_17)[:, :2] * 150 + [300, 240]
    joints = flat + np.arange(FRAMES)[:, None, None] * [2, 0] + chance.normal(size=(FRAMES, JOINTS, 2), scale=3)
    path = tmp_path / "k.npz"
    np.savez(path, joints_2d=joints.astype(np.float32), skeleton="h36m_17", size=[640, 480], **more)
    return path


def answer(path, out, *words):
    assert predict.main([f"keypoints={path}", f"out={out}", *CPU, *words]) == 0
    found = json.loads((out / f"{path.name}.json").read_text())
    return found, np.array([frame["people"][0]["joints_3d_m"] for frame in found["frames"]])


def test_keypoints_of_a_known_rate_are_averaged_and_it_is_said(tmp_path, capsys):
    path = walker(tmp_path)
    told, raw = answer(path, tmp_path / "raw", "smooth=0", "fps=30")
    assert told["smooth_s"] == 0
    capsys.readouterr()
    told, found = answer(path, tmp_path / "smooth", "fps=30")
    assert "averaged over time (Gaussian, 0.05 s, 1.5 frames)" in capsys.readouterr().out
    assert (told["fps"], told["smooth_s"]) == (30, 0.05)
    np.testing.assert_allclose(found, gaussian_filter1d(raw, 1.5, axis=0, mode="nearest"), atol=2e-4)
    shakes = [np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean() for joints in (raw, found)]
    assert shakes[1] < 0.3 * shakes[0]


def test_an_unknown_rate_averages_nothing_and_a_files_own_is_taken(tmp_path, capsys):
    told, found = answer(walker(tmp_path), tmp_path / "unknown")
    assert told["smooth_s"] == 0
    assert "fps=NUMBER tells them" in capsys.readouterr().out
    answer(walker(tmp_path), tmp_path / "unwanted", "smooth=0")
    assert "averaged" not in capsys.readouterr().out
    told, slow = answer(walker(tmp_path, fps=5.0), tmp_path / "slow")
    assert (told["fps"], told["smooth_s"]) == (5, 0.05)
    np.testing.assert_allclose(slow, found, atol=1e-3)
    _, fast = answer(walker(tmp_path, fps=30.0), tmp_path / "fast")
    assert np.abs(fast - found).max() > 0.01


@pytest.mark.parametrize("fps", [math.nan, math.inf, -30.0, 1e9])
def test_a_rate_that_no_camera_has_is_one_line(tmp_path, capsys, fps):
    path = walker(tmp_path, fps=fps)
    assert predict.main([f"keypoints={path}", f"out={tmp_path}/out", *CPU]) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected fps of 0 (unknown) to 1000" in said
    assert not (tmp_path / "out").exists()


def test_fps_of_a_photograph_is_refused(tmp_path, capsys):
    assert predict.main([str(tmp_path), "fps=30", *CPU]) == 2
    assert "fps= is for keypoints=" in capsys.readouterr().err
