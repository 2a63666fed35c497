"""PoseDA's schedule, what its losses can and cannot move, and its generator used again."""

import pytest
import torch

from dg.files.checkpoint import Checkpoints, load_file
from dg.files.safe_load import FileFormatError
from dg.methods.base import StepKey
from dg.methods.critics import CLIP
from dg.methods.plan import TrainingPlan
from dg.methods.poseda import PoseDAOptions
from dg.pose.skeleton import H36M_16, H36M_17
from tests.cases import mostly_long
from tests.contracts.test_every_method import make, render, source_batch, step

KEY = StepKey(3, 0, 0)


def poseda(channels="xy", **given):
    return make("poseda", H36M_16, channels, **{"warmup_iterations": 0, **given})


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(before, network):
    return all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def joints_of(batch):
    return batch.joints_3d[:, 0]


@pytest.mark.parametrize("critic_steps", [5, 2])
def test_the_critic_steps_five_times_for_each_step_of_the_generator(critic_steps):
    method = poseda(critic_steps=critic_steps, warmup_iterations=100)
    turns = []
    for number in range(2 * (critic_steps + 1)):
        before = weights(method.generator.rotation_trunk.last), weights(method.critic.last)
        metrics = step(method, number).metrics
        moved = not same(before[0], method.generator.rotation_trunk.last), not same(before[1], method.critic.last)
        assert moved == ("loss/generator" in metrics, "loss/critic" in metrics)
        turns.append(moved)
    assert turns == 2 * ([(False, True)] * critic_steps + [(True, False)])


def test_a_generator_step_gives_no_gradient_to_the_critic_and_the_other_way_round():
    method = poseda()
    method._step_generator(source_batch(H36M_16), KEY)
    assert all(p.grad is None for p in method.critic.parameters())
    assert all(p.grad is not None for p in method.generator.parameters())
    method = poseda()
    before = weights(method.generator)
    method._step_critics(source_batch(H36M_16), KEY)
    assert all(p.grad is None for p in method.generator.parameters())
    assert same(before, method.generator)  # the running statistics too
    assert all(p.grad is None for p in method.lifter.parameters())


def test_clipped_weights_stay_within_the_bound_from_the_start_on():
    method = poseda()
    for number in range(7):
        assert all(p.abs().max() <= CLIP for p in method.critic.parameters())
        step(method, number)
    assert all(p.abs().max() <= CLIP for p in method.critic.parameters())
    assert any(p.abs().max() == CLIP for p in method.critic.parameters())


def test_the_gradient_penalty_keeps_the_critic_smooth_without_bounding_weights():
    method = poseda(lipschitz="gp", critic_lr=1e-3)
    plain = poseda(lipschitz="gp", critic_lr=1e-3, penalty=1e-9)
    joints = joints_of(source_batch(H36M_16))

    def slope(critic):
        points = joints.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(points).mean(-1).sum(), points)
        return gradient.flatten(1).norm(dim=-1).mean().item()

    for number in range(30):
        for m in (method, plain):
            m._step_critics(source_batch(H36M_16), StepKey(0, 0, number))
    assert any(p.abs().max() > CLIP for p in method.critic.parameters())
    assert abs(slope(method.critic) - 1) < 0.5 * abs(slope(plain.critic) - 1)


@pytest.mark.parametrize(("seen", "moves"), [("kcs", False), ("kcs+bones", True)])
def test_only_a_critic_that_sees_bone_vectors_can_train_the_rotation(seen, moves):
    method = poseda(critic_input=seen)
    method.critic = type(method.critic)(H36M_16, seen)  # not clipped: gradients far above rounding
    method._step_generator(source_batch(H36M_16), KEY)
    heads = {
        name: max(p.grad.abs().max().item() for p in head.parameters())
        for name, head in (
            ("rotation", method.generator.rotation_trunk),
            ("angle", method.generator.bone_angle),
            ("length", method.generator.bone_length),
        )
    }
    assert heads["angle"] > 1e-3
    assert heads["length"] > 1e-4
    assert (heads["rotation"] > 1e-3) == moves
    if not moves:
        assert heads["rotation"] < 1e-6 * heads["angle"]


def test_the_critic_learns_to_tell_a_generator_that_stands_still():
    method = poseda(generator_lr=0.0, critic_lr=1e-3, lipschitz="gp", warmup_iterations=100)
    told = [step(method, n).metrics.get("augment/wasserstein", torch.tensor(float("nan"))) for n in range(24)]
    told = torch.stack(told)[~torch.stack(told).isnan()]
    assert told[-5:].mean() > told[:5].mean() + 0.1


def test_warm_up_trains_the_gan_alone_and_proposes_nothing():
    method = poseda(warmup_iterations=2)
    before = weights(method.lifter)
    for number in range(2):
        assert method.propose(source_batch(H36M_16), StepKey(0, 0, number)) is None
        assert step(method, number).lifter_steps == 0
    assert same(before, method.lifter)
    assert step(method, 2).lifter_steps >= 1


def test_the_warm_up_is_five_passes_over_the_source_by_default_and_none_without_a_gan():
    plan = TrainingPlan(total_steps=100, steps_per_epoch=7)
    assert make("poseda", plan=plan, warmup_iterations=None).warmup == 35
    assert make("poseda", plan=plan, warmup_iterations=None, parts="gpa").warmup == 0


def test_alignment_alone_needs_no_network_and_keeps_every_pose_as_it_is():
    method = poseda(parts="gpa")
    assert set(method.networks) == {"lifter"}
    source = source_batch(H36M_16)
    proposed = method.propose(source, KEY)
    torch.testing.assert_close(proposed.root_relative, source.root_relative, atol=1e-5, rtol=0)
    assert proposed.valid.float().mean() > 0.8


def test_augmentation_alone_stays_at_the_sources_place_before_its_camera():
    method = poseda(parts="lpa")
    source = source_batch(H36M_16)
    proposed = method.propose(source, KEY)
    torch.testing.assert_close(proposed.joints_3d[:, :, 0], source.joints_3d[:, :, 0])
    assert torch.equal(proposed.camera.focal, source.camera.focal)
    assert (proposed.root_relative - source.root_relative).norm(dim=-1).mean() > 0.1


def test_both_parts_give_the_augmented_pose_the_targets_camera():
    method = poseda()
    source = source_batch(H36M_16)
    proposed = method.propose(source, KEY)
    local = poseda(parts="lpa").propose(source, KEY)  # same seed, same generator
    rows = proposed.valid
    assert rows.any()
    torch.testing.assert_close(proposed.root_relative[rows], local.root_relative[rows], atol=1e-5, rtol=0)
    assert torch.equal(proposed.camera.focal[rows], method.context.target.camera.focal[: int(rows.sum())])
    assert not proposed.camera.distortion[rows].any()


def test_pairs_are_drawn_anew_in_every_epoch():
    method, source = poseda(parts="gpa"), source_batch(H36M_16)
    first, second = (method.propose(source, StepKey(3, epoch, 0)).joints_3d for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_lifter_batches_are_half_augmented_and_half_source():
    method = poseda(parts="gpa")
    seen = []
    method.step_lifter = lambda batch: seen.append(batch) or torch.zeros(())
    for number in range(4):
        step(method, number)
    mixed = [batch for batch in seen if not bool(batch.camera.distortion.any(-1).all())]
    assert len(mixed) >= 4
    for batch in mixed:
        assert batch.camera.distortion.any(-1).float().mean() == 0.5


def trained(tmp_path, **given):
    """A run's checkpoint of a method with a few GAN steps."""
    method = poseda(**given)
    for number in range(7):
        step(method, number)
    return method, Checkpoints(tmp_path).save(7, {"method": method.state_dict(), "run_id": "none"})


def test_a_trained_generator_serves_another_lifter_unchanged(tmp_path):
    method, path = trained(tmp_path)
    reused = poseda("xyd", generator=str(path), warmup_iterations=None)
    source = source_batch(H36M_16)
    assert reused.warmup == 0
    assert "critic" not in reused.networks
    assert set(reused.optimizers) == {"lifter"}
    before = weights(reused.generator)
    assert same(before, method.generator)
    expected, found = method.propose(source, KEY), reused.propose(source, KEY)
    assert torch.equal(found.joints_3d, expected.joints_3d)
    assert torch.equal(found.joints_2d, expected.joints_2d)
    for number in range(7):
        assert step(reused, number).lifter_steps > 0
    assert same(before, reused.generator)


def test_a_generators_weights_alone_serve_as_well(tmp_path):
    method, _ = trained(tmp_path)
    for number, state in enumerate((method.generator.state_dict(), {"generator": method.generator.state_dict()})):
        path = tmp_path / f"{number}.pt"
        torch.save(state, path)
        assert same(weights(method.generator), poseda(generator=str(path)).generator)


def test_a_run_with_a_reused_generator_can_give_it_on(tmp_path):
    _, path = trained(tmp_path)
    reused = poseda(generator=str(path))
    step(reused, 0)
    second = Checkpoints(tmp_path / "second").save(1, {"method": reused.state_dict()})
    assert same(weights(reused.generator), poseda(generator=str(second)).generator)


@pytest.mark.parametrize(
    ("make_file", "message"),
    [
        (lambda path: None, "no file at"),
        (lambda path: path.write_bytes(b"not weights"), "cannot be loaded as weights"),
        (lambda path: torch.save({"lifter": {"weight": torch.zeros(1)}, "epoch": 3}, path), "holds no generator"),
        (lambda path: torch.save({"method": make("erm").state_dict()}, path), "holds no generator"),
        (lambda path: torch.save([1, 2], path), "should hold a dictionary of weights, it holds a list"),
        (lambda path: torch.save({"method": make("poseaug", H36M_16).state_dict()}, path), "does not fit"),
        (lambda path: torch.save({"method": make("poseda", H36M_17).state_dict()}, path), "does not fit"),
        (lambda path: torch.save(poseda(rotation="yaw_tilt").generator.state_dict(), path), "rotation"),
        (lambda path: torch.save(poseda(generator_norm="layer").generator.state_dict(), path), "generator_norm"),
    ],
    ids=["absent", "damaged", "best", "erm", "list", "poseaug", "17 joints", "rotation", "norm"],
)
def test_a_file_that_cannot_serve_says_why(tmp_path, make_file, message):
    path = tmp_path / "file.pt"
    make_file(path)
    with pytest.raises(FileFormatError, match=message):
        poseda(generator=str(path))


@pytest.mark.parametrize(
    "given",
    [
        {"parts": "none"}, {"lipschitz": "spectral"}, {"critic_input": "bones"}, {"rotation": "yaw"},
        {"generator_norm": "none"}, {"mixing": "third"}, {"critic_steps": 0}, {"attempts": 0}, {"clip": 0.0},
        {"penalty": -1.0}, {"depth_m": (5.0, 1.0)}, {"depth_m": (1.0,)}, {"parts": "gpa", "generator": "file.pt"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_options_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        PoseDAOptions(**given)


def test_it_says_that_it_needs_a_target():
    method = poseda()
    context = type(method.context)(**{**vars(method.context), "target": None})
    with pytest.raises(ValueError, match="adapt_to"):
        type(method)(context, method.options)
    type(method)(context, PoseDAOptions(parts="lpa"))


VARIANTS = [{"parts": "gpa"}, {"parts": "lpa"}, {"lipschitz": "gp"}, {"rotation": "yaw_tilt"},
            {"generator_norm": "layer"}, {"mixing": "alternate"}]  # fmt: skip


@pytest.mark.parametrize("given", mostly_long(VARIANTS, VARIANTS[1:3]), ids=str)
def test_every_variant_goes_on_bit_for_bit_after_a_save(tmp_path, given):
    method, resumed = poseda("xyd", **given), poseda("xyd", **given)
    for number in range(7):
        step(method, number)
    path = Checkpoints(tmp_path).save(7, method.state_dict())
    resumed.load_state_dict(load_file(path))
    expected, got = step(method, 7), step(resumed, 7)
    assert got.lifter_steps == expected.lifter_steps
    assert got.metrics.keys() == expected.metrics.keys()
    assert all(torch.equal(got.metrics[name], value) for name, value in expected.metrics.items())
    assert same(weights(method.networks), resumed.networks)


def test_depth_comes_from_the_pool_with_the_proposal():
    method, source = poseda("xyd"), source_batch(H36M_16)
    proposed = method.propose(source, KEY)
    assert proposed.depth is None
    method.update(source, render(proposed), KEY)
    assert method.lifter_steps >= 1
