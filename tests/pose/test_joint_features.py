"""Features in a PoseBatch: carried by everything that carries depth, and the last of a lifter's channels."""

import pytest
import torch

from dg.pose.batch import PoseBatch
from dg.pose.input_spec import CHANNELS, InputSpec, split_inputs
from dg.pose.skeleton import H36M_16, H36M_17
from dg.pose.windows import Windows
from dg.settings.command_line import parse
from dg.settings.config import ConfigError, TrainConfig
from tests.conftest import make_camera, make_joints

SPEC = InputSpec("xyd+depth_features", "off", feature_sizes=(5,))


def make_batch(rows=6, channels=5):
    batch = PoseBatch.from_joints(make_joints(rows)[:, None], make_camera(rows), H36M_17)
    return batch.replace(
        depth=batch.joints_3d[..., 2] - 0.1, joint_features=torch.randn(rows, 1, 17, channels, dtype=torch.float16)
    )


def test_they_are_the_last_channels_in_float32_and_change_no_other():
    batch = make_batch()
    features = batch.features(SPEC)
    assert features.dtype == torch.float32
    assert torch.equal(features[..., :3], batch.features(InputSpec("xyd", "off")))
    assert torch.equal(features[..., 3:], batch.joint_features.float())
    assert SPEC.size == features.shape[-1] == 8


def test_they_are_constants():
    batch = make_batch()
    joints = batch.joints_3d.clone().requires_grad_()
    moved = batch.replace(joints_3d=joints, joints_2d=batch.camera.project(joints))
    features = moved.features(SPEC)
    (of_features,) = torch.autograd.grad(features[..., 3:].sum(), joints, retain_graph=True)
    (of_place,) = torch.autograd.grad(features[..., :2].sum(), joints)
    assert (of_features == 0).all()
    assert (of_place != 0).any()


def test_rows_devices_joins_and_checkpoints_carry_them():
    batch = make_batch()
    assert torch.equal(batch[torch.tensor([4, 1])].joint_features, batch.joint_features[[4, 1]])
    assert torch.equal(batch.to("cpu").joint_features, batch.joint_features)
    joined = PoseBatch.concatenate([batch[:2], batch[2:]])
    assert torch.equal(joined.joint_features, batch.joint_features)
    with pytest.raises(ValueError, match="with and without joint_features"):
        PoseBatch.concatenate([batch, batch.replace(joint_features=None)])
    again = PoseBatch.from_state(batch.state_dict(), H36M_17)
    assert again.joint_features.dtype == torch.float16
    assert torch.equal(again.joint_features, batch.joint_features)
    old = {k: v for k, v in batch.state_dict().items() if k != "joint_features"}
    assert PoseBatch.from_state(old, H36M_17).joint_features is None


def test_windows_hold_those_of_their_frames():
    batch = make_batch()
    window = Windows.over(torch.zeros(6, dtype=torch.long), 3).gather(batch, torch.tensor([0, 4]))
    assert torch.equal(window.joint_features[0], batch.joint_features[[0, 0, 1], 0])
    assert torch.equal(window.joint_features[1], batch.joint_features[[3, 4, 5], 0])


def test_a_mirrored_batch_swaps_them_with_their_joints():
    batch = make_batch()
    assert torch.equal(batch.flip().joint_features, batch.joint_features[..., list(H36M_17.flip), :])
    assert torch.equal(batch.flip().flip().joint_features, batch.joint_features)


def test_other_joints_have_none():
    batch = make_batch()
    assert batch.with_joints(batch.joints_3d).joint_features is None
    assert batch.convert(H36M_16).joint_features is None
    assert batch.convert(H36M_17).joint_features is batch.joint_features


def test_a_batch_without_them_or_with_others_is_refused():
    with pytest.raises(ValueError, match=r"inputs=xyd\+depth_features .* need features of its picture"):
        make_batch().replace(joint_features=None).features(SPEC)
    with pytest.raises(ValueError, match=r"expected features of \{'depth_features': 5\} channels, .* carries 4"):
        make_batch(channels=4).features(SPEC)


@pytest.mark.parametrize("base", CHANNELS)
@pytest.mark.parametrize("features", ["", "+depth_features", "+image_features", "+depth_features+image_features"])
def test_every_input_takes_either_both_or_none(base, features):
    assert split_inputs(base + features) == (base, tuple(features.split("+")[1:]))
    config, plain = TrainConfig(inputs=base + features), TrainConfig(inputs=base)
    assert config.needs_depth == (base != "xy" or bool(features))
    assert (config.dscale2d_resolved, config.detects) == (plain.dscale2d_resolved, plain.detects)


@pytest.mark.parametrize(
    "inputs", ["", "xyz", "xyd+", "xyd+depth", "+depth_features", "depth_features", "xyd+depth_features+depth_features",
               "xyd+image_features+depth_features", "xyd+depth_features+uadd"]
)  # fmt: skip
def test_anything_else_is_named(inputs):
    with pytest.raises(ValueError, match="inputs must be one of"):
        split_inputs(inputs)


def test_sizes_must_fit_the_features():
    for sizes in ((), (5, 5), (0,)):
        with pytest.raises(ValueError, match="feature_sizes must be a positive number for each of"):
            InputSpec("xyd+depth_features", "off", feature_sizes=sizes)
    with pytest.raises(ValueError, match="feature_sizes"):
        InputSpec("xyd", "off", feature_sizes=(5,))
    with pytest.raises(ConfigError, match="feature_sizes must be empty or a positive number"):
        parse(["inputs=xyd+image_features", "feature_sizes=[3,4]"])
    with pytest.raises(ConfigError, match="inputs must be one of"):
        parse(["inputs=depth_features"])


@pytest.mark.parametrize("word", ["pose_network=other/pose", "feature_sizes=[7]"])
def test_keys_of_features_are_no_part_of_a_run_without_any(word):
    assert parse([word]).digest() == parse([]).digest()
    assert word.partition("=")[0] not in parse([word]).flat()
    of_image = parse(["inputs=xyd+image_features"])
    assert parse(["inputs=xyd+image_features", word]).digest() != of_image.digest()
