"""How a lifter is trained: schedules, losses and optimisers of a recipe."""

import pytest
import torch
from torch import nn

from dg.methods.losses import LIFTER_LOSSES
from dg.methods.plan import TrainingPlan, lifter_optimizer
from dg.settings.command_line import check_plugins, parse
from dg.settings.plugins import resolve
from dg.training.build import options_for_windows, resolved_recipe
from lifters import LIFTERS
from lifters.recipe import LOSSES, Recipe
from tests.contracts.test_every_method import make, step


def plan(**recipe):
    return TrainingPlan(total_steps=100, steps_per_epoch=10, recipe=Recipe(lr=2.0, **recipe))


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [("constant", 2.0, 2.0, 2.0), ("linear", 2.0, 1.04, 0.08), ("cosine", 2.0, 1.0, 0.0)],
)
def test_schedules_run_over_the_budget(schedule, start, middle, end):
    rate = plan(lr_schedule=schedule).lr
    assert [rate(0), rate(50), rate(100)] == pytest.approx([start, middle, end], abs=1e-9)
    assert rate(1000) == rate(100)


def test_an_exponential_schedule_falls_after_every_pass():
    rate = plan(lr_schedule="exponential", decay=0.5).lr
    assert [rate(0), rate(9), rate(10), rate(25)] == [2.0, 2.0, 1.0, 0.5]


def test_batch_norm_momentum_falls_exponentially():
    momentum = plan(norm_momentum=(0.1, 0.001)).norm_momentum
    assert [momentum(0), momentum(50), momentum(100)] == pytest.approx([0.1, 0.01, 0.001])
    assert plan().norm_momentum(50) is None


def test_the_momentum_reaches_the_lifters_norms():
    method = make("erm", plan=TrainingPlan(100, 10, recipe=Recipe(norm_momentum=(0.1, 0.001))))
    step(method, 0)
    norms = [m for m in method.lifter.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms
    assert {m.momentum for m in norms} == {0.1}
    step(method, 1)
    assert {m.momentum for m in norms} == {method.context.plan.norm_momentum(1)}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_at_the_target_and_of_one_sample_each(name):
    torch.manual_seed(0)
    target = torch.randn(3, 5, 4, 3)
    assert LIFTER_LOSSES[name](target, target).abs().max() < 1e-6
    predicted = target + 0.1 * torch.randn_like(target)
    whole = LIFTER_LOSSES[name](predicted, target)
    alone = torch.cat([LIFTER_LOSSES[name](predicted[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, alone)


def test_the_losses_equal_their_definitions():
    torch.manual_seed(0)
    p, t = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 3)
    assert LIFTER_LOSSES["mse"](p, t).mean() == pytest.approx(float(nn.functional.mse_loss(p, t)))
    assert LIFTER_LOSSES["mpjpe"](p, t).mean() == pytest.approx(float((p - t).square().sum(-1).sqrt().mean()))
    by_hand = 0.0
    for frame in range(5):
        scale = (p[0, frame] * t[0, frame]).sum() / (p[0, frame] ** 2).sum()
        by_hand += ((p - t)[0, frame].norm(dim=-1).mean() + 0.5 * (scale * p - t)[0, frame].norm(dim=-1).mean()) / 5
    by_hand += 20 * ((p[0, 1:] - p[0, :-1]) - (t[0, 1:] - t[0, :-1])).norm(dim=-1).mean()
    assert float(LIFTER_LOSSES["motion"](p, t)[0]) == pytest.approx(float(by_hand), rel=1e-5)
    assert LIFTER_LOSSES["motion"](p[:, :1], t[:, :1]).isfinite().all(), "one frame has no velocity"


@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_a_run_takes_its_lifters_recipe_the_common_one_or_what_the_command_line_says(name):
    def recipe(*words):
        config = parse([f"lifter={name}", *words])
        options = options_for_windows(config, check_plugins(config)["lifter"])
        return resolved_recipe(config, resolve(LIFTERS, "lifter", name).recipe(options))

    assert recipe("training=common") == Recipe()
    changed = recipe("lr=0.5", "lr_schedule=constant")
    assert (changed.lr, changed.lr_schedule) == (0.5, "constant")
    assert changed.loss == recipe().loss


def test_the_originals_differ_as_published():
    def recipe(name, frames):
        config = parse([f"lifter={name}", f"frames={frames}"])
        options = options_for_windows(config, check_plugins(config)["lifter"])
        return resolve(LIFTERS, "lifter", name).recipe(options)

    assert recipe("simple_baseline", 1) == recipe("video_pose_3d", 1) == Recipe()
    assert recipe("video_pose_3d", 27).loss == "mpjpe"
    assert recipe("video_pose_3d", 27).norm_momentum == (0.1, 0.001)
    assert recipe("sem_gcn", 1).lr == 2e-2
    assert recipe("pose_former", 9).weight_decay == 0.1
    assert recipe("motion_bert", 27).loss == "motion"


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_is_the_recipes(name, kind):
    optimizer = lifter_optimizer(nn.Linear(2, 2), Recipe(name, weight_decay=0.25))
    assert type(optimizer) is kind
    assert optimizer.defaults["weight_decay"] == 0.25
    assert lifter_optimizer(nn.Linear(2, 2), Recipe("adam_amsgrad")).defaults["amsgrad"]


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="loss must be one of"):
        Recipe(loss="huber")
