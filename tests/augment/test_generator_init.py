"""Generators that start by leaving poses nearly as they are, and learn from there."""

import pytest
import torch

from dg.augment.axis_angle_generator import AxisAngleGenerator
from dg.augment.generator import PoseGenerator
from dg.augment.generator_init import initialise_outputs
from dg.augment.kinematic_generator import CameraReach, KinematicGenerator
from dg.augment.sequential_generator import SequentialGenerator
from dg.methods import METHODS
from dg.pose.skeleton import H36M_16
from dg.settings.plugins import make_options, resolve

GENERATORS = {
    "bone_angle": lambda: PoseGenerator(H36M_16, "residual"),
    "axis_angle": lambda: AxisAngleGenerator(H36M_16, "residual"),
    "kinematic": lambda: KinematicGenerator(H36M_16, 30.0, CameraReach()),
    "sequential": lambda: SequentialGenerator(H36M_16),
}


def poses(rows=64):
    joints = 0.3 * torch.randn(rows, 16, 3)
    return joints + torch.tensor([0.0, 0.0, 5.0])


def made(generator, joints):
    noise = generator.draw_noise(len(joints), torch.Generator().manual_seed(1))
    found = generator(joints, noise)
    return found.rotated if hasattr(found, "rotated") else found.bone_length


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_a_small_start_leaves_poses_nearly_as_they_are_and_learns(name):
    released, small = GENERATORS[name](), GENERATORS[name]()
    small.load_state_dict(released.state_dict())
    initialise_outputs(small, "small")
    joints = poses()
    moved = {k: (made(g, joints) - joints).norm(dim=-1).mean() for k, g in (("released", released), ("small", small))}
    assert moved["small"] < 0.1 * moved["released"]
    # Every output layer gets a gradient from there.
    made(small, joints).square().sum().backward()
    silent = [n for n, p in small.named_parameters() if p.grad is not None and not p.grad.any() and "last" in n]
    assert silent == []


def test_the_released_translation_keeps_its_place_in_front_of_the_camera():
    generator = PoseGenerator(H36M_16, "released")
    before = {name: values.clone() for name, values in generator.state_dict().items()}
    initialise_outputs(generator, "small")
    after = generator.state_dict()
    changed = {name for name, values in after.items() if not torch.equal(values, before[name])}
    trunks = ("bone_angle.trunk", "bone_length.trunk", "rigid.rotation_trunk")
    # The biases as well, which `nn.Linear` draws.
    assert changed == {f"{trunk}.last.{part}" for trunk in trunks for part in ("weight", "bias")}
    for name in changed:
        torch.testing.assert_close(after[name], 0.01 * before[name])


@pytest.mark.parametrize("name", ["poseaug", "adaptpose", "cee_net", "daf_dg", "poseda"])
def test_methods_that_learn_a_generator_take_the_option(name):
    kind = resolve(METHODS, "method", name)
    assert make_options(kind, "method", name, {"generator_init": "small"}).generator_init == "small"
    with pytest.raises(ValueError, match="generator_init"):
        make_options(kind, "method", name, {"generator_init": "tiny"})
