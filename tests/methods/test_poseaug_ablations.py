"""PoseAug's ablations: which operations are made, which discriminators judge, one discriminator for all bones."""

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.discriminators import PartDiscriminator
from dg.methods.poseaug import PoseAugOptions
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.skeleton import H36M_16
from tests.conftest import make_joints
from tests.contracts.test_every_method import source_batch, step
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
