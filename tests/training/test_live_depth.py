"""Depth of a data set: drawn once for what it is, never taken for another, in one process or several."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.datasets.base import PoseDataset
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from dg.training import live_depth
from dg.training.live_depth import LiveDepth
from render_workers.base import Ledger, RenderAnswer, RenderInterruptedError, RenderPool
from render_workers.cache import DepthCache
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints
from tests.simulated_gpu import GPU, simulated_gpu

ROWS, CHUNK = 20, 8


class CountingPool(RenderPool):
    """Depth is a function of what is seen. `pause_s`: how long a request takes; `lacking`: rows of each that fail."""

    def __init__(self, pause_s=0.0, lacking=0):
        self.ledger, self.pause_s, self.lacking = Ledger(), pause_s, lacking

    def submit(self, request):
        threading.Event().wait(self.pause_s)
        depth = (request.joints_2d.sum(-1) + request.joints_3d.sum((1, 2))[:, None]).numpy().astype(np.float32)
        valid = np.ones(len(depth), bool)
        valid[: self.lacking], depth[: self.lacking] = False, np.nan
        self.ledger.done += len(depth)
        future = Future()
        future.set_result(RenderAnswer(depth, valid))
        return future

    def status(self):
        return {}

    def close(self):
        pass


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(live_depth, "CHUNK", CHUNK)


@pytest.fixture(scope="module")
def body():
    return OpenBody(OpenBody.Options())


def data(change=lambda joints: joints, focal=None):
    joints, camera = change(make_joints(ROWS)), make_camera(ROWS)
    camera = camera if focal is None else replace(camera, focal=camera.focal * focal)
    return PoseBatch.from_joints(joints[:, None], camera, H36M_17)


def drawn(body, folder, poses, digest="data", spec="spec"):
    """Depth, and how many poses were drawn for it."""
    pool = CountingPool()
    answer = LiveDepth(body, pool, DepthCache(folder, spec)).of_dataset(poses, digest)
    return answer, pool.ledger.done


def moved(joints):
    return torch.cat(
        [joints[:-1], joints[-1:] + torch.nn.functional.pad(torch.tensor([[[0.0, 0.0, 1e-3]]]), (0, 0, 16, 0))]
    )


def test_the_same_data_are_drawn_once_and_found_unchanged(body, tmp_path):
    first, rendered = drawn(body, tmp_path, data())
    again, rendered_again = drawn(body, tmp_path, data())
    assert (rendered, rendered_again) == (ROWS, 0)
    assert torch.equal(first.depth, again.depth)
    assert again.valid.all()


@pytest.mark.parametrize(
    ("poses", "digest", "spec", "rendered"),
    [
        (data(moved), "data", "spec", ROWS % CHUNK),  # one joint of the last pose, by a millimetre: its chunk alone
        (data(focal=1.0001), "data", "spec", ROWS),
        (data(lambda joints: joints + torch.tensor([1e-3, 0.0, 0.0])), "data", "spec", ROWS),
        (data(lambda joints: joints.flip(0)), "data", "spec", ROWS),  # another order: other chunks, drawn anew
        (data()[: CHUNK + 3], "data", "spec", 3),  # the first chunk is the same, the rest is another
        (data(), "other data", "spec", ROWS),  # noise is drawn from the data set's digest
        (data(), "data", "other spec", ROWS),
    ],
)
def test_what_differs_is_drawn_anew(body, tmp_path, poses, digest, spec, rendered):
    drawn(body, tmp_path, data())
    answer, count = drawn(body, tmp_path, poses, digest, spec)
    assert count == rendered
    assert torch.equal(answer.depth, drawn(body, tmp_path / "fresh", poses, digest, spec)[0].depth)


def test_another_body_fit_is_drawn_anew(body, tmp_path):
    """A request holds joints alone: which body is fitted to them stands in the renderer's digest."""
    other = WorkerSpec(body_options={"bone_scale": "relative"})
    assert other.digest() != WorkerSpec().digest()
    drawn(body, tmp_path, data(), spec=WorkerSpec().digest())
    assert drawn(body, tmp_path, data(), spec=other.digest())[1] == ROWS


def test_a_damaged_file_is_drawn_anew_and_mended(body, tmp_path):
    first, _ = drawn(body, tmp_path, data())
    for victim in (sorted(tmp_path.glob("*.npz"))[0], *tmp_path.glob("sets/*.npz")):
        victim.write_bytes(victim.read_bytes()[:-40])
    again, rendered = drawn(body, tmp_path, data())
    assert 0 < rendered <= CHUNK
    assert torch.equal(first.depth, again.depth)
    assert drawn(body, tmp_path, data())[1] == 0


def test_a_data_set_is_found_by_one_key_and_one_file_without_fitting_a_body(body, tmp_path, monkeypatch):
    first, _ = drawn(body, tmp_path, data(behind))
    for path in tmp_path.glob("*.npz"):
        path.unlink()
    monkeypatch.setattr(OpenBody, "fit", lambda *given: pytest.fail("a body was fitted"))
    again, rendered = drawn(body, tmp_path, data(behind))
    assert rendered == 0
    assert torch.equal(first.depth, again.depth)
    assert torch.equal(first.valid, again.valid)


def test_a_cache_from_before_there_was_one_file_is_found_and_gets_it(body, tmp_path):
    first, _ = drawn(body, tmp_path, data())
    (whole,) = tmp_path.glob("sets/*.npz")
    whole.unlink()
    again, rendered = drawn(body, tmp_path, data())
    assert (rendered, whole.is_file()) == (0, True)
    assert torch.equal(first.depth, again.depth)


def behind(joints, rows=3):
    """Some of the people stand behind the camera."""
    return torch.cat([joints[:rows] * torch.tensor([1.0, 1.0, -1.0]), joints[rows:]])


def test_truncated_people_are_drawn_too_and_stay_out_of_training(body, tmp_path):
    poses = data()
    poses = poses.replace(valid=torch.arange(ROWS) >= CHUNK)  # a loader's mark of who leaves the frame
    first, rendered = drawn(body, tmp_path, poses)
    again, rendered_again = drawn(body, tmp_path, poses)
    assert (rendered, rendered_again) == (ROWS, 0)
    for answer in (first, again):
        assert torch.equal(answer.valid, poses.valid)
        assert torch.equal(answer.depth, drawn(body, tmp_path / "all", data())[0].depth)


def test_who_cannot_be_drawn_gets_the_mean_offset_and_never_its_own_z(body, tmp_path):
    poses = data(behind)
    answer, rendered = drawn(body, tmp_path, poses)
    assert rendered == ROWS - 3
    assert answer.valid.tolist() == [False] * 3 + [True] * (ROWS - 3)
    z = poses.joints_3d[..., 2]
    offset = (answer.depth - z)[3:].mean(0)
    torch.testing.assert_close(answer.depth[:3], z[:3] + offset)
    assert ((answer.depth - z).abs() > 1e-3).all()


def test_a_data_set_says_how_many_could_not_be_drawn(body, tmp_path):
    rows = torch.zeros(ROWS, dtype=torch.long)
    for change, lost in ((behind, 3), (lambda joints: joints, 0)):
        poses = data(change)
        dataset = PoseDataset("people", poses, rows, rows, rows, ("a",), ("b",), 25.0, str(lost))
        live = LiveDepth(body, CountingPool(), DepthCache(tmp_path, "spec"))
        assert [live.with_depth(dataset, poses).notes["not_drawn"] for _ in range(2)] == [str(lost)] * 2


def test_where_poses_are_trained_on_the_loaders_mark_still_holds(body):
    poses = data().replace(valid=torch.arange(ROWS) >= CHUNK)
    pool = CountingPool()
    answer = LiveDepth(body, pool, None).submit(poses, 0).result()
    assert pool.ledger.done == ROWS - CHUNK
    assert torch.equal(answer.valid, poses.valid)


def test_chunks_that_lack_poses_are_tried_again(body, tmp_path):
    LiveDepth(body, CountingPool(lacking=1), DepthCache(tmp_path, "spec")).of_dataset(data(), "data")
    answer, rendered = drawn(body, tmp_path, data())
    assert rendered == ROWS
    assert answer.valid.all()


def test_of_many_at_once_one_draws_and_the_others_find_it(body, tmp_path):
    pools = [CountingPool(pause_s=0.1) for _ in range(3)]
    answers = {}

    def run(number):
        live = LiveDepth(body, pools[number], DepthCache(tmp_path, "spec"))
        answers[number] = live.of_dataset(data(), "data").depth

    threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(pool.ledger.done for pool in pools) == [0, 0, ROWS]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_without_a_cache_all_is_drawn(body):
    pool = CountingPool()
    LiveDepth(body, pool, None).of_dataset(data(), "data")
    assert pool.ledger.done == ROWS


FRAMES = 3


def windows():
    """Overlapping windows over the poses of `data()`: window n holds poses n to n + 2."""
    poses, rows = data(), torch.arange(ROWS - FRAMES + 1)
    held = rows[:, None] + torch.arange(FRAMES)
    return poses[rows].replace(joints_3d=poses.joints_3d[held, 0], joints_2d=poses.joints_2d[held, 0]), held


def test_windows_get_the_depth_of_their_frames(body):
    single = LiveDepth(body, CountingPool(), None).submit(data(), seed=5).result()
    poses, held = windows()
    pool = CountingPool()
    drawn_windows = LiveDepth(body, pool, None).submit(poses, seed=5).result()
    assert torch.equal(drawn_windows.depth, single.depth[held, 0])
    assert drawn_windows.valid.all()
    assert pool.ledger.done == held.numel()


def test_a_window_is_valid_if_all_its_frames_could_be_drawn(body):
    poses, held = windows()
    poses = poses.replace(valid=torch.arange(len(poses)) != 1)
    answer = LiveDepth(body, CountingPool(lacking=FRAMES + 1), None).submit(poses, seed=5).result()
    # The first window was lost whole, the second not sent, and of the third the first frame was lost.
    assert answer.valid.tolist() == 3 * [False] + (len(poses) - 3) * [True]
    assert torch.equal(answer.depth[:3], poses.joints_3d[:3, ..., 2])
    assert answer.depth.isfinite().all()
    single = LiveDepth(body, CountingPool(), None).submit(data(), seed=5).result()
    assert torch.equal(answer.depth[3:], single.depth[held[3:], 0])


def test_every_frame_of_a_window_has_a_key_of_its_own_whatever_rows_are_beside_it(body):
    poses, _ = windows()
    live = LiveDepth(body, CountingPool(), None)
    keys = live.submit(poses, seed=5).request.keys
    assert len(keys.unique()) == len(keys) == len(poses) * FRAMES
    fewer = live.submit(poses.replace(valid=torch.arange(len(poses)) % 2 == 0), seed=5).request.keys
    assert torch.equal(fewer, keys.view(-1, FRAMES)[::2].flatten())
    assert torch.equal(live.submit(data(), seed=5).request.keys, 5 * 2**31 + torch.arange(ROWS))


def test_windows_are_fitted_relative_to_the_same_frames_of_their_reference(body):
    relative = OpenBody(OpenBody.Options(bone_scale="relative"))
    poses, held = windows()
    reference = poses.replace(joints_3d=poses.joints_3d + torch.tensor([0.0, 0.0, 0.5]))
    before, after = data(), data(lambda joints: joints + torch.tensor([0.0, 0.0, 0.5]))
    live = LiveDepth(relative, CountingPool(), None)
    single = live.submit(before, seed=5, reference=after).result()
    assert torch.equal(live.submit(poses, seed=5, reference=reference).result().depth, single.depth[held, 0])


def test_what_leaves_a_gpu_in_one_block_arrives_as_it_was():
    poses = data()
    parts = [poses.valid, poses.joints_3d, poses.joints_2d, poses.camera.focal, poses.joints_3d[..., 2]]
    found = live_depth._through_one_block(parts)()
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, parts, strict=True))


def test_poses_leave_a_gpu_without_a_wait_and_are_sent_when_somebody_asks(body):
    pool = CountingPool()
    expected = LiveDepth(body, pool, None).submit_later(data(), seed=3)
    assert pool.ledger.done == ROWS
    with simulated_gpu() as waits:
        poses = data().to(GPU)
        waits.clear()
        departing = LiveDepth(body, pool, None).submit_later(poses, seed=3)
        assert (dict(waits), pool.ledger.done) == ({}, ROWS)
        assert departing.sent() is departing.sent()
        assert pool.ledger.done == 2 * ROWS
        found = departing.result()
        assert torch.equal(found.depth.cpu(), expected.result().depth)
        assert dict(waits) == {"copy to cpu at elsewhere": 1}  # of this test


def test_a_reference_may_have_more_rows_than_the_proposal(body):
    """As where a method moves the first half of its batch."""
    half = data()[: ROWS // 2]
    pool = CountingPool()
    with_reference = LiveDepth(body, pool, None).submit(half, 5, data()).result()
    assert torch.equal(with_reference.depth, LiveDepth(body, pool, None).submit(half, 5).result().depth)


def whole(digest="data"):
    poses, rows = data(), torch.zeros(ROWS, dtype=torch.long)
    return PoseDataset(
        name="d",
        poses=poses,
        subject=rows,
        action=rows,
        clip=rows,
        subjects=("s",),
        actions=("a",),
        fps=50.0,
        digest=digest,
    )


def test_a_data_set_that_was_begun_has_the_same_depth_and_is_drawn_once(body):
    dataset = whole()
    expected = LiveDepth(body, CountingPool(lacking=2), None).with_depth(dataset, dataset.poses)
    live = LiveDepth(body, CountingPool(lacking=2, pause_s=0.01), None)
    live.begin(dataset, dataset.poses)
    found = live.with_depth(dataset, dataset.poses)
    assert torch.equal(found.poses.depth, expected.poses.depth)
    assert torch.equal(found.poses.valid, expected.poses.valid)
    assert found.notes == expected.notes
    assert live.pool.ledger.done == ROWS
    again = live.with_depth(dataset, dataset.poses)  # by the caller itself, as nothing was begun
    assert torch.equal(again.poses.depth, expected.poses.depth)
    assert live.pool.ledger.done == 2 * ROWS


def test_what_goes_wrong_with_a_data_set_that_was_begun_is_told_to_whoever_wants_its_depth(body):
    dataset, live = whole(), LiveDepth(body, CountingPool(), None)
    live.pool.submit = lambda request: 1 / 0
    live.begin(dataset, dataset.poses)
    with pytest.raises(ZeroDivisionError):
        live.with_depth(dataset, dataset.poses)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_data_set_that_was_begun_is_given_up_when_the_run_ends(body, how):
    submitted, go_on = threading.Event(), threading.Event()

    class SlowPool(CountingPool):
        def submit(self, request):
            submitted.set()
            assert go_on.wait(60)
            return super().submit(request)

    dataset, live = whole(), LiveDepth(body, SlowPool(), None)
    live.stop = threading.Event()
    live.begin(dataset, dataset.poses)
    assert submitted.wait(60)
    if how == "stop":
        live.stop.set()
        go_on.set()
        with pytest.raises(RenderInterruptedError):
            live.with_depth(dataset, dataset.poses)
    else:
        threading.Timer(0.2, go_on.set).start()  # once `close` waits
        live.close()
    assert live.pool.ledger.done == CHUNK, "the rest was given up"
