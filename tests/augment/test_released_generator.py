"""The generator against what the released code computes, and its parameter counts."""

import re

import numpy as np
import pytest
import torch

from dg.augment.generator import PoseGenerator
from dg.pose.skeleton import H36M_16


def count(module):
    return sum(p.numel() for p in module.parameters())


def our_name(released: str) -> str:
    process, rest = released.split(".", 1)
    trunk = {"BA": "bone_angle.trunk", "BL": "bone_length.trunk"}.get(process[:2])
    trunk = trunk or ("rigid.rotation_trunk" if "_R." in rest else "rigid.translation_trunk")
    rest = re.sub(r"_(BL|R|T)\.", ".", rest)
    rest = re.sub(r"^w1\.", "linears.0.", rest)
    rest = re.sub(r"^batch_norm1?\.", "norms.0.", rest)
    rest = re.sub(r"^w2\.", "last.", rest)
    for kind, ours in (("w", "linears"), ("batch_norm", "norms")):
        pattern = rf"^linear_stages\.(\d)\.{kind}(\d)\."
        rest = re.sub(pattern, lambda m, ours=ours: f"{ours}.{2 * int(m[1]) + int(m[2])}.", rest)
    return f"{trunk}.{rest}"


def test_the_generator_has_the_published_number_of_parameters():
    generator = PoseGenerator(H36M_16)
    assert count(generator.bone_angle) == 302_125
    assert count(generator.bone_length) == 296_713
    assert count(generator.rigid.rotation_trunk) == count(generator.rigid.translation_trunk) == 291_331
    assert count(generator) == 1_181_500


@pytest.mark.shared
def test_the_generator_computes_what_the_released_code_computes(shared):
    golden = {k: torch.from_numpy(v) for k, v in np.load(shared / "conformance/poseaug_golden.npz").items() if v.ndim}
    released = torch.load(shared / "conformance/poseaug_generator.pth", weights_only=True)["state_dict"]
    generator = PoseGenerator(H36M_16).eval()
    generator.load_state_dict({our_name(name): value.float() for name, value in released.items()})
    with torch.no_grad():
        poses = generator(golden["g_in"], torch.stack([golden[f"g_noise{i}"] for i in range(4)]))
    for ours, theirs in {
        "bone_angle": "g_pose_ba",
        "bone_length": "g_pose_bl",
        "rigid": "g_pose_rt",
        "angle_change": "g_ba_diff",
        "length_ratio": "g_blr",
        "rotation": "g_rt0",
    }.items():
        assert (getattr(poses, ours) - golden[theirs]).abs().max() < 1e-5, ours
    assert (poses.translation[:, None] - golden["g_rt1"]).abs().max() < 1e-5
