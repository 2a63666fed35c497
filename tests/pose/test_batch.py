"""PoseBatch: what travels; and the lifter's input, built in one place."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_camera, make_joints

ALL_SPECS = [
    InputSpec(channels=c, dscale2d=s, depth_unit=u)
    for c in ("xy", "xyd")
    for s in ("off", "paper", "focal")
    for u in ("clip", "metre")
]


def make_batch(rows=6, distorted=False, depth=True, confidence=False, frames=1) -> PoseBatch:
    joints = make_joints(rows * frames).unflatten(0, (rows, frames))
    batch = PoseBatch.from_joints(joints, make_camera(rows, distorted), H36M_17)
    surface = joints[..., 2] - 0.08 if depth else None
    return batch.replace(depth=surface, confidence=torch.rand(rows, frames, 17) if confidence else None)


def assert_same(one: PoseBatch, other: PoseBatch):
    for name in ("joints_3d", "joints_2d", "valid", "index", "domain", "depth", "confidence"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0, msg=name)
    for name in ("focal", "center", "distortion", "extent"):
        torch.testing.assert_close(getattr(one.camera, name), getattr(other.camera, name))


def test_the_2d_is_the_projection_unless_given():
    batch = make_batch(distorted=True)
    torch.testing.assert_close(batch.joints_2d, batch.camera.project(batch.joints_3d))
    detected = torch.randn_like(batch.joints_2d)
    given = PoseBatch.from_joints(batch.joints_3d, batch.camera, H36M_17, detected)
    assert torch.equal(given.joints_2d, detected)


def test_a_batch_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make_batch().depth = None  # pyright: ignore


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("distorted", [False, True])
def test_flipping_twice_changes_nothing(distorted, frames):
    batch = make_batch(distorted=distorted, confidence=True, frames=frames)
    assert_same(batch.flip().flip(), batch)


@pytest.mark.parametrize("distorted", [False, True])
def test_a_flipped_batch_projects_onto_its_own_2d(distorted):
    flipped = make_batch(distorted=distorted).flip()
    torch.testing.assert_close(flipped.camera.project(flipped.joints_3d), flipped.joints_2d, atol=1e-6, rtol=0)


def test_a_flip_mirrors_the_image_and_keeps_depth_with_its_joint():
    batch = make_batch(confidence=True)
    flipped = batch.flip()
    left, right = H36M_17.index("left_wrist"), H36M_17.index("right_wrist")
    assert torch.equal(flipped.depth[:, :, left], batch.depth[:, :, right])
    assert torch.equal(flipped.confidence[:, :, left], batch.confidence[:, :, right])
    assert torch.equal(flipped.joints_2d[:, :, left, 0], -batch.joints_2d[:, :, right, 0])
    assert torch.equal(flipped.joints_2d[..., 1], batch.joints_2d[:, :, list(H36M_17.flip), 1])


@pytest.mark.parametrize("spec", ALL_SPECS, ids=str)
def test_features_of_the_flipped_batch_are_the_flipped_features(spec):
    batch = make_batch()
    features = batch.features(spec)[:, :, list(H36M_17.flip)]
    mirrored = features * torch.tensor([-1.0, 1.0, 1.0][: spec.size])
    torch.testing.assert_close(batch.flip().features(spec), mirrored, atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", ALL_SPECS, ids=str)
def test_features_have_the_declared_size_and_treat_rows_alone(spec):
    batch = make_batch(frames=3)
    features = batch.features(spec)
    assert features.shape == (6, 3, 17, spec.size)
    torch.testing.assert_close(batch[2:4].features(spec), features[2:4])


def test_plain_features_are_the_2d_itself():
    batch = make_batch(depth=False)
    assert torch.equal(batch.features(InputSpec(channels="xy", dscale2d="off")), batch.joints_2d)


@pytest.mark.parametrize(("channels", "dscale2d"), [("xyd", "off"), ("xy", "paper"), ("xy", "focal"), ("xyd", "focal")])
def test_depth_that_is_needed_and_absent_is_an_error_that_says_what_to_do(channels, dscale2d):
    with pytest.raises(ValueError, match="render it first"):
        make_batch(depth=False).features(InputSpec(channels=channels, dscale2d=dscale2d))


def test_scale_normalised_2d_is_metric_up_to_the_reference_for_any_distance_and_lens():
    """What focal-aware dscale2d is for: x / z * f * z / d_ref * f_ref / f no longer depends on z or f."""
    pose = make_joints(1)[:, None]
    near_root = pose[:, :, :1]
    seen = []
    for distance, focal in ((3.0, 1.5), (6.0, 1.5), (3.0, 2.9)):
        joints = pose - near_root
        joints = joints * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, distance])
        camera = Camera(torch.full((1, 2), focal), torch.full((1, 2), 0.07), torch.zeros(1, 5), torch.ones(1, 2))
        batch = PoseBatch.from_joints(joints, camera, H36M_17).replace(depth=joints[..., 2])
        seen.append(batch.features(InputSpec(channels="xy", dscale2d="focal", d_ref=4.0, f_ref=2.0)))
    torch.testing.assert_close(seen[1], seen[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[2], seen[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[0], (pose - near_root)[..., :2] * 2.0 / 4.0, atol=1e-6, rtol=0)


def test_the_papers_scale_leaves_the_focal_length_in():
    batch = make_batch()
    paper, focal = (batch.features(InputSpec(channels="xy", dscale2d=form)) for form in ("paper", "focal"))
    torch.testing.assert_close(focal, paper * (2.29 / batch.camera.focal)[:, None, None])


def test_the_reference_depth_scales_the_2d_and_nothing_else():
    batch = make_batch()
    one, other = (batch.features(InputSpec(d_ref=d)) for d in (3.0, 6.0))
    torch.testing.assert_close(one[..., :2], 2 * other[..., :2])
    assert torch.equal(one[..., 2], other[..., 2])


def test_the_depth_channel_is_relative_to_the_pelvis_and_clipped():
    batch = make_batch()
    depth = batch.depth.clone()
    depth[0, 0, 3], depth[0, 0, 6] = depth[0, 0, 0] + 9.0, depth[0, 0, 0] - 9.0
    batch = batch.replace(depth=depth)
    clipped = batch.features(InputSpec())[..., 2]
    metres = batch.features(InputSpec(depth_unit="metre"))[..., 2]
    assert (clipped[:, :, 0] == 0).all()
    assert (clipped[0, 0, 3], clipped[0, 0, 6]) == (1.0, -1.0)
    torch.testing.assert_close(metres, 2.0 * clipped)
    torch.testing.assert_close(metres[1], batch.depth[1] - batch.depth[1, :, :1])


def test_moved_joints_are_seen_again_and_lose_what_was_rendered():
    batch = make_batch(confidence=True)
    moved = batch.with_joints(batch.joints_3d + torch.tensor([0.1, 0.0, 0.5]))
    torch.testing.assert_close(moved.joints_2d, batch.camera.project(moved.joints_3d))
    assert moved.depth is None
    assert moved.confidence is None
    assert moved.valid.all()


def test_poses_that_leave_the_frame_become_invalid_and_stay_so():
    batch = make_batch()
    shift = torch.zeros(6, 1, 1, 3)
    shift[2, ..., 0], shift[4, ..., 2] = 20.0, -20.0
    away = batch.with_joints(batch.joints_3d + shift)
    assert away.valid.tolist() == [True, True, False, True, False, True]
    assert away.with_joints(batch.joints_3d).valid.tolist() == away.valid.tolist()


def test_one_frame_out_of_view_invalidates_the_clip():
    batch = make_batch(frames=3)
    shift = torch.zeros(6, 3, 1, 3)
    shift[1, 2, ..., 1] = 30.0
    assert batch.with_joints(batch.joints_3d + shift).valid.tolist() == [True, False, True, True, True, True]


@pytest.mark.parametrize("rows", [slice(1, 4), torch.tensor([1, 2, 3]), torch.arange(6).ge(1) & torch.arange(6).lt(4)])
def test_rows_are_chosen_by_slice_index_or_mask_alike(rows):
    batch = make_batch(confidence=True)
    assert batch[rows].index.tolist() == [1, 2, 3]
    assert_same(PoseBatch.concatenate([batch[:1], batch[rows], batch[4:]]), batch)


def test_batches_that_do_not_fit_are_not_joined():
    batch = make_batch()
    with pytest.raises(ValueError, match="depth"):
        PoseBatch.concatenate([batch, batch.replace(depth=None)])
    with pytest.raises(ValueError, match="h36m_16"):
        PoseBatch.concatenate([batch, batch.convert(H36M_16)])


def test_conversion_acts_on_3d_2d_and_confidence_alike_and_drops_depth():
    batch = make_batch(confidence=True)
    sixteen = batch.convert(H36M_16)
    kept = [j for j in range(17) if j != 9]
    assert torch.equal(sixteen.joints_3d, batch.joints_3d[:, :, kept])
    assert torch.equal(sixteen.joints_2d, batch.joints_2d[:, :, kept])
    assert torch.equal(sixteen.confidence, batch.confidence[:, :, kept])
    assert sixteen.depth is None
    assert batch.convert(H36M_17) is batch
    assert_same(sixteen.flip(), batch.flip().convert(H36M_16))


def test_the_root_of_a_root_relative_pose_is_the_origin():
    batch = make_batch(frames=2)
    assert (batch.root_relative[:, :, 0] == 0).all()
    torch.testing.assert_close(batch.root_relative + batch.joints_3d[:, :, :1], batch.joints_3d)


def test_a_detached_batch_carries_no_gradient():
    joints = make_joints(2)[:, None].requires_grad_()
    batch = PoseBatch.from_joints(joints, make_camera(2), H36M_17)
    assert batch.joints_2d.requires_grad
    assert not batch.detach().joints_2d.requires_grad
    assert not batch.detach().joints_3d.requires_grad


def test_joints_and_cameras_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected 16 joints"):
        PoseBatch.from_joints(make_joints(3)[:, None], make_camera(3), H36M_16)
    with pytest.raises(ValueError, match="3 poses, 2 cameras"):
        PoseBatch.from_joints(make_joints(3)[:, None], make_camera(2), H36M_17)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": "depth"},
        {"dscale2d": "on"},
        {"depth_unit": "mm"},
        {"d_ref": 0.0},
        {"f_ref": -1.0},
        {"depth_clip": float("nan")},
    ],
)
def test_impossible_inputs_are_refused_with_the_possible_ones(wrong):
    with pytest.raises(ValueError, match="must be"):
        InputSpec(**wrong)


def test_inputs_know_whether_they_need_depth():
    assert not InputSpec(channels="xy", dscale2d="off").needs_depth
    assert all(s.needs_depth for s in ALL_SPECS if (s.channels, s.dscale2d) != ("xy", "off"))


@pytest.mark.parametrize("lost", [(), (0, 3), (5,), range(6)])
def test_which_rows_are_usable_stays_known_of_parts_and_of_joined_batches(lost):
    valid = torch.ones(6, dtype=torch.bool)
    valid[list(lost)] = False
    batch = make_batch().replace(valid=valid)
    known = make_batch().replace(valid=valid).knowing(None if not lost else valid.nonzero()[:, 0])
    parts = (slice(2), slice(2, 5), slice(3, None), slice(None, None, 2), slice(4, 4))
    cases = [(batch[part], known[part]) for part in parts]
    cases.append((PoseBatch.concatenate([batch, batch[:2]]), PoseBatch.concatenate([known, known[:2]])))
    for asked, told in cases:
        assert "usable" in told.__dict__
        rows = torch.arange(len(asked))
        assert torch.equal(rows if asked.usable is None else asked.usable, rows if told.usable is None else told.usable)


def test_of_rows_by_index_or_of_changed_poses_it_is_not_known():
    known = make_batch().knowing(torch.tensor([0, 2]))
    changed = known.replace(valid=torch.ones(6, dtype=torch.bool))
    for other in (known[torch.tensor([2, 1])], changed, PoseBatch.concatenate([known, changed])):
        assert "usable" not in other.__dict__
    assert changed.knowing_as(known).usable.tolist() == [0, 2]
