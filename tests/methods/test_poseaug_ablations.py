"""PoseAug's ablations: which operations are made, which discriminators judge, one discriminator for all bones."""

import pytest
import torch

from dg.augment.extra_poses import ExtraPoses
from dg.methods.base import StepKey
from dg.methods.discriminators import PartDiscriminator
from dg.methods.poseaug import PoseAugOptions
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints
from tests.contracts.test_every_method import source_batch, step
from tests.files.mpii_maker import WRITERS, mpii_people
from tests.methods.test_poseaug import poseaug


def proposed(*operations, rigid="learned"):
    """Source poses and what the method makes of them."""
    method = poseaug(operations=operations, rigid=rigid, templates="off", feedback="off")
    method.iterations = 1
    source = source_batch(H36M_16)
    made = method.propose(source, StepKey(0, 0, 0))
    return source.joints_3d[:, 0], made.joints_3d[:, 0]


def changed(before, after):
    """Whether angles between bones, bone lengths, and place or orientation have changed."""
    (one, _), (other, _) = (unit_bones(joints - joints[:, :1], H36M_16) for joints in (before, after))
    cosines = (one @ one.mT - other @ other.mT).abs().max()
    lengths = (bone_lengths(before, H36M_16) - bone_lengths(after, H36M_16)).abs().max()
    # Spine and thorax are turned by the rigid transform alone.
    trunk = H36M_16.bone("spine")
    moved = torch.maximum((one[:, trunk] - other[:, trunk]).abs().max(), (before[:, 0] - after[:, 0]).abs().max())
    return tuple(bool(value > 1e-4) for value in (cosines, lengths, moved))


@pytest.mark.parametrize("rigid", ["learned", "random"])
@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (("ba",), (True, False, False)),
        (("bl",), (False, True, False)),
        (("ba", "bl"), (True, True, False)),
        (("ba", "rt"), (True, False, True)),
        (("bl", "rt"), (False, True, True)),
        (("ba", "bl", "rt"), (True, True, True)),
    ],
)
def test_only_the_operations_that_are_named_change_the_poses(operations, expected, rigid):
    assert changed(*proposed(*operations, rigid=rigid)) == expected


def test_a_rigid_transform_alone_is_learned_or_another_method():
    assert changed(*proposed("rt")) == (False, False, True)
    with pytest.raises(ValueError, match="random_rigid"):
        PoseAugOptions(operations=("rt",))


@pytest.mark.parametrize("judges", [("2d",), ("3d",), ("2d", "3d"), ()])
def test_only_the_discriminators_that_are_named_judge_and_learn(judges):
    method = poseaug(discriminators=judges, discriminator_every=1)
    metrics = [step(method, number).metrics for number in range(3)][-1]
    for name in ("2d", "3d"):
        assert (f"loss/adversarial_{name}" in metrics) == (name in judges)
        assert (f"loss/discriminator_{name}" in metrics) == (name in judges)
        assert (f"discriminator_{name}" in method.networks) == (name in judges)


def test_a_discriminator_of_the_whole_body_sees_pairs_of_bones_that_no_part_holds():
    torch.manual_seed(0)
    parts, whole = PartDiscriminator(H36M_16), PartDiscriminator(H36M_16, whole=True)
    joints = make_joints(4, 16).requires_grad_()
    assert (parts(joints).shape, whole(joints).shape) == ((4, 5), (4, 1))

    def entries(network):
        found = network.entry[network.present[:, :, 0] > 0]
        return set(found.tolist())

    bones = len(H36M_16.bones)
    wrist, ankle = H36M_16.bone("left_wrist"), H36M_16.bone("right_ankle")
    assert wrist * bones + ankle in entries(whole) - entries(parts)
    assert len(entries(whole)) == bones * bones


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"operations": ("ba", "ba")}, "different ones"),
        ({"operations": ("bone",)}, "different ones"),
        ({"operations": ()}, "nothing to learn"),
        ({"operations": ("rt",), "rigid": "learned", "discriminators": ("3d",)}, r"discriminators=\[2d\]"),
        ({"kcs": "arms"}, "kcs must be"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PoseAugOptions(**given)


@pytest.fixture(params=sorted(WRITERS))
def mpii(request, tmp_path):
    path = tmp_path / f"mpii{request.param}"
    WRITERS[request.param](path, mpii_people(30))
    return path


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
def test_further_poses_keep_their_shape_and_take_place_and_size_of_the_sources(mpii, skeleton):
    extra = ExtraPoses(mpii, skeleton)
    seen = source_batch(skeleton).joints_2d[:, 0]
    found = extra.like(seen, torch.Generator().manual_seed(0))
    box = lambda poses: (poses.amax(1) - poses.amin(1)).sum(-1)  # noqa: E731
    torch.testing.assert_close(box(found), box(seen))
    torch.testing.assert_close(found[:, 0], seen[:, 0])
    shape = (found - found[:, :1]) / box(found)[:, None, None]
    stored = extra.poses / box(extra.poses)[:, None, None]
    assert (shape[:, None] - stored).abs().amax((-1, -2)).amin(1).max() < 1e-5
    at = {name: stored[:, skeleton.index(name)] for name in ("pelvis", "thorax", "spine", "head", "left_knee")}
    torch.testing.assert_close(at["spine"], (at["pelvis"] + at["thorax"]) / 2)
    # y points down: heads above the root, knees below it.
    assert (at["head"][:, 1] < 0).all()
    assert (at["left_knee"][:, 1] > 0).all()


@pytest.mark.parametrize("rigid", ["learned", "random"])
def test_the_2d_discriminator_takes_half_of_its_real_poses_from_the_file(mpii, rigid):
    method = poseaug(extra_2d=str(mpii), rigid=rigid, templates="off", feedback="off")
    plain = poseaug(rigid=rigid, templates="off", feedback="off")
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    real, usual = method._with_extra(method._real_2d(source, key), key), plain._real_2d(source, key)
    kept = (real == usual).flatten(1).all(1)
    assert 0.2 < kept.float().mean() < 0.8
    shape = (real - real[:, :1])[~kept]
    shape = shape / (shape.amax(1) - shape.amin(1)).sum(-1)[:, None, None]
    stored = method.extra.poses / (method.extra.poses.amax(1) - method.extra.poses.amin(1)).sum(-1)[:, None, None]
    assert (shape[:, None] - stored).abs().amax((-1, -2)).amin(1).max() < 1e-5
    metrics = [step(method, number).metrics for number in range(3)]
    assert any("loss/discriminator_2d" in found for found in metrics)


def test_further_poses_without_who_looks_at_them_are_refused(mpii):
    with pytest.raises(ValueError, match="extra_2d is for the 2D discriminator"):
        PoseAugOptions(extra_2d=str(mpii), discriminators=("3d",))
