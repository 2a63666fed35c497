"""Depth in disks around joints: exact pixels, and what a worker answers when asked for detections."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.detections import SyntheticDetector
from dg.pose.skeleton import H36M_17
from dg.pose.uadd import RadiusLaw
from render_workers.base import BACKGROUND, READINGS, RenderRequest
from render_workers.depth.zbuffer import ZBuffer
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.uadd import UaddOptions, disk_statistics
from render_workers.worker import RenderWorker, WorkerSpec
from tests.bench.uadd import statistics_by_loop
from tests.conftest import STANDING_17, make_camera, make_joints

BODY = OpenBody()
DEFAULT = UaddOptions()
MEDIAN, NEAREST, FARTHEST, CONFIDENCE, ERROR = 0, 1, 2, 3, slice(4, 6)
SIZE = 48


def at(depth_map, u, v, radius):
    """Statistics around one place of one map."""
    return disk_statistics(depth_map[None], torch.tensor([[[u, v]]]).float(), torch.tensor([[radius]]).float())[0, 0]


def column(values):
    """A map that has `values` from left to right in every row."""
    return values.float().expand(SIZE, -1)


# -- the disk


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.5, 2.0, math.sqrt(5), 3.0, 7.9, 10.0, 15.5])
def test_the_disk_has_the_pixels_of_a_circle_and_no_others(radius):
    """Each pixel alone carries another depth: it counts exactly if it lies within the radius."""
    centre, reach = 24, math.ceil(radius) + 1
    inside = sum(
        dx * dx + dy * dy <= np.float32(radius) * np.float32(radius)
        for dx in range(-reach, reach + 1)
        for dy in range(-reach, reach + 1)
    )
    counted = 0
    for v in range(centre - reach, centre + reach + 1):
        for u in range(centre - reach, centre + reach + 1):
            depth = torch.full((SIZE, SIZE), 2.0)
            depth[v, u] = 1.0
            counted += at(depth, centre + 0.5, centre + 0.5, radius)[NEAREST].item() == 1.0
    assert counted == inside


@pytest.mark.parametrize("radius", [1.0, 3.0, 6.5])
def test_a_sloping_plane_gives_its_middle_and_its_ends(radius):
    found = at(column(3 + 0.01 * torch.arange(SIZE)), 20.5, 30.5, radius)
    middle, reach = 3 + 0.01 * 20, 0.01 * math.floor(radius)
    torch.testing.assert_close(found, torch.tensor([middle, middle - reach, middle + reach]))


@pytest.mark.parametrize(("u", "median"), [(19.5, 2.0), (20.5, 5.0)])
def test_a_step_shows_both_sides_and_the_median_that_of_the_joint(u, median):
    depth = column(torch.where(torch.arange(SIZE) < 20, 2.0, 5.0))
    assert at(depth, u, 24.0, 4.0).tolist() == [median, 2.0, 5.0]
    assert at(depth, 10.0, 24.0, 4.0).tolist() == [2.0, 2.0, 2.0]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    depth = torch.full((SIZE, SIZE), BACKGROUND)
    depth[10, 9:13] = torch.tensor([1.0, 2.0, 4.0, 9.0])
    assert at(depth, 10.5, 10.5, 3.0).tolist() == [3.0, 1.0, 9.0]


def test_background_does_not_count_and_a_disk_of_nothing_else_has_no_depth():
    depth = torch.full((SIZE, SIZE), BACKGROUND)
    assert at(depth, 20.0, 20.0, 5.0).isnan().all()
    depth[23, 20] = 4.0
    assert at(depth, 20.5, 20.5, 3.0).tolist() == [4.0] * 3
    assert at(depth, 20.5, 20.5, 2.9).isnan().all()


def test_a_background_depth_stands_in_for_what_has_none_and_only_within_the_image():
    depth = column(torch.where(torch.arange(SIZE) < 20, 2.0, BACKGROUND))
    walled = torch.where(depth < BACKGROUND, depth, 7.0)
    place = torch.tensor([[[20.5, 1.0], [19.5, 24.0], [47.0, 47.0], [3.0, 3.0]]])
    radius = torch.tensor([[4.0, 3.3, 2.0, 9.0]])
    found = disk_statistics(depth[None], place, radius, torch.tensor([7.0]))
    assert torch.equal(found, disk_statistics(walled[None], place, radius))


def test_a_joint_beyond_the_image_is_read_at_its_border():
    depth = column(torch.arange(SIZE) + 1.0)
    assert at(depth, -30.0, 20.0, 2.0).tolist() == at(depth, 0.5, 20.0, 2.0).tolist()
    assert at(depth, 0.5, 20.0, 2.0)[[NEAREST, FARTHEST]].tolist() == [1.0, 3.0]  # the half outside is no pixel
    assert at(depth, 400.0, -9.0, 1.0)[FARTHEST].item() == SIZE


def test_a_radius_beyond_the_image_takes_all_of_it():
    depth = torch.rand(5, 9)
    expected = [depth.flatten().median().item(), depth.min().item(), depth.max().item()]
    assert at(depth, 0.5, 0.5, 500.0).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_all_joints_at_once_equal_one_by_one(seed):
    random = torch.Generator().manual_seed(seed)
    depth = 3 + torch.rand(4, 40, 52, generator=random)
    depth[torch.rand(4, 40, 52, generator=random) < 0.4] = BACKGROUND
    joints = torch.rand(4, 17, 2, generator=random) * torch.tensor([60.0, 48.0]) - 4
    radius = 12 * torch.rand(4, 17, generator=random) ** 2
    found = disk_statistics(depth, joints, radius)
    expected = torch.from_numpy(statistics_by_loop(depth.numpy(), joints.numpy(), radius.numpy()))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0, equal_nan=True)
    alone = disk_statistics(depth[2:], joints[2:], radius[2:])
    torch.testing.assert_close(found[2:], alone, atol=0, rtol=0, equal_nan=True)


@pytest.mark.gpu
def test_a_gpu_finds_the_same():
    depth, joints, radius = 3 + torch.rand(3, 40, 40), 40 * torch.rand(3, 17, 2), 9 * torch.rand(3, 17)
    there = disk_statistics(depth.cuda(), joints.cuda(), radius.cuda()).cpu()
    torch.testing.assert_close(there, disk_statistics(depth, joints, radius), atol=1e-6, rtol=0)


# -- a worker that is asked for detections


def request_for(joints, confidence=None, keys=None):
    camera = make_camera(len(joints))
    keys = torch.arange(len(joints)) + 100 if keys is None else keys
    joints_2d = camera.project(joints)
    return RenderRequest(joints, H36M_17, camera, joints_2d, keys, detect=True, confidence=confidence)


def worker(uadd=DEFAULT, **options):
    return RenderWorker(BODY, ZBuffer(), WarpZBuffer(BODY.faces), uadd=uadd, **options)


def readings(request, uadd=DEFAULT, **options):
    answer = worker(uadd, **options).depth(request)
    assert answer.valid.all()
    return answer.depth


def standing(left_wrist):
    """A standing person 5 m away, the left wrist elsewhere (metres from the pelvis)."""
    joints = STANDING_17.clone()
    joints[12] = torch.tensor([0.25, -0.25, (left_wrist[2]) / 2])
    joints[13] = torch.tensor(left_wrist)
    return (joints + torch.tensor([0.0, 0.0, 5.0]))[None]


def test_an_answer_holds_the_readings_of_each_joint():
    joints = make_joints(16, noise=0.02)
    found = readings(request_for(joints))
    assert found.shape == (16, 17, READINGS)
    assert found.dtype == np.float32
    assert (found[..., NEAREST] <= found[..., MEDIAN]).all()
    assert (found[..., MEDIAN] <= found[..., FARTHEST]).all()
    assert found[..., CONFIDENCE].min() >= 0
    assert found[..., CONFIDENCE].max() <= 1
    behind = joints[:, [0, 7, 8], 2].numpy() - found[:, [0, 7, 8], MEDIAN]  # trunk: no background in its disks
    assert 0 < behind.min() < behind.max() < 0.3


def test_an_occluder_in_front_lowers_confidence_and_spoils_the_2d():
    rows = 200
    keys = torch.arange(rows)
    beside, behind = (
        readings(request_for(standing(wrist).repeat(rows, 1, 1), keys=keys))
        for wrist in ((0.45, 0.0, 0.25), (0.0, -0.2, 0.35))
    )
    wrist = 13
    assert beside[:, wrist, CONFIDENCE].mean() > 0.85
    assert behind[:, wrist, CONFIDENCE].mean() < 0.45
    assert behind[:, wrist, ERROR].std() > 3 * beside[:, wrist, ERROR].std()
    still = [0, 1, 2, 3, 4, 5, 6, 9, 10]  # what the arm does not touch
    assert np.abs(beside[:, still, CONFIDENCE] - behind[:, still, CONFIDENCE]).max() < 1e-5


def test_the_same_key_gives_the_same_noise_whatever_is_beside_it():
    request = request_for(make_joints(20))
    whole = readings(request, micro_batch=64)
    assert np.abs(readings(request, micro_batch=7) - whole).max() < 1e-4
    assert np.abs(readings(request[5:8]) - whole[5:8]).max() < 1e-4
    other = readings(replace(request, keys=request.keys + 1000))
    assert (np.abs(other - whole)[..., ERROR].max(-1) > 0).all()


def test_draws_of_neighbouring_keys_and_joints_are_unrelated():
    rows = 2000
    joints = standing((0.45, 0.0, 0.0)).repeat(rows, 1, 1)
    error = readings(request_for(joints, keys=torch.arange(rows)))[:, :, ERROR].reshape(rows, -1)
    related = np.corrcoef(np.concatenate([error[:-1], error[1:]], 1).T) - np.eye(2 * error.shape[1])
    assert np.abs(related).max() < 0.12  # of 2,000 pairs: five standard deviations


def test_a_real_detectors_confidence_is_kept_and_its_2d_is_not_moved():
    joints = make_joints(4)
    given = torch.rand(4, 17)
    found = readings(request_for(joints, confidence=given))
    assert np.array_equal(found[..., CONFIDENCE], given.numpy())
    assert (found[..., ERROR] == 0).all()


def test_doubt_widens_the_disk():
    joints = make_joints(8, noise=0.02)
    sure, unsure = (readings(request_for(joints, torch.full((8, 17), c))) for c in (1.0, 0.0))
    assert (unsure[..., NEAREST] <= sure[..., NEAREST] + 1e-6).all()
    assert (unsure[..., FARTHEST] >= sure[..., FARTHEST] - 1e-6).all()
    assert (unsure[..., FARTHEST] - unsure[..., NEAREST]).mean() > 3 * (sure[..., FARTHEST] - sure[..., NEAREST]).mean()


def test_the_disk_belongs_to_the_person_whatever_the_resolution_of_the_crop():
    request = request_for(make_joints(8, noise=0.02), confidence=torch.zeros(8, 17))
    coarse = readings(request)
    fine = readings(request, resolution=512, subject_span_px=400.0)
    assert np.abs(fine - coarse)[..., NEAREST].mean() < 0.01


def test_the_wall_lies_behind_the_person_and_can_be_taken_away():
    request = request_for(make_joints(8, noise=0.02), confidence=torch.zeros(8, 17))
    farthest = request.joints_3d[..., 2].amax(-1, keepdim=True).numpy()
    walled = readings(request)[..., FARTHEST]
    flagged = walled > farthest + 1
    assert 0.2 < flagged.mean() < 1
    assert np.allclose(walled[flagged], (farthest + 3.0).repeat(17, 1)[flagged])
    bare = readings(request, UaddOptions(background_m=0.0))
    assert (bare[..., FARTHEST] < farthest + 0.5).all()
    assert np.isfinite(bare).all()


def test_a_body_out_of_the_picture_is_not_valid_and_spoils_no_other():
    request = request_for(make_joints(3))
    joints_2d = request.joints_2d.clone()
    joints_2d[1] += 3.0
    answer = worker().depth(replace(request, joints_2d=joints_2d))
    assert answer.valid.tolist() == [True, False, True]


def test_requests_for_detections_travel_whole_and_plain_ones_as_before():
    request = request_for(make_joints(4), confidence=torch.rand(4, 17))
    again = request.pack().unpack()
    assert np.array_equal(readings(again), readings(request))
    plain = replace(request, detect=False, confidence=None)
    assert not plain.pack().unpack().detect
    assert request.pack().rows.itemsize - plain.pack().rows.itemsize == 4 * 17
    assert (request.answer_shape, plain.answer_shape, plain[:0].answer_shape) == ((4, 17, 6), (4, 17), (0, 17))
    assert worker().depth(request[:0]).depth.shape == (0, 17, 6)


def test_plain_requests_are_answered_alike_by_every_worker_and_detections_only_by_those_that_can():
    request = request_for(make_joints(4))
    plain = replace(request, detect=False)
    assert np.array_equal(worker().depth(plain).depth, worker(None).depth(plain).depth)
    with pytest.raises(ValueError, match="this worker reads depth alone"):
        worker(None).depth(request)


def test_the_digest_changes_with_every_option_and_not_without_detections():
    plain = WorkerSpec()
    others = [
        replace(plain, uadd=options)
        for options in (
            UaddOptions(),
            UaddOptions(RadiusLaw("scale")),
            UaddOptions(RadiusLaw(r_max=15.0)),
            UaddOptions(detector=SyntheticDetector(hidden_m=0.4)),
            UaddOptions(background_m=0.0),
        )
    ]
    assert len({plain.digest(), *[o.digest() for o in others]}) == 6
    assert replace(others[0], uadd=None).digest() == plain.digest()


def test_a_wall_before_the_person_is_refused():
    with pytest.raises(ValueError, match="background_m must not be negative"):
        UaddOptions(background_m=-1.0)
