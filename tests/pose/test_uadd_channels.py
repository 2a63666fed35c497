"""UADD: laws of the disk's radius, and the channels that a lifter is given."""

from dataclasses import replace

import pytest
import torch

from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.boxes import box_size, rescale_boxes
from dg.pose.skeleton import H36M_16, H36M_17
from dg.pose.uadd import FRAME_PX, RadiusLaw
from tests.conftest import make_camera, make_joints

PX = 2 / FRAME_PX  # a pixel of a frame 1000 wide, normalised
LAWS = [RadiusLaw(), RadiusLaw("scale"), RadiusLaw(r_min=5.0, r_max=12.0), RadiusLaw("scale", 1.0, 200.0)]
DETECTED = ("xyc", "xycd", "uadd")


def make_batch(rows=6, frames=1):
    joints = make_joints(rows * frames).unflatten(0, (rows, frames))
    batch = PoseBatch.from_joints(joints, make_camera(rows), H36M_17)
    return batch.replace(
        depth=joints[..., 2] - 0.08,
        confidence=torch.rand(rows, frames, 17),
        depth_spread=torch.rand(rows, frames, 17, 2) * torch.tensor([-0.3, 1.5]),
        detection_error=0.02 * torch.randn(rows, frames, 17, 2),
    )


def spec(channels, **changes):
    return InputSpec(channels, **({"dscale2d": "off"} | changes))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_radius_grows_with_doubt_and_stays_within_its_ends(law):
    doubt = torch.linspace(0, 1, 101)
    radius = law.radius(1 - doubt, torch.tensor(0.2)) / PX
    assert (radius.diff() >= 0).all()
    assert radius[-1] > radius[0]
    assert radius.min() >= law.r_min - 1e-4
    assert radius.max() <= law.r_max + 1e-4


@pytest.mark.parametrize(("confidence", "pixels"), [(1.0, 3.0), (0.5, 16.5), (0.0, 30.0), (1.7, 3.0), (-0.4, 30.0)])
def test_the_linear_law_has_the_released_ends_and_clamps_beyond(confidence, pixels):
    radius = RadiusLaw().radius(torch.tensor([confidence]), torch.tensor(0.2))
    assert radius.item() / PX == pytest.approx(pixels, rel=1e-5)


@pytest.mark.parametrize(
    ("torso_px", "confidence", "pixels"),
    [
        (100, 1.0, 4.0),  # 0.04 x 100
        (100, 0.5, 0.04 * 100 * 2.5**1.5),
        (100, 0.0, 30.0),  # 32, clamped
        (20, 1.0, 3.0),  # 0.8, clamped
        (50, 0.0, 0.04 * 50 * 8),
    ],
)
def test_the_scale_aware_law_follows_the_torso(torso_px, confidence, pixels):
    radius = RadiusLaw("scale").radius(torch.tensor([[confidence]]), torch.tensor([torso_px * PX]))
    assert radius.item() / PX == pytest.approx(pixels, rel=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"mode": "square"}, {"r_min": 0.0}, {"r_min": 9.0, "r_max": 8.0}, {"r_max": float("nan")}]
)
def test_an_impossible_law_is_refused(wrong):
    with pytest.raises(ValueError, match=r"radius_mode must be|r_min"):
        RadiusLaw(**wrong)


def test_six_channels_in_the_papers_order():
    batch = make_batch()
    x = batch.features(spec("uadd"))
    assert x.shape[-1] == spec("uadd").size == 6
    root = batch.depth[..., :1]
    depths = [batch.depth, batch.depth + batch.depth_spread[..., 0], batch.depth + batch.depth_spread[..., 1]]
    torch.testing.assert_close(x[..., :2], batch.joints_2d + batch.detection_error)
    torch.testing.assert_close(x[..., 2], 2 * batch.confidence - 1)
    for channel, depth in zip((3, 4, 5), depths, strict=True):
        torch.testing.assert_close(x[..., channel], (depth - root).clamp(-2, 2) / 2)
    assert (x[..., 4] <= x[..., 3]).all()
    assert (x[..., 3] <= x[..., 5]).all()


@pytest.mark.parametrize(("channels", "kept"), [("xyc", [0, 1, 2]), ("xycd", [0, 1, 2, 3])])
def test_the_ablations_are_columns_of_the_whole(channels, kept):
    batch = make_batch()
    assert torch.equal(batch.features(spec(channels)), batch.features(spec("uadd"))[..., kept])


def test_confidence_spans_minus_one_to_one_and_depths_are_clipped():
    batch = make_batch()
    confidence, spread = torch.zeros(6, 1, 17), torch.zeros(6, 1, 17, 2)
    confidence[..., 1::2] = 1.0
    spread[..., 0], spread[..., 1] = -50.0, 50.0
    x = batch.replace(confidence=confidence, depth_spread=spread).features(spec("uadd"))
    assert x[..., 2].unique().tolist() == [-1.0, 1.0]
    assert (x[..., 4] == -1).all()
    assert (x[..., 5] == 1).all()
    metres = batch.replace(depth_spread=spread).features(spec("uadd", depth_unit="metre", depth_clip=3.0))
    assert (metres[..., 5] == 3).all()


@pytest.mark.parametrize("channels", ["xy", "xyd"])
def test_inputs_without_confidence_are_what_they_were_bit_for_bit(channels):
    batch = make_batch().replace(confidence=None, depth_spread=None, detection_error=None)
    s = InputSpec(channels)
    root = batch.depth[..., :1]
    xy = (batch.joints_2d - batch.camera.center[:, None, None]) * (root / s.d_ref)[..., None]
    xy = xy * (s.f_ref / batch.camera.focal)[:, None, None]
    parts = [xy, ((batch.depth - root).clamp(-2.0, 2.0) / 2.0)[..., None]]
    assert torch.equal(batch.features(s), torch.cat(parts, -1) if channels == "xyd" else xy)
    assert torch.equal(batch.features(spec("xy")), batch.joints_2d)


@pytest.mark.parametrize("channels", ["xy", *DETECTED])
@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_box_rescaling_gives_every_box_one_size_and_keeps_its_place(channels, scale):
    batch = make_batch(frames=2)
    batch = batch.replace(joints_2d=batch.joints_2d * scale, detection_error=batch.detection_error * scale)
    xy = batch.features(InputSpec(channels, "box", box_ref=0.4))[..., :2]
    torch.testing.assert_close(box_size(xy), torch.full((6, 2), 0.4))
    torch.testing.assert_close(xy.mean(-2), batch.seen_2d.mean(-2), atol=1e-6, rtol=0)
    assert torch.equal(xy, rescale_boxes(batch.seen_2d, 0.4))


def test_box_rescaling_needs_the_training_sets_size_and_no_depth():
    with pytest.raises(ValueError, match="box_ref must be positive"):
        InputSpec("uadd", "box")
    assert not InputSpec("xyc", "box", box_ref=0.4).needs_depth
    assert InputSpec("uadd", "box", box_ref=0.4).needs_depth
    make_batch().replace(depth=None, depth_spread=None).features(InputSpec("xyc", "box", box_ref=0.4))


def test_dscale2d_takes_the_median_at_the_pelvis():
    batch = make_batch()
    near, far = batch, batch.replace(depth=2 * batch.depth)
    one, other = (b.features(InputSpec("uadd", "paper"))[..., :2] for b in (near, far))
    torch.testing.assert_close(other, 2 * one)


@pytest.mark.parametrize("channels", DETECTED)
def test_features_of_the_mirror_image_are_the_mirrored_features(channels):
    batch = make_batch()
    s = spec(channels)
    mirrored = batch.features(s)[:, :, list(H36M_17.flip)] * torch.tensor([-1.0] + [1.0] * (s.size - 1))
    torch.testing.assert_close(batch.flip().features(s), mirrored, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("absent", "message"),
    [("confidence", "confidence of its 2D"), ("depth", "depth at the joints"), ("depth_spread", "range of depth")],
)
def test_what_is_absent_is_named(absent, message):
    with pytest.raises(ValueError, match=message):
        make_batch().replace(**{absent: None}).features(spec("uadd"))


def test_a_pose_moved_with_analytic_depth_keeps_its_offsets_to_the_nearest_and_farthest_surface():
    batch = make_batch()
    shift = torch.tensor([0.2, -0.1, 0.7])
    joints = batch.joints_3d + shift
    moved = batch.replace(joints_3d=joints, depth=batch.depth + shift[2], joints_2d=batch.camera.project(joints))
    before, after = (b.features(spec("uadd", dscale2d="off")) for b in (batch, moved))
    torch.testing.assert_close(after[..., 2:], before[..., 2:], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved.seen_2d - moved.joints_2d, batch.detection_error, atol=1e-6, rtol=0)


def test_joints_put_elsewhere_lose_their_detection():
    moved = make_batch().with_joints(make_batch().joints_3d)
    assert all(v is None for v in (moved.confidence, moved.depth, moved.depth_spread, moved.detection_error))
    assert torch.equal(moved.seen_2d, moved.joints_2d)


def test_a_batch_with_detections_is_chosen_joined_saved_and_moved_as_a_whole():
    batch = make_batch(frames=3)
    joined = PoseBatch.concatenate([batch[:2], batch[torch.tensor([2, 3, 4, 5])]])
    restored = PoseBatch.from_state(joined.state_dict(), H36M_17)
    assert torch.equal(restored.to("cpu").features(spec("uadd")), batch.features(spec("uadd")))
    with pytest.raises(ValueError, match="depth_spread"):
        PoseBatch.concatenate([batch, batch.replace(depth_spread=None)])
    backwards = replace(batch, **batch.by_frame(lambda value: value.flip(1)))
    assert torch.equal(backwards.features(spec("uadd")), batch.features(spec("uadd")).flip(1))


def test_another_skeleton_keeps_what_a_detector_saw_and_drops_depth():
    batch = make_batch()
    sixteen = batch.convert(H36M_16)
    kept = [j for j in range(17) if j != 9]
    assert torch.equal(sixteen.seen_2d, batch.seen_2d[:, :, kept])
    assert torch.equal(sixteen.confidence, batch.confidence[:, :, kept])
    assert sixteen.depth is None
    assert sixteen.depth_spread is None
