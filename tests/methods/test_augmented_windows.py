"""Learned augmentation of windows of several frames: the centre frame's is carried over, and nothing else changes."""

import io
from dataclasses import replace

import pytest
import torch

from dg.augment.window_transform import centre_frames
from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import ConfigError
from dg.train import run
from dg.training.build import make_method
from dg.training.problem import load_problem
from lifters.motion_bert import MotionBert, MotionBertOptions
from lifters.video_pose_3d import VideoPose3D, VideoPose3DOptions
from tests.cases import mostly_long
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import ROWS, flat, make, render, same
from tests.methods.test_poseaug import RELEASED
from tests.training.test_trainer import SMALL, last_weights, stopped_after
from tests.training.test_trainer import same as same_weights

FRAMES = 9
KEY = StepKey(3, 0, 1)
METHODS = {
    "poseaug": {**RELEASED, "translation": "residual"},
    "poseaug rigid=random": {"rigid": "random"},
    "adaptpose": {"feedback_mode": "eval"},
    "cee_net": {},
    "poseda": {},
    "poseda parts=gpa": {"parts": "gpa"},
    "poseda parts=lpa": {"parts": "lpa"},
}
every_method = pytest.mark.parametrize("name", METHODS)
some_methods = pytest.mark.parametrize("name", mostly_long(METHODS, ["poseaug", "poseda"]))


def on_windows(name, channels="xyd", skeleton=H36M_17, many=False, **given):
    """The method with a lifter of nine frames, past its warm-up."""
    given = {"windows": "centre_transform", "warmup_iterations": 0, **METHODS[name], **given}
    method = make(name.split()[0], skeleton, channels, **given)
    size = method.context.inputs.size
    if many:
        lifter = MotionBert(skeleton, size, MotionBertOptions(FRAMES, width=16, representation=16, depth=1, heads=2))
    else:
        lifter = VideoPose3D(skeleton, size, VideoPose3DOptions(widths=(3, 3), width=16))
    torch.manual_seed(1)
    return type(method)(replace(method.context, lifter=lifter), method.options)


def windows(skeleton=H36M_17, seed=0, still=False):
    """People who sway; or who stand still."""
    pose = make_joints(ROWS, len(skeleton), seed=seed)[:, None]
    sway = make_joints(ROWS * FRAMES, len(skeleton), noise=0.02, seed=seed + 50).unflatten(0, (ROWS, FRAMES))
    sway = 0.2 * (sway - make_joints(1, len(skeleton), noise=0.0))
    joints = pose.expand(-1, FRAMES, -1, -1) if still else pose + sway
    return render(PoseBatch.from_joints(joints.clone(), make_camera(ROWS, distorted=True), skeleton))


def step(method, number):
    source, key = windows(method.context.skeleton, seed=number), StepKey(3, 0, number)
    proposed = render(method.propose(source, key))
    torch.manual_seed(key.number("update"))
    return method.update(source, proposed, key)


@every_method
@pytest.mark.parametrize(("channels", "many"), mostly_long([("xyd", False), ("xy", True)], [("xyd", False)]))
def test_updates_are_finite_and_move_every_network(name, channels, many):
    method = on_windows(name, channels, H36M_16, many)
    before = {n: p.detach().clone() for n, p in method.networks.named_parameters()}
    steps, wanted = 0, 6 if name.startswith("poseda") else 2  # PoseDA's generator has its turn at the sixth
    for number in range(wanted):
        update = step(method, number)
        steps += update.lifter_steps
        assert all(torch.isfinite(v) for v in update.metrics.values()), update.metrics
    after = dict(method.networks.named_parameters())
    for network in method.networks:
        assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith(f"{network}.")), network
    assert steps >= wanted


@every_method
def test_the_centre_frame_of_a_proposal_is_the_proposal_for_the_centre_frame(name):
    method, source = on_windows(name, "xy"), windows()
    window, single = method.propose(source, KEY), method.propose(centre_frames(source), KEY)
    centre = centre_frames(window)
    usable = window.valid
    assert window.joints_3d.shape == source.joints_3d.shape
    if name == "poseaug rigid=random":  # a window that leaves the frame draws again, so that only the pose is the same
        centre_shape, single_shape = (torch.cdist(p.joints_3d[:, 0], p.joints_3d[:, 0]) for p in (centre, single))
        torch.testing.assert_close(centre_shape[usable], single_shape[usable], atol=3e-3, rtol=0)
    else:
        torch.testing.assert_close(centre.joints_3d[usable], single.joints_3d[usable], atol=1e-4, rtol=0)
        torch.testing.assert_close(centre.joints_2d[usable], single.joints_2d[usable], atol=1e-4, rtol=0)
    assert not (window.valid & ~single.valid).any()
    assert window.camera[usable].in_frame(window.joints_3d[usable]).all()
    if name != "cee_net":  # its first poses mostly lie outside the joint ranges
        assert usable.float().mean() > 0.1


@some_methods
def test_of_one_frame_the_option_changes_nothing_at_all(name):
    states = []
    for option in ("off", "centre_transform"):
        method = on_windows(name, "xyd", windows=option)
        single = make("erm", H36M_17, "xyd").context.lifter
        torch.manual_seed(2)
        method = type(method)(replace(method.context, lifter=single), method.options)
        for number in range(2):
            source, key = centre_frames(windows(seed=number)), StepKey(3, 0, number)
            torch.manual_seed(number)
            method.update(source, render(method.propose(source, key)), key)
        states.append(flat(method.state_dict()))
    assert [k for k, v in states[0].items() if not same(v, states[1][k])] == []


@every_method
def test_who_stands_still_stands_still_augmented(name):
    proposed = on_windows(name).propose(windows(still=True), KEY).joints_3d
    torch.testing.assert_close(proposed, proposed[:, :1].expand_as(proposed), atol=1e-5, rtol=0)


@every_method
def test_bone_lengths_change_alike_in_all_frames_and_the_roots_path_keeps_its_length(name):
    source = windows()
    proposed = on_windows(name).propose(source, KEY)
    ratio = bone_lengths(proposed.joints_3d, H36M_17) / bone_lengths(source.joints_3d, H36M_17)
    if not name.endswith("gpa"):
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=0)
        assert (ratio - 1).abs().max() > 0.05
    else:
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)
    steps = [batch.joints_3d[:, :, 0].diff(dim=1).norm(dim=-1)[proposed.valid] for batch in (proposed, source)]
    torch.testing.assert_close(*steps, atol=1e-5, rtol=0)


@some_methods
def test_a_saved_method_goes_on_bit_for_bit_on_windows(name):
    method, resumed = on_windows(name, "xyd"), on_windows(name, "xyd")
    for number in range(2):
        step(method, number)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    expected, got = step(method, 2), step(resumed, 2)
    assert all(torch.equal(got.metrics[k], v) for k, v in expected.metrics.items())
    ours, theirs = flat(method.state_dict()), flat(resumed.state_dict())
    assert [k for k, v in ours.items() if not same(v, theirs[k])] == []


def test_feedback_sees_windows_and_judges_see_centre_frames(monkeypatch):
    method, seen = on_windows("poseaug"), {}
    feedback, judge = method.feedback, method.discriminator_3d.forward

    def looked(lifter, poses, progress):
        seen["feedback"] = poses
        return feedback(lifter, poses, progress)

    monkeypatch.setattr(method, "feedback", looked)
    looked.variant = feedback.variant
    monkeypatch.setattr(method.discriminator_3d, "forward", lambda x: seen.setdefault("3d", x) is None or judge(x))
    source = windows()
    method.update(source, None, KEY)
    triple = seen["feedback"]
    for poses in (triple.original, triple.bone_angle, triple.rigid):
        assert poses.joints_3d.shape == (*poses.joints_2d.shape[:-1], 3) == (ROWS, FRAMES, 17, 3)
        assert poses.depth.shape == (ROWS, FRAMES, 17)
        torch.testing.assert_close(poses.camera.project(poses.joints_3d), poses.joints_2d)
        # The source's surface lies 10 cm before every joint; the mean offset is the same.
        torch.testing.assert_close(poses.joints_3d[..., 2] - poses.depth, torch.full_like(poses.depth, 0.1))
    torch.testing.assert_close(seen["3d"].detach(), centre_frames(triple.bone_angle).joints_3d[:, 0].detach())
    assert triple.bone_angle.joints_3d.requires_grad
    assert triple.rigid.joints_2d.requires_grad


def test_feedback_of_other_frames_reaches_the_generator():
    """A lifter's error at frames beside the centre depends on the generator: their gradient is not cut."""
    method = on_windows("poseaug", "xy")
    original = method._with_templates(windows(), KEY)
    noise = method.generator.draw_noise(ROWS, KEY.generator("noise"))
    made = method.generator(centre_frames(original).joints_3d[:, 0], noise)
    rigid = method._rigid(original, made, KEY)
    last = method.generator.bone_angle.trunk.last.weight
    for frame in (0, FRAMES - 1):
        (gradient,) = torch.autograd.grad(rigid[:, frame].square().sum(), last, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


@every_method
def test_a_window_counts_only_if_all_its_frames_are_in_view(name):
    method, source = on_windows(name, "xy"), windows()
    leaving = source.joints_3d.clone()
    leaving[:, 0] += torch.tensor([4.0, 0.0, 0.0])  # the first frame of many windows is then outside
    proposed = method.propose(source.replace(joints_3d=leaving), KEY)
    inside = proposed.camera.in_frame(proposed.joints_3d)
    assert not (proposed.valid & ~inside.all(-1)).any()
    assert (~proposed.valid & inside[:, FRAMES // 2]).any()


@every_method
def test_windows_are_refused_where_the_option_is_off(name):
    method = on_windows(name, "xy", windows="off")
    kind, options = type(method), method.options
    assert kind.takes(options, 1)
    assert not kind.takes(options, FRAMES)
    assert kind.takes(replace(options, windows="centre_transform"), FRAMES)
    with pytest.raises(ValueError, match=r"single frames, got windows of 9.*windows=centre_transform"):
        method.propose(windows(), KEY)
    with pytest.raises(ValueError, match="windows must be one of"):
        replace(options, windows="on")


TRAINED = [
    "frames=9",
    "lifter=video_pose_3d",
    "lifter.width=16",
    "method=poseaug",
    "pretrain_epochs=0",
    "method.warmup_iterations=1",
    "data.clips=4",
    "data.frames=16",
    "batch_size=8",
    "epochs=1",
    "max_steps=6",
]


def config_of(folder, *words):
    rest = [w for w in SMALL if w.split("=")[0] not in {t.split("=")[0] for t in TRAINED} and "lifter." not in w]
    return parse([*rest, *TRAINED, f"cache={folder.parent / 'cache'}", f"out={folder / 'run'}", *words])


def test_a_run_says_how_the_method_would_take_windows(tmp_path):
    config = config_of(tmp_path, "inputs=xy")
    options = check_plugins(config)
    with pytest.raises(ConfigError, match=r"frames=9 is not for it; method\.windows=centre_transform"):
        make_method(config, options, load_problem(config, options))


@pytest.mark.long
def test_a_run_with_rendered_windows_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path):
    whole = config_of(tmp_path, "method.windows=centre_transform", f"out={tmp_path / 'whole'}")
    summary = run(whole, quiet=True)
    assert summary["ledger"]["done"] > 0  # what is augmented is in no cache
    cut = replace(whole, out=str(tmp_path / "cut"), resume="auto")
    assert stopped_after(cut, 2)["interrupted"]
    assert not run(cut, quiet=True)["interrupted"]
    assert same_weights(last_weights(whole.out), last_weights(cut.out))
