"""The discriminators against what the released code computes, and the laws of their inputs."""

import numpy as np
import pytest
import torch

from dg.methods.discriminators import PartDiscriminator, PoseDiscriminator2D, part_bones
from dg.pose.bones import with_bone_lengths
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints

LAYERS = {"kcs_layer_1": "first", "kcs_layer_2": "second", "kcs_layer_3": "third", "layer_last": "fourth"}
LAYERS["layer_pred"] = "last"
LAYERS_2D = {"pose_layer_1": "first", "pose_layer_2": "second", "pose_layer_3": "third", "pose_layer_4": "fourth"}
LAYERS_2D |= {"layer_last": "fifth", "layer_pred": "last"}


def count(module):
    return sum(p.numel() for p in module.parameters())


def released(shared, name):
    weights = torch.load(shared / f"conformance/{name}.pth", weights_only=True)["state_dict"]
    return {key: value.float() for key, value in weights.items()}


def stacked(weights):
    ours = {}
    for theirs, name in LAYERS.items():
        paths = range(1, 6)
        ours[f"{name}.weight"] = torch.stack([weights[f"kcs_path_{i}.{theirs}.weight"].T for i in paths])
        ours[f"{name}.bias"] = torch.stack([weights[f"kcs_path_{i}.{theirs}.bias"][None] for i in paths])
    return ours


def test_the_discriminators_have_the_published_number_of_parameters():
    assert count(PartDiscriminator(H36M_16)) == 1_076_205
    assert count(PoseDiscriminator2D(H36M_16)) == 43_801


@pytest.mark.shared
def test_the_discriminators_compute_what_the_released_code_computes(shared):
    golden = np.load(shared / "conformance/poseaug_golden.npz")
    parts, flat = PartDiscriminator(H36M_16), PoseDiscriminator2D(H36M_16)
    parts.load_state_dict(stacked(released(shared, "poseaug_d3d")))
    weights = released(shared, "poseaug_d2d")
    flat.load_state_dict({f"{LAYERS_2D[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in weights.items()})
    with torch.no_grad():
        assert np.abs(parts(torch.from_numpy(golden["d3d_in"])).numpy() - golden["d3d_out"]).max() < 1e-5
        assert np.abs(flat(torch.from_numpy(golden["d2d_in"])).numpy() - golden["d2d_out"]).max() < 1e-5


def test_the_parts_are_the_released_ones_and_the_neck_joins_the_torso():
    assert part_bones(H36M_16) == (
        (7, 9, 10, 11),
        (7, 12, 13, 14),
        (0, 1, 2, 3, 6),
        (0, 3, 4, 5, 6),
        (0, 3, 6, 7, 8, 9, 12),
    )
    names = [{H36M_17.joints[H36M_17.bones[b][1]] for b in part} for part in part_bones(H36M_17)]
    assert "neck" in names[4]
    assert names[0] == {"thorax", "left_shoulder", "left_elbow", "left_wrist"}


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17])
def test_the_part_discriminator_sees_neither_place_nor_orientation_nor_lengths(skeleton):
    joints = make_joints(6, len(skeleton))
    turn = rotation_from_axis_angle(torch.randn(6, 3))
    lengths = torch.rand(6, len(skeleton.bones)) + 0.1
    discriminator = PartDiscriminator(skeleton)
    scores = discriminator(joints)
    assert scores.shape == (6, 5)
    torch.testing.assert_close(discriminator(joints @ turn.mT + 1.0), scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(discriminator(with_bone_lengths(joints, lengths, skeleton)), scores, atol=1e-4, rtol=0)


def test_a_part_ignores_bones_outside_it():
    joints = make_joints(4, 16)
    moved = joints.clone()
    moved[:, H36M_16.index("left_wrist")] += 0.3
    discriminator = PartDiscriminator(H36M_16)
    change = (discriminator(moved) - discriminator(joints)).abs().amax(0)
    assert change[0] > 1e-3
    assert change[1:].max() == 0


def test_reading_only_a_parts_entries_equals_masking_the_whole_matrix():
    joints = make_joints(4, 16)
    discriminator = PartDiscriminator(H36M_16)
    masked = []
    for part in part_bones(H36M_16):
        mask = torch.zeros(15)
        mask[list(part)] = 1.0
        masked.append((discriminator.kcs(joints) * mask[:, None] * mask).flatten(1))
    x = torch.nn.functional.leaky_relu(discriminator.first(torch.stack(masked)))
    y = discriminator.third(torch.nn.functional.leaky_relu(discriminator.second(x))) + x
    slow = discriminator.last(torch.nn.functional.leaky_relu(discriminator.fourth(y)))[..., 0].T
    torch.testing.assert_close(discriminator(joints), slow)
