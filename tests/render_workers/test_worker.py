import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import OptionError
from render_workers.base import PackedRequest, RenderRequest
from render_workers.depth.noisy_zbuffer import NoisyZBuffer
from render_workers.depth.zbuffer import ZBuffer
from render_workers.geometry import TorchGeometry
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.worker import RenderWorker, WorkerSpec
from tests.bench.launches import counted
from tests.conftest import STANDING_17, make_camera, make_joints

BODY = OpenBody()
PELVIS, NECK, RIGHT_ELBOW, RIGHT_WRIST = 0, 9, 15, 16


class CrampedZBuffer(ZBuffer):
    """As on a device whose memory holds `room` images."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def estimate(self, zbuffer, rgb, keys):
        if len(zbuffer) > self.room:
            raise torch.OutOfMemoryError("no room")
        return zbuffer


def request_for(joints, distorted=False):
    camera = make_camera(len(joints), distorted)
    keys = torch.arange(len(joints)) + 100
    return RenderRequest(joints, H36M_17, camera, camera.project(joints), keys)


def worker(source=None, **options):
    return RenderWorker(BODY, source or ZBuffer(), WarpZBuffer(BODY.faces), **options)


def raised_right_arm():
    joints = STANDING_17.clone()
    joints[RIGHT_ELBOW] = torch.tensor([-0.25, -0.70, 0.0])
    joints[RIGHT_WRIST] = torch.tensor([-0.27, -0.95, 0.0])
    return (joints + torch.tensor([0.0, 0.0, 5.0]))[None]


def test_joints_lie_a_hands_breadth_behind_the_surface_that_is_read():
    joints = make_joints(32, noise=0.02)
    answer = worker().depth(request_for(joints))
    behind = joints[..., 2].numpy() - answer.depth
    assert answer.valid.all()
    assert answer.depth.dtype == np.float32
    inner = np.delete(behind, NECK, axis=1)  # Human3.6M's lies where the nose is, on the surface itself
    assert inner.min() > -0.02
    assert 0.03 < np.median(inner) < 0.15
    assert np.abs(behind[:, NECK]).max() < 0.15


def test_depth_does_not_depend_on_distortion_of_the_camera():
    joints = make_joints(16, noise=0.02)
    plain, distorted = (worker().depth(request_for(joints, d)).depth for d in (False, True))
    assert np.abs(plain - distorted).max() < 0.02
    assert np.abs(plain - distorted).mean() < 1e-4


def test_a_raised_right_arm_is_on_the_left_of_the_image_and_the_head_is_up():
    picture = worker().images(request_for(raised_right_arm()))
    body = np.isfinite(picture["zbuffer"][0])
    rows = np.flatnonzero(body.any(1))
    top = body[rows[0] : rows[0] + 12].nonzero()[1]
    assert top.max() < 64  # what sticks out above the head is the arm, left of the middle
    assert picture["joints_px"][0, RIGHT_WRIST, 0] < 64
    assert picture["joints_px"][0, RIGHT_WRIST, 1] < picture["joints_px"][0, PELVIS, 1]
    assert picture["rgb"].shape == (1, 3, 128, 128)
    assert 0 <= picture["rgb"].min() <= picture["rgb"].max() <= 1


@pytest.mark.parametrize("name", ["zbuffer", "noisy_zbuffer"])
def test_answers_do_not_depend_on_portions_or_order_bit_for_bit(name):
    request = request_for(make_joints(20))
    whole = WorkerSpec(depth_name=name, micro_batch=64).build().depth(request)
    small = WorkerSpec(depth_name=name, micro_batch=7).build()
    assert np.array_equal(small.depth(request).depth, whole.depth)
    rest = small.depth(request[5:])
    assert np.array_equal(rest.depth, whole.depth[5:])


@pytest.mark.parametrize("distorted", [False, True])
def test_kernels_and_their_twins_in_torch_read_the_same_depth(distorted):
    request, slow = request_for(make_joints(64), distorted), worker()
    slow.geometry = TorchGeometry(BODY)
    answer, expected = worker().depth(request), slow.depth(request)
    difference = np.abs(answer.depth - expected.depth)
    # A vertex that moves by a micrometre may give a pixel at a silhouette to another face.
    assert (difference > 1e-5).mean() < 2e-3
    assert difference.max() < 0.1
    assert answer.stats["widened"] == expected.stats["widened"]


def test_a_body_without_kernels_is_fitted_in_torch():
    body = OpenBody(OpenBody.Options(bone_scale="relative"))
    request = replace(request_for(make_joints(4)), reference=make_joints(4, seed=1))
    plain = RenderWorker(body, ZBuffer(), WarpZBuffer(body.faces))
    slow = RenderWorker(body, ZBuffer(), WarpZBuffer(body.faces))
    slow.geometry = TorchGeometry(body)
    assert plain.geometry.fit(request).transforms is None
    assert np.abs(plain.depth(request).depth - slow.depth(request).depth).max() < 1e-4


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize(("source", "most"), [(ZBuffer, 19), (NoisyZBuffer, 21)])
def test_a_request_is_some_twenty_launches_without_waiting(monkeypatch, source, most, distorted):
    """As on a GPU, where a portion is packed, sent in one copy and taken apart."""
    request, drawn = request_for(make_joints(8), distorted), worker(source())
    drawn.ready()
    monkeypatch.setattr(RenderRequest, "to", lambda self, device: self.pack().unpack(device))
    monkeypatch.setattr(RenderRequest, "check", lambda self: None)  # on the host, before
    with counted() as count:
        drawn.depth(request)
    assert [call for call in count.blocking if "base.py" not in call] == []  # there a block is made, on the host
    assert count.total <= most
    kernels = {f"warp {name}" for name in ("_project", "_rasterize", "crop", "fit", "sample", "skin")}
    assert kernels <= set(count.operations)


def test_too_little_memory_halves_the_portion_once_and_for_all():
    request = request_for(make_joints(300))
    cramped = worker(CrampedZBuffer(room=70), micro_batch=256)
    answer = cramped.depth(request)
    assert (answer.stats["micro_batch"], answer.stats["oom_halvings"]) == (64, 2)
    assert np.abs(answer.depth - worker().depth(request).depth).max() < 1e-4
    assert cramped.depth(request).stats["oom_halvings"] == 2


@pytest.mark.parametrize(("room", "deterministic"), [(70, True), (20, False)])
def test_too_little_memory_is_an_error_where_portions_may_not_shrink_further(room, deterministic):
    cramped = worker(CrampedZBuffer(room), micro_batch=256, deterministic=deterministic)
    with pytest.raises(torch.OutOfMemoryError):
        cramped.depth(request_for(make_joints(300)))


def test_bad_poses_are_named():
    request = request_for(make_joints(5))
    joints = request.joints_3d.clone()
    joints[3, 4, 0] = float("nan")
    bad = replace(request, joints_3d=joints)
    with pytest.raises(ValueError, match=r"pose rows \[3\] are not finite"):
        worker().depth(bad)
    with pytest.raises(ValueError, match=r"pose rows \[0, 1, 2, 3, 4\] are behind the camera"):
        worker().depth(request_for(make_joints(5) - torch.tensor([0.0, 0.0, 12.0])))


def test_numbers_whose_sum_overflows_are_numbers():
    request = replace(request_for(make_joints(2)), confidence=torch.full((2, 17), 3e38))
    request.check()
    with pytest.raises(ValueError, match=r"pose rows \[1\] are not finite"):
        replace(request, confidence=request.confidence * torch.tensor([[1.0], [2.0]])).check()


def test_a_body_out_of_the_picture_is_not_valid_and_spoils_no_other():
    request = request_for(make_joints(3))
    joints_2d = request.joints_2d.clone()
    joints_2d[1] += 3.0
    answer = worker().depth(replace(request, joints_2d=joints_2d))
    assert answer.valid.tolist() == [True, False, True]
    assert np.isnan(answer.depth[1]).all()


def test_an_empty_request_gets_an_empty_answer():
    answer = worker().depth(request_for(make_joints(2))[:0])
    assert answer.depth.shape == (0, 17)


def test_requests_survive_the_way_to_a_worker_bit_for_bit():
    request = request_for(make_joints(4))
    answer = worker().depth(request)
    packed = request.pack()
    assert packed.rows.itemsize == 392
    assert np.array_equal(worker().depth(packed.unpack()).depth, answer.depth)
    for rows in (slice(1, 3), slice(3, 4)):
        assert np.array_equal(worker().depth(packed[rows].unpack()).depth, worker().depth(request[rows]).depth)


def test_a_request_travels_with_the_poses_before_augmentation_and_detections():
    request = replace(request_for(make_joints(4)), reference=make_joints(4, seed=1), detect=True)
    request = replace(request, confidence=torch.rand(4, 17))
    packed = request.pack()[1:]
    for again in (packed.unpack(), PackedRequest.of_blocks(packed.blocks(1000)).unpack()):
        assert (again.detect, again.skeleton) == (True, H36M_17)
        for name, sent in request[1:]._parts().items():
            assert torch.equal(again._parts()[name], sent), name


def test_the_digest_changes_with_what_is_rendered_and_with_nothing_else():
    spec = WorkerSpec()
    same = [replace(spec, micro_batch=1), replace(spec, device="cpu"), replace(spec, deterministic=True)]
    other = [
        replace(spec, depth_name="noisy_zbuffer"),
        replace(spec, depth_name="noisy_zbuffer", depth_options={"seed": 1}),
        replace(spec, body_options={"bone_scale": "relative"}),
        replace(spec, resolution=64, subject_span_px=50.0),
        replace(spec, subject_span_px=90.0),
        replace(spec, min_pool=1),
    ]
    assert {s.digest() for s in same} == {spec.digest()}
    assert len({spec.digest(), *[s.digest() for s in other]}) == 7
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_name": "zbufer"}, "did you mean 'zbuffer'"),
        ({"rasterizer": "opengl"}, "unknown rasterizer 'opengl'"),
        ({"depth_options": {"sigma": 1.0}}, "has no option 'sigma'"),
        ({"body_name": "smlp"}, "did you mean 'smpl'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(change, message):
    with pytest.raises(OptionError, match=message):
        WorkerSpec(**change).build()


def test_a_span_wider_than_the_image_is_refused():
    with pytest.raises(ValueError, match="subject_span_px"):
        worker(resolution=64)


def test_how_many_poses_are_drawn_at_once_goes_by_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert worker().micro_batch == 256
    assert worker(device="cuda").micro_batch == 2048
    assert worker(device="cuda", micro_batch=64).micro_batch == 64
    with pytest.raises(ValueError, match="micro_batch >= 0"):
        worker(micro_batch=-1)
