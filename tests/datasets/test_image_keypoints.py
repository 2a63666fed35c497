"""2D of a detector takes the place of the projection, for every data set with frames, by the names of the frames."""

import importlib
import json

import numpy as np
import pytest
import torch

from dg.datasets import DATASETS
from dg.datasets.base import DataError
from dg.datasets.image_keypoints import with_keypoints
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options, resolve
from tests.datasets.image_depth_maker import names_of, pixels_of, write_image_depth
from tests.datasets.makers import MAKERS, cross_arrays

SIZE = (1080, 1920)
LEGS_SWAPPED = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
WITH_FRAMES = {"fit3d": "train", "h36m": "train", "mpi_inf_3dhp": "test", "npz": "test", "pw3d": "test"}


def open_set(name, options):
    plugin = resolve(DATASETS, "data set", name)
    return plugin(make_options(plugin, "data", name, options))


@pytest.fixture(scope="module", params=sorted(WITH_FRAMES))
def seen(request, tmp_path_factory):
    """A data set with the names of its rows' frames, which its loader tells to whoever looks them up."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    options = MAKERS[name](folder)
    if name == "npz":
        arrays = cross_arrays()
        np.savez(folder / "named.npz", **arrays, image=names_of(len(arrays["pose3d"])))
        options = {"path": str(folder / "named.npz")}
    told = []
    module = importlib.import_module(f"dg.datasets.{name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "with_found", lambda data, names, *_: told.append((data, list(names))) or data)
        open_set(name, options | {"keypoints": "some.npz"}).load(WITH_FRAMES[name])
    (found,) = told
    return name, options, folder, *found


def write(path, data, names, skip=0, seed=0):
    """Detections a little off, of joints of the 17, normalised by the longer side, in another order of rows."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))[skip:]
    flat = data.poses.convert(H36M_17).joints_2d[:, 0] if len(data.poses.skeleton) != 17 else data.poses.joints_2d[:, 0]
    off = flat + torch.from_numpy(rng.normal(0, 0.004, flat.shape).astype(np.float32))
    longer = data.poses.camera.extent.amax(-1)[:, None, None]
    sure = rng.uniform(0.3, 1, flat.shape[:2]).astype(np.float32)
    np.savez(path, image=np.array(names)[order], pose2d=(off / longer).numpy()[order], confidence=sure[order])
    return off, torch.from_numpy(sure), np.sort(order)


def test_rows_find_their_2d_by_the_names_of_their_frames(seen):
    name, options, folder, data, names = seen
    off, sure, _ = write(folder / "hrnet.npz", data, names)
    found = open_set(name, options | {"keypoints": str(folder / "hrnet.npz")}).load(WITH_FRAMES[name])
    assert len(set(names)) == len(names) or name == "pw3d"
    torch.testing.assert_close(found.poses.joints_2d[:, 0], off, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.poses.confidence[:, 0], sure)
    assert torch.equal(found.clip, data.clip)
    assert "/2d=hrnet/" in found.protocol("none")
    assert found.identity != data.identity


def test_frames_without_2d_are_left_out_and_counted(seen):
    name, options, folder, data, names = seen
    _, _, kept = write(folder / "few.npz", data, names, skip=len(names) // 3)
    found = open_set(name, options | {"keypoints": str(folder / "few.npz")}).load(WITH_FRAMES[name])
    assert len(found) == len(kept)
    torch.testing.assert_close(found.poses.joints_3d, data.poses.convert(found.poses.skeleton).joints_3d[kept])
    assert found.notes["without_2d"].startswith(f"{len(names) - len(kept):,} of {len(names):,}")
    # A clip ends where a frame is missing.
    breaks = set(np.flatnonzero(np.diff(kept) != 1).tolist())
    assert breaks <= set((found.clip.diff() != 0).nonzero()[:, 0].tolist())


@pytest.fixture
def people(tmp_path):
    arrays = cross_arrays()
    np.savez(tmp_path / "people.npz", **arrays, image=names_of(len(arrays["pose3d"])))
    return arrays, tmp_path


def load(folder, **options):
    return open_set("npz", {"path": str(folder / "people.npz")} | options).load("test")


def test_the_file_of_an_extraction_gives_its_2d_without_its_depth(people):
    arrays, folder = people
    depth = arrays["pose3d"][..., 2] - 0.1
    path = write_image_depth(folder / "d.npz", names_of(len(depth)), SIZE, pixels_of(arrays, SIZE) + 2.0, depth)
    found = load(folder, keypoints=str(path))
    np.testing.assert_allclose(found.poses.joints_2d[:, 0], arrays["pose2d"] + 2 * 2.0 / 1920, atol=1e-5)
    assert found.poses.depth is None
    assert found.source_2d == "some-detector"
    assert (found.poses.confidence == 0.5).all()


def test_coco_keypoints_become_the_17_joints_and_lost_joints_have_no_confidence(people):
    arrays, folder = people
    pixels = pixels_of(arrays, SIZE)
    # COCO's shoulders, elbows, wrists, hips, knees and ankles; the face is put at the head.
    at = {5: 11, 6: 14, 7: 12, 8: 15, 9: 13, 10: 16, 11: 4, 12: 1, 13: 5, 14: 2, 15: 6, 16: 3} | dict.fromkeys(
        range(5), 10
    )
    coco = np.stack([pixels[:, at[j]] for j in range(17)], 1)
    thirds = np.full((len(coco), 17, 1), 0.75)
    thirds[3, 9] = 0  # a left wrist that was not found
    people_of = [
        {"image_id": n, "keypoints": np.concatenate([coco[n], thirds[n]], -1).flatten().tolist()}
        for n in range(len(coco))
    ]
    images = [
        {"id": n, "file_name": str(name), "width": 1080, "height": 1920} for n, name in enumerate(names_of(len(coco)))
    ]
    (folder / "vitpose.json").write_text(json.dumps({"images": images, "annotations": people_of}))
    found = load(folder, keypoints=str(folder / "vitpose.json"))
    left_wrist = H36M_17.index("left_wrist")
    np.testing.assert_allclose(found.poses.joints_2d[0, 0, left_wrist], arrays["pose2d"][0, left_wrist], atol=1e-4)
    assert found.poses.confidence[3, 0, left_wrist] == 0
    assert (found.poses.confidence[:, 0, left_wrist] > 0).sum() == len(coco) - 1
    assert found.source_2d == "vitpose"
    assert "1 joints in 1 rows" in found.notes["missing_2d"]


def test_of_several_people_in_an_image_the_nearest_is_taken(people):
    arrays, folder = people
    names, pixels = names_of(len(arrays["pose3d"])), pixels_of(arrays, SIZE)
    both = np.concatenate([pixels + 200.0, pixels])
    np.savez(folder / "two.npz", image=np.tile(names, 2), joints_2d=both, size=np.array(SIZE))
    found = load(folder, keypoints=str(folder / "two.npz"))
    np.testing.assert_allclose(found.poses.joints_2d[:, 0], arrays["pose2d"], atol=1e-4)
    assert found.poses.confidence is None


def test_depth_of_images_is_read_after_it(people):
    arrays, folder = people
    names, pixels = names_of(len(arrays["pose3d"])), pixels_of(arrays, SIZE)
    depth = arrays["pose3d"][..., 2] - 0.1
    np.savez(folder / "hrnet.npz", image=names[5:], joints_2d=pixels[5:] + 3.0, size=np.array(SIZE))
    write_image_depth(folder / "d.npz", names[:-5], SIZE, pixels[:-5] + 3.0, depth[:-5])
    found = load(folder, keypoints=str(folder / "hrnet.npz"), image_depth=str(folder / "d.npz"))
    np.testing.assert_array_equal(found.poses.depth[:, 0], depth[5:-5].astype(np.float32))
    assert found.source_2d == "hrnet", "depth was read at this 2D"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("size"), "does not say how large the images are"),
        (lambda a: a.update(size=np.array([1920, 1080])), "belongs to a camera whose frame"),
        (lambda a: a.update(image=np.array([f"x{n}" for n in range(len(a["image"]))])), "no 2D for any of the"),
        (lambda a: a.update(joints_2d=a["joints_2d"][:, LEGS_SWAPPED]), "legs swapped"),
        (lambda a: a.update(joints_2d=a["joints_2d"] - 600.0), "more than"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_one_line_that_names_it(people, change, message):
    arrays, folder = people
    given = {"image": names_of(len(arrays["pose3d"])), "joints_2d": pixels_of(arrays, SIZE), "size": np.array(SIZE)}
    change(given)
    np.savez(folder / "wrong.npz", **given)
    with pytest.raises(DataError, match=message) as error:
        load(folder, keypoints=str(folder / "wrong.npz"))
    assert "wrong.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_joints_that_neither_skeleton_has_bring_the_data_set_to_17(people, tmp_path):
    data = open_set("pw3d", MAKERS["pw3d"](tmp_path)).load("test")
    names = [f"{n}" for n in range(len(data))]
    flat = convert_joints(data.poses.joints_2d[:, 0], data.poses.skeleton, H36M_17)
    np.savez(tmp_path / "k.npz", image=np.array(names), pose2d=flat.numpy())
    found, kept = with_keypoints(data, names, str(tmp_path / "k.npz"))
    assert found.poses.skeleton == H36M_17
    assert kept == names
