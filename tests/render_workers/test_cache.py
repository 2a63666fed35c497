import errno
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.pose.skeleton import H36M_17
from render_workers.base import RenderAnswer, RenderRequest
from render_workers.cache import DepthCache
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints


def request(rows=3, seed=0):
    joints, camera = make_joints(rows, seed=seed), make_camera(rows)
    return RenderRequest(joints, H36M_17, camera, camera.project(joints), torch.arange(rows))


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


def test_a_full_folder_is_said_once_and_the_answers_come_all_the_same(tmp_path, monkeypatch):
    cache, said = DepthCache(tmp_path, "spec"), []
    cache.warn = said.append

    def full(file, **arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("render_workers.cache.np.savez", full)
    for seed in range(3):
        np.testing.assert_array_equal(cache.get(request(seed=seed), render).depth, render(request(seed=seed)).depth)
    assert len(said) == 1
    assert "No space left" in said[0]
    assert "cache=off" in said[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_costs_no_answer(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache, said = DepthCache(tmp_path / "file" / "cache", "spec"), []
    cache.warn = said.append
    with cache.turn("digest"):
        assert cache.get(request(), render).valid.all()
    assert len(said) == 1


def test_answers_that_lack_poses_are_not_kept(tmp_path):
    def lacking(request):
        answer = render(request)
        answer.depth[1], answer.valid[1] = np.nan, False
        return answer

    assert not DepthCache(tmp_path, "spec").get(request(), lacking).valid[1]
    assert not list(tmp_path.iterdir())


def test_no_damage_of_any_byte_is_trusted_or_ends_a_run(tmp_path):
    cache = DepthCache(tmp_path, "spec")
    good = cache.get(request(), render).depth
    path = only_file(tmp_path)
    content = path.read_bytes()
    damaged = [content[:n] for n in range(0, len(content), 7)]
    damaged += [content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :] for i in range(len(content))]
    random = np.random.default_rng(0)
    damaged += [head + random.bytes(900) for head in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00")]
    for content in damaged:
        path.write_bytes(content)
        stored = cache.load(request())
        assert stored is None or np.array_equal(stored.depth, good)


SPEC = WorkerSpec(depth_name="noisy_zbuffer")


@pytest.mark.parametrize(
    "changes",
    [
        {"body_options": {"bone_scale": "relative"}},
        {"resolution": 112},
        {"subject_span_px": 99.0},
        {"min_pool": 5},
        {"depth_name": "zbuffer"},
        {"depth_options": {"white_m": 0.011}},
        {"depth_options": {"seed": 1}},
        {"rasterizer": "pytorch3d"},
    ],
)
def test_another_renderer_never_finds_what_this_one_stored(tmp_path, changes):
    DepthCache(tmp_path, SPEC.digest()).get(request(), render)
    assert DepthCache(tmp_path, replace(SPEC, **changes).digest()).load(request()) is None


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 7}, {"device": "cpu"}, {"depth_options": {"white_m": 0.01}}])
def test_the_same_renderer_finds_it_wherever_it_runs(tmp_path, changes):
    first = DepthCache(tmp_path, SPEC.digest()).get(request(), render)
    again = DepthCache(tmp_path, replace(SPEC, **changes).digest()).get(request(), never)
    assert np.array_equal(first.depth, again.depth)


def test_turns_are_taken_one_after_another_but_only_for_the_same_data(tmp_path):
    first, second = DepthCache(tmp_path, "spec"), DepthCache(tmp_path, "spec")
    done = threading.Event()

    def wait_for_turn():
        with second.turn("data"):
            done.set()

    with first.turn("data"):
        waiting = threading.Thread(target=wait_for_turn)
        waiting.start()
        with second.turn("other data"), DepthCache(tmp_path, "other spec").turn("data"):
            assert not done.wait(0.5)
    assert done.wait(180)
    waiting.join()


def test_a_killed_process_gives_its_turn_back(tmp_path):
    code = (
        "import sys, time; from render_workers.cache import DepthCache\n"
        f"with DepthCache({str(tmp_path)!r}, 'spec').turn('data'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        done = threading.Event()

        def wait_for_turn():
            with DepthCache(tmp_path, "spec").turn("data"):
                done.set()

        waiting = threading.Thread(target=wait_for_turn)
        waiting.start()
        assert not done.wait(0.5)
        holder.kill()
    assert done.wait(180)
    waiting.join()


def test_without_locks_in_the_file_system_the_turn_comes_at_once(tmp_path, monkeypatch):
    from filelock import FileLock

    def refused(self, **options):
        raise OSError("no locks here")

    monkeypatch.setattr(FileLock, "acquire", refused)
    with DepthCache(tmp_path, "spec").turn("data"):
        pass
