from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.base import BodyPose
from render_workers.base import RenderAnswer, RenderRequest
from render_workers.cache import DepthCache
from tests.conftest import make_camera, make_joints


def request(rows=3, seed=0):
    joints, camera = make_joints(rows, seed=seed), make_camera(rows)
    pose = BodyPose(torch.eye(3).expand(rows, 24, 3, 3), torch.ones(rows, 24, 3), torch.ones(rows, 24))
    return RenderRequest(pose, camera, camera.project(joints), torch.arange(rows))


def render(request):
    depth = request.joints_2d.sum(-1).numpy().astype(np.float32)
    return RenderAnswer(depth, np.ones(len(depth), bool), {"seconds": 1.0})


def never(request):
    raise AssertionError("rendered again")


def only_file(folder):
    files = list(folder.iterdir())
    assert len(files) == 1
    return files[0]


def test_what_was_rendered_once_comes_from_disk_unchanged(tmp_path):
    first = DepthCache(tmp_path / "new", "spec").get(request(), render)
    again = DepthCache(tmp_path / "new", "spec").get(request(), never)
    assert np.array_equal(first.depth, again.depth)
    assert again.valid.all()
    assert only_file(tmp_path / "new").suffix == ".npz"


def test_the_key_changes_with_poses_cameras_keys_and_renderer(tmp_path):
    base, cache = request(), DepthCache(tmp_path, "spec")
    keys = {
        cache.key(base),
        cache.key(request(seed=1)),
        cache.key(base[:2]),
        cache.key(replace(base, keys=base.keys + 1)),
        cache.key(replace(base, camera=make_camera(3, distorted=True))),
        DepthCache(tmp_path, "other").key(base),
    }
    assert len(keys) == 6
    assert cache.key(request()) == cache.key(base)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "foreign", "reshaped", "nan"])
def test_a_damaged_file_is_rendered_again_and_mended(tmp_path, damage):
    cache = DepthCache(tmp_path, "spec")
    good = cache.get(request(), render).depth
    path = only_file(tmp_path)
    content = path.read_bytes()
    if damage == "reshaped":
        np.savez(path, depth=good[:1])
    elif damage == "nan":
        np.savez(path, depth=np.full_like(good, np.nan))
    else:
        middle = content.index(good.tobytes())
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-40], "flipped": flipped, "emptied": b"", "foreign": b"hello"}[damage])
    assert np.array_equal(cache.get(request(), render).depth, good)
    assert cache.misses == 2
    assert np.array_equal(cache.get(request(), never).depth, good)


def test_a_failed_render_leaves_nothing_behind(tmp_path):
    with pytest.raises(AssertionError):
        DepthCache(tmp_path, "spec").get(request(), never)
    assert not list(tmp_path.iterdir())


def test_answers_that_lack_poses_are_not_kept(tmp_path):
    def lacking(request):
        answer = render(request)
        answer.depth[1], answer.valid[1] = np.nan, False
        return answer

    assert not DepthCache(tmp_path, "spec").get(request(), lacking).valid[1]
    assert not list(tmp_path.iterdir())
