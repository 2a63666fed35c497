"""Depth from images finds its rows by name, is brought to their camera, and goes by its own name."""

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.image_depth import converted
from dg.datasets.image_depth_file import read_image_depth
from dg.datasets.npz import CrossDataset, Options
from dg.pose.skeleton import H36M_16, H36M_17, SMPL_24
from tests.datasets.image_depth_maker import names_of, pixels_of, write_image_depth
from tests.datasets.makers import cross_arrays

SIZE = (1080, 1920)


@pytest.fixture(scope="module")
def arrays():
    return cross_arrays()


@pytest.fixture
def place(tmp_path, arrays):
    np.savez(tmp_path / "people.npz", **arrays, image=names_of(len(arrays["pose3d"])))
    return tmp_path


def depth_of(arrays) -> np.ndarray:
    return arrays["pose3d"][..., 2] - 0.1


def write(place, arrays, order=None, **changes):
    rows = np.arange(len(arrays["pose3d"])) if order is None else order
    pixels, depth = pixels_of(arrays, SIZE)[rows], depth_of(arrays)[rows]
    write_image_depth(
        place / "depth.npz", names_of(len(arrays["pose3d"]))[rows], changes.pop("size", SIZE),
        changes.pop("pixels", pixels), changes.pop("depth", depth), **changes,
    )  # fmt: skip


def load(place, **options):
    return CrossDataset(Options(str(place / "people.npz"), image_depth=str(place / "depth.npz"), **options)).load(
        "test"
    )


@pytest.mark.parametrize("stride", [1, 3])
def test_rows_find_their_depth_by_the_name_of_the_image_in_any_order(place, arrays, stride):
    write(place, arrays, order=np.random.default_rng(0).permutation(len(arrays["pose3d"])))
    data = load(place, stride=stride)
    plain = CrossDataset(Options(str(place / "people.npz"), stride=stride)).load("test")
    np.testing.assert_array_equal(data.poses.depth[:, 0], depth_of(arrays)[::stride].astype(np.float32))
    np.testing.assert_allclose(data.poses.depth_spread[..., 0], -0.1, atol=1e-5)
    np.testing.assert_allclose(data.poses.depth_spread[..., 1], 1.0, atol=1e-5)
    assert (data.poses.confidence == 0.5).all()
    assert torch.equal(data.poses.joints_2d, plain.poses.joints_2d)
    assert torch.equal(data.clip, plain.clip)
    assert data.digest != plain.digest


def test_it_goes_by_its_own_name_where_depth_is_used(place, arrays):
    write(place, arrays)
    data = load(place)
    assert "/depth=images/" in data.protocol("rendered-zbuffer(oracle)")
    assert "/depth=none/" in data.protocol("none")
    write(place, arrays, align="known")
    assert "/depth=images-known(oracle)/" in load(place).protocol("rendered-zbuffer(oracle)")


def test_metres_are_brought_to_the_camera_of_each_row(place, arrays):
    write(place, arrays, trained_focal=1.1547)
    found = load(place).poses
    # Focal length in pixels over the shorter side, from the file's intrinsics 2 f / 1920.
    ratio = arrays["intrinsics"][:, :2].mean(-1) * 1920 / 2 / 1080 / 1.1547
    np.testing.assert_allclose(found.depth[:, 0], depth_of(arrays) * ratio[:, None], rtol=1e-5)
    np.testing.assert_allclose(found.depth_spread[:, 0, :, 1], np.tile(ratio[:, None], 17), rtol=1e-4)


def test_rows_without_depth_at_the_root_are_left_out_and_end_a_clip(place, arrays):
    depth = depth_of(arrays).copy()
    depth[2, 0] = np.nan
    depth[7] = np.nan
    depth[10, 5] = np.nan
    write(place, arrays, depth=depth)
    plain, data = CrossDataset(Options(str(place / "people.npz"))).load("test"), load(place)
    kept = np.delete(np.arange(len(depth)), [2, 7])
    assert len(data) == len(kept)
    np.testing.assert_array_equal(data.poses.joints_3d[:, 0], arrays["pose3d"][kept])
    # Clips have six frames: 0 1 | 3 4 5 | 6 | 8 9 10 11 | ...
    assert data.clip[:10].tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3]
    assert len(data.clip.unique()) == len(plain.clip.unique()) + 2
    row = int(np.flatnonzero(kept == 10)[0])
    assert data.poses.depth[row, 0, 5] == data.poses.depth[row, 0, 0]
    assert data.poses.confidence[row, 0, 5] == 0
    assert data.poses.depth.isfinite().all()
    assert data.notes["without_depth"].startswith("2 of")


def test_of_several_people_in_an_image_the_one_with_the_nearest_2d_is_taken(place, arrays):
    rows = len(arrays["pose3d"])
    names, pixels = names_of(rows), pixels_of(arrays, SIZE)
    both = np.concatenate([pixels + 300, pixels])
    depth = np.concatenate([depth_of(arrays) + 5, depth_of(arrays)])
    write_image_depth(place / "depth.npz", names, SIZE, both, depth, image=np.tile(np.arange(rows), 2))
    np.testing.assert_array_equal(load(place).poses.depth[:, 0], depth_of(arrays).astype(np.float32))


def test_depth_read_at_a_detectors_2d_brings_that_2d_and_its_name(place, arrays):
    pixels = pixels_of(arrays, SIZE) + 8
    pixels[0, 3] = np.nan
    write(place, arrays, pixels=pixels)
    data = load(place)
    assert "/2d=some-detector/" in data.protocol("x")
    np.testing.assert_allclose(data.poses.joints_2d[1:, 0], arrays["pose2d"][1:] + 8 * 2 / 1920, atol=1e-5)
    others = np.delete(np.arange(17), 3)
    np.testing.assert_allclose(data.poses.joints_2d[0, 0, 3], data.poses.joints_2d[0, 0, others].mean(0), atol=1e-5)
    assert data.poses.detection_error is None


def test_depth_stays_with_its_joint_on_another_skeleton(place, arrays):
    write(place, arrays)
    poses = load(place).poses
    other = converted(poses, H36M_16)
    for joint in H36M_16.joints:
        assert torch.equal(other.depth[..., H36M_16.index(joint)], poses.depth[..., H36M_17.index(joint)])
        assert torch.equal(
            other.depth_spread[..., H36M_16.index(joint), :], poses.depth_spread[..., H36M_17.index(joint), :]
        )
    assert torch.equal(other.joints_2d, poses.convert(H36M_16).joints_2d)
    with pytest.raises((DataError, ValueError)):
        converted(poses, SMPL_24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "disparity", "align": "off"}, "metres"), ({"format": np.array("other")}, "expected format"),
        ({"size": (1920, 1080)}, "belongs to a camera"), ({"image": None}, "image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(place, arrays, changes, message):
    if changes.get("size"):
        changes = {**changes, "pixels": (pixels_of(arrays, SIZE) - [540, 960]) + [960, 540]}
    write(place, arrays, **changes)
    with pytest.raises(DataError, match=message):
        load(place)


def test_other_images_and_other_people_are_refused(place, arrays, tmp_path):
    rows = len(arrays["pose3d"])
    other = np.char.add("x", names_of(rows))
    write_image_depth(place / "depth.npz", other, SIZE, pixels_of(arrays, SIZE), depth_of(arrays))
    with pytest.raises(DataError, match="its images are called"):
        load(place)
    write(place, arrays, pixels=pixels_of(arrays, SIZE) + 700)
    with pytest.raises(DataError, match="other people"):
        load(place)
    np.savez(place / "people.npz", **arrays)
    with pytest.raises(DataError, match="name of each row's image"):
        load(place)


def test_files_without_a_range_have_none(place, arrays):
    write(place, arrays, nearest=None, farthest=None)
    assert load(place).poses.depth_spread is None
    assert read_image_depth(str(place / "depth.npz")).spread is None
