from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import make_options
from dg.training.build import initialise
from lifters.attention import DropPath, PostNormBlock, SelfAttention
from lifters.motion_bert import MAX_FRAMES, MotionBert, MotionBertOptions
from lifters.pose_former import PoseFormer, PoseFormerOptions


def assert_same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def count(module):
    return sum(p.numel() for p in module.parameters())


def pose_former(frames=1, skeleton=H36M_17, channels=2, **options):
    return PoseFormer(skeleton, channels, replace(PoseFormerOptions(frames=frames, width=8), **options))


def motion_bert(frames=1, skeleton=H36M_17, channels=3, **options):
    small = MotionBertOptions(frames=frames, width=32, representation=16, depth=2)
    return MotionBert(skeleton, channels, replace(small, **options))


def windows(rows, frames, channels, joints=17):
    return torch.randn(rows, frames, joints, channels)


# Published sizes and outputs


@pytest.mark.parametrize(
    ("frames", "channels", "expected"),
    [(9, 2, 9_563_645), (27, 2, 9_573_455), (81, 2, 9_602_885), (27, 6, 9_573_455 + 128)],
)
def test_pose_former_has_the_published_number_of_parameters(frames, channels, expected):
    assert count(pose_former(frames, channels=channels, width=32, root="predicted")) == expected


@pytest.mark.parametrize("frames", [1, 243])
@pytest.mark.parametrize(
    ("channels", "options", "expected"),
    [
        (3, {}, 42_466_317),
        (6, {}, 42_466_317 + 1_536),
        (3, {"width": 256, "mlp_ratio": 4.0}, 16_001_549),
    ],
)
def test_motion_bert_has_the_published_number_of_parameters(frames, channels, options, expected):
    with torch.device("meta"):
        zero = MotionBert(H36M_17, channels, MotionBertOptions(frames=frames, **options))
        predicted = MotionBert(H36M_17, channels, MotionBertOptions(frames=frames, root="predicted", **options))
    assert count(zero) == count(predicted) == expected


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "lifter"),
    [
        ("poseformer_t9_e8", lambda: pose_former(9, root="predicted")),
        ("poseformer_t27_e8", lambda: pose_former(27, root="predicted")),
        ("motionbert_f64_d2", lambda: motion_bert(27, width=64, representation=64, norm_eps=1e-5, root="predicted")),
    ],
)
def test_they_compute_what_the_released_code_computes(shared, name, lifter):
    golden = np.load(shared / "conformance/sequence_lifters_golden.npz")
    lifter = lifter().eval()
    initialise(lifter, shared / f"conformance/{name}.pth")
    with torch.no_grad():
        output = lifter(torch.from_numpy(golden[f"{name}_in"]))
    assert output.shape == golden[f"{name}_out"].shape
    assert np.abs(output.numpy() - golden[f"{name}_out"]).max() < 1e-5


@pytest.mark.shared
@pytest.mark.parametrize(
    ("lifter", "message"),
    [
        (lambda: pose_former(9), r"head\.weight"),
        (lambda: pose_former(27, root="predicted"), r"frame_position"),
        (lambda: pose_former(9, root="predicted", norm="post"), r"norm1"),
    ],
)
def test_published_weights_of_another_form_are_refused(shared, lifter, message):
    with pytest.raises(ValueError, match=message):
        initialise(lifter(), shared / "conformance/poseformer_t9_e8.pth")


# Windows


def test_pose_former_answers_for_the_centre_frame_and_looks_at_all():
    lifter = pose_former(9).eval()
    features = windows(3, 9, 2).requires_grad_()
    output = lifter(features)
    assert output.shape == (3, 1, 17, 3)
    assert range(9)[lifter.target_frames(9)] == range(4, 5)
    output.square().sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum((2, 3)) > 0).all()


def test_motion_bert_answers_for_every_frame_of_windows_up_to_its_length():
    lifter = motion_bert(27).eval()
    for frames in (1, 2, 27):
        assert range(frames)[lifter.target_frames(frames)] == range(frames)
        assert lifter(windows(2, frames, 3)).shape == (2, frames, 17, 3)


@pytest.mark.parametrize(
    ("lifter", "frames", "message"),
    [
        (pose_former(9), 8, "windows of 9 frames, got 8.*option frames"),
        (pose_former(), 3, "windows of 1 frames, got 3.*option frames"),
        (motion_bert(9), 10, "1 to 9 frames, got 10.*option frames"),
        (motion_bert(9), 0, "1 to 9 frames, got 0"),
    ],
)
def test_a_window_of_the_wrong_length_is_refused(lifter, frames, message):
    with pytest.raises(ValueError, match=message):
        lifter.target_frames(frames)
    with pytest.raises(ValueError, match=message):
        lifter(windows(2, frames, lifter.channels))


def test_a_window_of_one_repeated_frame_is_lifted_as_that_frame_alone():
    """Also holds the form without queries and keys against the full one."""
    one, many = pose_former(1).eval(), pose_former(9).eval()
    weights = one.state_dict()
    weights["frame_position"] = torch.zeros_like(many.frame_position)
    weights["frame_mean.weight"] = one.frame_mean.weight.expand(1, 9) / 9
    many.load_state_dict(weights)
    frame = windows(4, 1, 2)
    torch.testing.assert_close(many(frame.expand(-1, 9, -1, -1)), one(frame))

    lifter = motion_bert(9).eval()
    nn.init.zeros_(lifter.frame_position)
    frame = windows(4, 1, 3)
    assert_same(lifter(frame.expand(-1, 9, -1, -1)), lifter(frame).expand(-1, 9, -1, -1))


def test_motion_bert_knows_the_order_of_frames_by_their_positions_alone():
    lifter, features = motion_bert(9).eval(), windows(2, 9, 3)
    nn.init.normal_(lifter.frame_position)
    assert (lifter(features.flip(1)) - lifter(features).flip(1)).abs().max() > 1e-3
    nn.init.zeros_(lifter.frame_position)
    assert_same(lifter(features.flip(1)), lifter(features).flip(1))


def test_positions_have_the_length_that_the_frames_need():
    assert pose_former(27).frame_position.shape == (1, 27, 17 * 8)
    assert motion_bert(27).frame_position.shape == (1, MAX_FRAMES, 1, 32)
    assert pose_former(9, H36M_16).joint_position.shape == (1, 16, 8)


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
@pytest.mark.parametrize("make", [pose_former, motion_bert])
def test_the_root_is_zero_unless_it_is_to_be_predicted(make, skeleton):
    features = windows(1, 9, 3, len(skeleton))
    zero = make(9, skeleton, channels=3).eval()(features)
    assert (zero[:, :, skeleton.root] == 0).all()
    others = [j for j in range(len(skeleton)) if j != skeleton.root]
    assert (zero[:, :, others].abs().sum(-1) > 0).all()
    assert (make(9, skeleton, channels=3, root="predicted").eval()(features)[:, :, skeleton.root] != 0).all()


@pytest.mark.parametrize(
    ("plugin", "given", "message"),
    [
        (PoseFormer, {"frames": 8}, "odd"),
        (PoseFormer, {"frames": -1}, "frames must be positive"),
        (PoseFormer, {"norm": "none"}, "norm must be one of"),
        (PoseFormer, {"width": 12}, "multiple of heads"),
        (PoseFormer, {"drop_path": 1.0}, "drop_path must be below 1"),
        (PoseFormer, {"mlp_ratio": 0.0}, "mlp_ratio"),
        (MotionBert, {"frames": 244}, "1 to 243"),
        (MotionBert, {"frames": 0}, "frames must be positive"),
        (MotionBert, {"depth": 0}, "positive"),
        (MotionBert, {"representation": 0}, "representation"),
        (MotionBert, {"root": "subtracted"}, "root must be one of"),
    ],
)
def test_options_that_make_no_lifter_are_refused(plugin, given, message):
    with pytest.raises(ValueError, match=message):
        make_options(plugin, "lifter", plugin.__name__, given)


# Pieces


def plain_attention(attention, x):
    """The definition, written out."""
    queries, keys, values = (
        F.linear(x, w, b).unflatten(-1, (attention.heads, -1)).movedim(-2, -3)
        for w, b in zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
    )
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return attention.proj((scores.softmax(-1) @ values).movedim(-3, -2).flatten(-2))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", [(5, 7, 16), (2, 3, 7, 16), (5, 1, 16), (2, 3, 1, 16)])
def test_attention_equals_its_definition_in_output_and_gradients(shape, fused, monkeypatch):
    monkeypatch.setattr("lifters.attention._fused_is_faster", lambda device: fused)
    attention, x, weights = SelfAttention(16, 4), torch.randn(shape), torch.randn(shape)
    results = []
    for function in (attention, lambda x: plain_attention(attention, x)):
        output = function(x)
        gradients = torch.autograd.grad((output * weights).sum(), list(attention.parameters()))
        results.append((output, *gradients))
    for ours, plain in zip(*results, strict=True):
        assert_same(ours, plain)


@pytest.mark.parametrize("make", [pose_former, motion_bert])
def test_plain_kernels_can_be_differentiated_twice(make):
    lifter = make(3).eval()
    features = windows(2, 3, lifter.channels).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(lifter(features).square().sum(), features, create_graph=True)
    second = torch.autograd.grad(
        gradient.square().sum(), [p for n, p in lifter.named_parameters() if n.endswith("attn.qkv.weight")]
    )
    assert all((g != 0).any() for g in second)


def test_attention_over_many_rows_goes_in_parts(monkeypatch):
    attention, x = SelfAttention(16, 4), torch.randn(7, 5, 16)
    whole = attention(x)
    monkeypatch.setattr("lifters.attention.ROWS_AT_ONCE", 3)
    assert_same(attention(x), whole)


def test_the_post_norm_block_is_pytorchs_encoder_layer():
    block = PostNormBlock(16, 4, mlp_ratio=2.0, drop_path=0.5).eval()
    twin = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    nn.init.normal_(block.attn.qkv.bias)
    pieces = [
        (twin.self_attn.out_proj, block.attn.proj), (twin.linear1, block.mlp.fc1), (twin.linear2, block.mlp.fc2),
        (twin.norm1, block.attn_norm), (twin.norm2, block.mlp_norm),
    ]  # fmt: skip
    for theirs, ours in pieces:
        theirs.load_state_dict(ours.state_dict())
    twin.self_attn.in_proj_weight.data.copy_(block.attn.qkv.weight)
    twin.self_attn.in_proj_bias.data.copy_(block.attn.qkv.bias)
    x = torch.randn(3, 5, 16)
    assert_same(block(x), twin(x))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_drop_path_acts_in_training_alone_and_a_row_at_a_time(norm):
    lifter, features = pose_former(drop_path=0.5, norm=norm), windows(64, 1, 2)
    first, second = lifter(features), lifter(features)
    changed = (first != second).flatten(1).any(1)
    assert changed.any()
    lifter.eval()
    assert torch.equal(lifter(features), lifter(features))


def test_drop_path_leaves_out_the_asked_share_of_branches_and_scales_the_rest():
    drop, x = DropPath(0.25).train(), torch.randn(4000, 3, 2)
    added = drop(x, torch.ones_like(x)) - x
    kept = added[:, 0, 0] > 0.5
    assert abs(kept.float().mean() - 0.75) < 0.03
    assert_same(added, (kept / 0.75)[:, None, None].expand_as(added))
    assert torch.equal(drop.eval()(x, x), 2 * x)


def test_drop_path_rises_with_depth():
    assert PoseFormerOptions(drop_path=0.3).drop_path_schedule() == pytest.approx([0, 0.1, 0.2, 0.3])
    for lifter, each in ((pose_former(drop_path=0.3), 2), (motion_bert(depth=4, drop_path=0.3), 4)):
        drops = [module.p for module in lifter.modules() if isinstance(module, DropPath)]
        assert sorted(drops) == pytest.approx(sorted(each * [0, 0.1, 0.2, 0.3]))


def test_streams_are_mixed_half_and_half_before_training():
    lifter, x = motion_bert(), torch.randn(2, 1, 17, 32)
    streams = [lifter.get_submodule(f"layers.0.{stream}_first")(x) for stream in ("spatial", "temporal")]
    assert_same(lifter.layers[0](x), (streams[0] + streams[1]) / 2)


@pytest.mark.gpu
@pytest.mark.parametrize("make", [pose_former, motion_bert])
def test_the_gpu_computes_the_same(make):
    lifter, features = make(9).eval(), windows(5, 9, make(9).channels)
    output = lifter(features)
    torch.testing.assert_close(lifter.cuda()(features.cuda()).cpu(), output, atol=1e-4, rtol=1e-4)
