"""The meta gradient against finite differences, and DAF-DG's losses, proposals and steps against the written ones."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from dg.augment.structure import normalised_laplacian, structural_distance
from dg.methods.base import StepKey
from dg.methods.meta_step import Domain, meta_gradient
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_16
from lifters.dropout import ReLUDropout
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, render, source_batch, step

ORDERS = pytest.mark.parametrize("second_order", [True, False])


def domain(seed, rows=8, outputs=4):
    generator = torch.Generator().manual_seed(seed)
    return Domain(
        torch.randn(rows, 5, generator=generator, dtype=torch.float64),
        torch.randn(rows, outputs, generator=generator, dtype=torch.float64),
    )


def linear():
    torch.manual_seed(1)
    return nn.Linear(5, 4, dtype=torch.float64)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def baseline_domains(rows=32):
    generator = torch.Generator().manual_seed(0)
    return [
        Domain(torch.randn(rows, 1, 16, 2, generator=generator), 0.3 * torch.randn(rows, 1, 16, 3, generator=generator))
        for _ in range(2)
    ]


@ORDERS
def test_the_meta_gradient_equals_finite_differences_on_a_linear_lifter(second_order):
    lifter, seen, unseen, rate = linear(), domain(2), domain(3), 0.3
    start = flat(lifter.parameters()).detach()

    def predict(theta, features):
        return features @ theta[:20].view(4, 5).T + theta[20:]

    def inner_gradient(theta):
        error = 2 * (predict(theta, seen.features) - seen.target) / seen.target.numel()
        return torch.cat([(error.T @ seen.features).flatten(), error.sum(0)])

    def objective(theta):
        # First order: the inner step is a constant displacement.
        adapted = theta - rate * inner_gradient(theta if second_order else start)
        losses = (
            mse_loss(predict(theta, seen.features), seen.target),
            mse_loss(predict(adapted, unseen.features), unseen.target),
        )
        return 0.5 * sum(losses)

    step_size = 1e-5
    differences = torch.stack(
        [
            (objective(start + move) - objective(start - move)) / (2 * step_size)
            for move in step_size * torch.eye(len(start), dtype=torch.float64)
        ]
    )
    meta = meta_gradient(lifter, seen, unseen, rate, second_order=second_order, shared_norm=False)
    torch.testing.assert_close(flat(meta.gradients), differences, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(0.5 * (meta.seen + meta.unseen), objective(start))
    assert torch.equal(flat(lifter.parameters()).detach(), start)
    assert not any(t.requires_grad for t in (*meta.gradients, meta.seen, meta.unseen))


def test_first_and_second_order_meet_as_the_inner_rate_goes_to_zero():
    lifter, seen, unseen = linear(), domain(2), domain(3)

    def apart(rate):
        first, second = (
            flat(meta_gradient(lifter, seen, unseen, rate, second_order=order, shared_norm=False).gradients)
            for order in (False, True)
        )
        return (first - second).norm().item()

    assert apart(0.0) < 1e-15
    assert apart(0.1) > 1e-3
    # The term that first order leaves out is the Hessian times the inner rate.
    assert apart(1e-4) == pytest.approx(apart(1e-5) * 10, rel=1e-3)


@pytest.mark.parametrize("shared_norm", [True, False])
def test_without_an_inner_step_the_gradient_is_that_of_the_mean_loss(shared_norm):
    lifter = SimpleBaseline(H36M_16, 2, SimpleBaselineOptions(width=16, dropout=0.0)).train()
    seen, unseen = baseline_domains()
    meta = meta_gradient(lifter, seen, unseen, 0.0, second_order=True, shared_norm=shared_norm)
    if shared_norm:
        predicted = lifter(torch.cat([seen.features, unseen.features]))
        loss = mse_loss(predicted, torch.cat([seen.target, unseen.target]))
    else:
        loss = 0.5 * (mse_loss(lifter(seen.features), seen.target) + mse_loss(lifter(unseen.features), unseen.target))
    expected = torch.autograd.grad(loss, list(lifter.parameters()))
    torch.testing.assert_close(flat(meta.gradients), flat(expected), atol=1e-6, rtol=1e-4)


@ORDERS
@pytest.mark.parametrize("shared_norm", [True, False])
def test_running_statistics_take_every_row_in_once(second_order, shared_norm):
    seen, unseen = baseline_domains()
    lifters = [SimpleBaseline(H36M_16, 2, SimpleBaselineOptions(width=16)).train() for _ in range(2)]
    lifters[1].load_state_dict(lifters[0].state_dict())
    # An inner rate of zero: the second pass sees the same parameters, so plain passes are its twin.
    meta_gradient(lifters[0], seen, unseen, 0.0, second_order=second_order, shared_norm=shared_norm)
    with torch.no_grad():
        for features in (
            [torch.cat([seen.features, unseen.features])] if shared_norm else [seen.features, unseen.features]
        ):
            lifters[1](features)
    # The first layer's statistics stand before any dropout.
    first, second = (lifter.first.norm for lifter in lifters)
    torch.testing.assert_close(first.running_mean, second.running_mean)
    torch.testing.assert_close(first.running_var, second.running_var)
    assert first.num_batches_tracked == (1 if shared_norm else 2)


def test_with_the_papers_inner_rate_second_order_changes_the_gradient_by_less_than_a_hundredth():
    lifter = SimpleBaseline(H36M_16, 2, SimpleBaselineOptions(width=64)).train()
    seen, unseen = baseline_domains()
    gradients = []
    for order in (True, False):
        torch.manual_seed(5)
        gradients.append(
            flat(meta_gradient(lifter, seen, unseen, 1e-4, second_order=order, shared_norm=True).gradients)
        )
    difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 0 < difference < 0.01


def test_relu_dropout_can_be_differentiated_twice():
    module = ReLUDropout(0.25).train()
    mix = torch.randn(7, 7, dtype=torch.float64)

    def function(x):
        torch.manual_seed(3)
        return module((x @ mix).square() - 1).square()

    x = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(function, (x,))


@ORDERS
def test_attention_and_unused_parameters_are_borne(second_order):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.unused = nn.Linear(8, 24), nn.Linear(2, 2)

        def forward(self, x):
            q, k, v = self.mix(x).chunk(3, -1)
            return nn.functional.scaled_dot_product_attention(q, k, v)

    lifter = Attending()
    seen, unseen = (Domain(torch.randn(3, 2, 5, 8), torch.randn(3, 2, 5, 8)) for _ in range(2))
    meta = meta_gradient(lifter, seen, unseen, 1e-2, second_order=second_order, shared_norm=False)
    by_name = dict(zip([n for n, _ in lifter.named_parameters()], meta.gradients, strict=True))
    assert by_name["mix.weight"].abs().max() > 0
    assert by_name["unused.weight"].abs().max() == 0


def daf_dg(channels="xy", **given):
    return make("daf_dg", H36M_16, channels, **{"warmup_iterations": 0, "discriminator_every": 1000, **given})


@pytest.mark.parametrize(("kind", "gap"), [("weak", 0.5), ("strong", -0.35)])
def test_a_generators_loss_is_the_written_one(kind, gap):
    method = daf_dg(templates="off")
    source, key = source_batch(H36M_16), StepKey(3, 0, 0)
    generator = method.networks[f"{kind}_generator"]
    joints = source.joints_3d[:, 0]
    poses = generator(joints, generator.draw_noise(len(source), key.generator(f"{kind} noise")))
    laplacian = normalised_laplacian(H36M_16)
    chain = [joints, poses.bone_angle, poses.bone_length, poses.rigid]

    def between(i, j):
        return structural_distance(chain[i - 1], chain[j - 1], laplacian)

    score_3d = method.networks[f"{kind}_discriminator_3d"](poses.bone_angle)
    score_2d = method.networks[f"{kind}_discriminator_2d"](source.camera.project(poses.rigid))
    expected = 6 * 0.5 * (score_3d - 1).square().mean() + 0.5 * (score_2d - 1).square().mean()
    expected = expected + (between(1, 2) + between(2, 3) + between(3, 4)) / 3
    expected = expected + gap * (between(1, 3) + between(2, 4)) / 2
    metrics = method._step_augmentors(source, key)
    torch.testing.assert_close(metrics[f"loss/{kind}_generator"], expected.detach(), atol=1e-5, rtol=1e-5)


def test_a_random_rigid_transform_has_no_network_and_keeps_the_gap_to_the_poses_before_it():
    method = daf_dg(templates="off", rigid="random")
    assert not [n for n, _ in method.networks.named_parameters() if "rigid" in n]
    source, key, laplacian = source_batch(H36M_16), StepKey(3, 0, 0), normalised_laplacian(H36M_16)
    generator, joints = method.networks["weak_generator"], source.joints_3d[:, 0]
    poses = generator(joints, generator.draw_noise(len(source), key.generator("weak noise")))
    chain = [joints, poses.bone_angle, poses.bone_length]
    between = [structural_distance(chain[i], chain[j], laplacian) for i, j in ((0, 1), (1, 2), (0, 2))]
    metrics = method._step_augmentors(source, key)
    torch.testing.assert_close(metrics["loss/weak_proximity"], (between[0] + between[1]).detach() / 2)
    torch.testing.assert_close(metrics["loss/weak_overall_gap"], 0.5 * between[2].detach())


def test_with_a_random_rigid_transform_the_2d_judges_see_both_sides_moved_and_proposals_are_inside_the_frame():
    method = daf_dg(templates="off", rigid="random", discriminator_every=1)
    source, seen = source_batch(H36M_16), []
    method.networks["weak_discriminator_2d"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    method._step_augmentors(source, StepKey(3, 0, 0))
    real = seen[1][: len(source)]
    assert torch.cdist(real.flatten(1), source.joints_2d.flatten(1)).amin(1).median() > 0.05
    proposed = method.propose(source, StepKey(0, 0, 0))
    turned = (proposed.root_relative - source.root_relative)[:, 0].norm(dim=-1).amax(1)
    assert turned.median() > 0.2
    assert proposed.valid.all()


def test_the_strong_3d_discriminators_real_poses_are_the_weak_ones():
    method = daf_dg(templates="off", discriminator_every=1)
    source, key, seen = source_batch(H36M_16), StepKey(3, 0, 0), {}
    for kind in ("weak", "strong"):
        network = method.networks[f"{kind}_discriminator_3d"]
        network.register_forward_pre_hook(lambda _, inputs, kind=kind: seen.setdefault(kind, []).append(inputs[0]))
    generator = method.networks["weak_generator"]
    joints = source.joints_3d[:, 0]
    with torch.no_grad():
        weak = generator(joints, generator.draw_noise(24, key.generator("weak noise")))
    method._step_augmentors(source, key)
    rows = torch.arange(24)
    for kind, real in (("weak", joints), ("strong", weak.rigid)):
        # Each discriminator is called with generated poses for its generator, then with real and generated ones.
        judged = seen[kind][1][:24]
        assert not judged.requires_grad
        nearest = torch.cdist(judged.flatten(1), real.flatten(1)).argmin(1)
        assert torch.equal(nearest.sort().values, rows)
        torch.testing.assert_close(judged, real[nearest], atol=1e-4, rtol=1e-4)


def test_a_generator_step_leaves_lifter_and_discriminators_alone():
    method = daf_dg()
    before = {n: p.clone() for n, p in method.networks.named_parameters()}
    method.iterations = 1
    method._step_augmentors(source_batch(H36M_16), StepKey(0, 0, 1))
    moved = {n.split(".")[0] for n, p in method.networks.named_parameters() if not torch.equal(before[n], p)}
    assert moved == {"weak_generator", "strong_generator"}


def test_the_first_half_of_the_proposals_is_weak_and_the_second_strong():
    method = daf_dg()
    for kind, shift in (("weak", 0.0), ("strong", 2.0)):
        last = method.networks[f"{kind}_generator"].rigid.translation_trunk.last
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([0.0, 0.0, shift]))
    source = source_batch(H36M_16)
    proposed = method.propose(source, StepKey(0, 0, 0))
    moved = (proposed.joints_3d - source.joints_3d)[:, 0, 0, 2]
    torch.testing.assert_close(moved, torch.tensor([0.0, 2.0]).repeat_interleave(12), atol=1e-5, rtol=0)


def in_place(source, key, method):
    """A proposal of which every row survives."""
    return render(source.replace(joints_3d=source.joints_3d * 1.01))


@pytest.mark.parametrize("channels", ["xy", "xyd"])
@pytest.mark.parametrize("meta", ["second_order", "first_order"])
@pytest.mark.parametrize("mixing", ["batch", "alternate"])
def test_two_meta_steps_are_made_once_half_a_batch_of_either_kind_waits(monkeypatch, channels, meta, mixing):
    method = daf_dg(channels, meta=meta, mixing=mixing)
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    calls = []
    plain, between = method.step_lifter, method._meta_step
    monkeypatch.setattr(method, "step_lifter", lambda batch: calls.append("source") or plain(batch))
    monkeypatch.setattr(
        method, "_meta_step", lambda seen, unseen: calls.append((len(seen), len(unseen))) or between(seen, unseen)
    )
    full = in_place(source, key, method)
    some = full.replace(valid=torch.arange(24) % 12 < 8)
    assert method.update(source, some, key).lifter_steps == 1
    assert calls == ["source"]
    update = method.update(source, some, key)
    assert update.lifter_steps == 2
    assert calls[1:] == [(12, 12), (12, 12)]
    assert method.lifter_steps == 3
    assert torch.isfinite(update.metrics["loss/lifter"])
    assert [len(queue.waiting) for queue in method.waiting.values()] == [4, 4]


def test_a_meta_step_takes_the_plans_rate_and_clipping():
    method = daf_dg()
    method.lifter_steps, seen = 50, {}
    optimizer = method.optimizers["lifter"]
    optimizer.step = lambda: seen.update(
        lr=optimizer.param_groups[0]["lr"], norm=flat(p.grad for p in method.lifter.parameters()).norm().item()
    )
    source = source_batch(H36M_16)
    far = source.replace(joints_3d=source.joints_3d * 30)
    method._meta_step(far[:12], far[12:])
    assert seen["lr"] == pytest.approx(method.context.plan.lr(50))
    assert seen["norm"] == pytest.approx(1.0, abs=1e-3)


def test_a_kind_that_has_to_wait_keeps_the_newest_batch_alone():
    method = daf_dg()
    source = source_batch(H36M_16)
    lost = in_place(source, None, method).replace(valid=torch.arange(24) < 12)
    for number in range(4):
        marked = lost.replace(index=torch.full((24,), number))
        assert method.update(source, marked, StepKey(0, 0, number)).lifter_steps == 1
    assert method.waiting["weak"].waiting.index.tolist() == [2] * 12 + [3] * 12
    assert len(method.waiting["strong"].waiting) == 0


def test_meta_steps_lower_the_loss_on_all_three_domains():
    method = daf_dg(mixing="batch")
    source = source_batch(H36M_16)
    losses = []
    for _ in range(60):
        torch.manual_seed(0)
        losses.append(method._meta_step(source[:12], source[12:]).item())
    assert losses[-1] < 0.5 * losses[0]


def test_warm_up_trains_the_augmentors_alone():
    method = daf_dg(warmup_iterations=2)
    for number in range(2):
        assert method.propose(source_batch(H36M_16), StepKey(0, 0, number)) is None
        assert step(method, number).lifter_steps == 0
    assert step(method, 2).lifter_steps >= 1


def test_unknown_and_senseless_options_are_refused():
    with pytest.raises(ValueError, match=r"meta must be one of \['second_order', 'first_order'\]"):
        daf_dg(meta="third_order")
    with pytest.raises(ValueError, match="inner_lr"):
        daf_dg(inner_lr=-1.0)


def test_windows_and_tiny_batches_are_refused():
    method = daf_dg()
    source = source_batch(H36M_16)
    with pytest.raises(ValueError, match="at least 4 poses"):
        method.propose(source[:3], StepKey(0, 0, 0))
    window = PoseBatch.from_joints(make_joints(8, 16)[:, None].repeat(1, 3, 1, 1), make_camera(8), H36M_16)
    with pytest.raises(ValueError, match="single frames"):
        method.update(window, None, StepKey(0, 0, 0))
