"""DAF-DG, a re-implementation from the paper's intent: a weak and a strong augmentor, and a meta-optimised lifter.

Peng et al., "A dual-augmentor framework for domain generalization in 3D human pose estimation", CVPR 2024 (METHODS 5).
The released code does not run and throws its meta-updated parameters away (METHODS 5, 9.1), so numbers made with this
file are a re-implementation's, never "DAF-DG's released".

What is done. Two copies of PoseAug's generator and of its two discriminators, without PoseAug's range and feedback
losses. Of each pose there are four: source, after bone angle, after bone length, after the rigid transform; `proximity`
and `overall_gap` compare them (dg.augment.structure; absolute camera-frame joints, square metres, summed over joints).
    weak generator:   adversarial 2D + 6 adversarial 3D + proximity + 0.5 overall gap
    strong generator: adversarial 2D + 6 adversarial 3D + proximity - 0.35 overall gap
The strong 3D discriminator's real samples are the weak augmentor's poses, everything else is as in PoseAug. The lifter
makes two meta steps (dg.methods.meta_step): it adapts to source poses and is tested on weak ones, then adapts to weak
poses and is tested on strong ones; what is minimised is the mean of the losses before and after the inner step.

Departures and choices:
* Proposals: one batch holds both kinds. The first half of the source rows goes through the weak augmentor, the second
  half through the strong one. Those inside the frame wait until half a batch of either kind is there; then the two meta
  steps are made, each on half a batch of either domain, so that every step of the lifter sees a batch. Until then the
  lifter trains on the source alone. At most a batch of either kind waits, the newest. The released code trains on full
  batches of each.
* The outer step is the common one of all methods: Adam with the plan's learning rate, schedule and clipping (the
  released code: Adam, 5e-4). The inner step is the paper's plain gradient step of 1e-4 (`inner_lr`), not scheduled.
* `meta=second_order` differentiates through the inner step. With that inner rate its gradient differs from first
  order's by less than 1 % (tests/methods/test_daf_dg.py), so `first_order` is the one to save time with.
* `mixing=batch` sends the two domains of a meta step through batch norm together, `alternate` each by itself (the
  released code); see dg.methods.meta_step for the running statistics.
* `rigid=random` draws the rigid transform as dg.methods.random_rigid does, in place of the learned one, which tilts
  people by 41 degrees in the median (docs/results.md). The structural losses then compare the three poses before it,
  and the 2D discriminators' real poses are moved too, as in dg.methods.poseaug.
* Weak and strong augmentors, discriminators and lifter take turns at every batch; the four-sided frame test, template
  bone lengths of the run's own subjects and the residual translation are those of dg.methods.poseaug, likewise its
  warm-up and pre-training. Generator and discriminators: Adam 1e-4, falling linearly.

Cost. A meta step counts as one optimiser step of the lifter; an update makes two, or one on the source alone. A meta
step with `mixing=batch` takes two forward and two backward passes on a whole batch, with `alternate` on half a batch;
with `second_order` the second backward pass goes through the first one too. Forward and backward, as multiples of a
common step's on as many poses (simple_baseline, 512 poses, one CPU thread, tests/bench/meta_step.py): 4.0 with second
order, 2.1 with first order; `alternate` 2.3 and 1.1. So at an equal budget of optimiser steps this method takes more
time than the others, and is given no fewer steps for that.

Published: 63.1 mm MPJPE on MPI-INF-3DHP (protocol 3DHP-2929, METHODS 7) and 106.6 mm on 3DPW, ground-truth 2D (METHODS
5); the released code carries VideoPose3D as its lifter. AugLift's authors mended that code and got 80.5 mm at best. Not
reproduced here: Human3.6M and MPI-INF-3DHP were not at hand.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dg.augment.bone_templates import KINDS, BoneTemplates
from dg.augment.generator import AugmentedPoses, PoseGenerator
from dg.augment.generator_init import INITS, initialise_outputs
from dg.augment.history_pool import HistoryPool
from dg.augment.random_move import LEARNED, RANDOM, MoveRanges, move_into_frame, move_once
from dg.augment.rigid import TRANSLATIONS
from dg.augment.structure import normalised_laplacian, overall_gap, proximity
from dg.augment.trunk import frozen_statistics
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.discriminators import PartDiscriminator, PoseDiscriminator2D
from dg.methods.losses import lsgan_discriminator, lsgan_generator
from dg.methods.meta_step import Domain, meta_gradient
from dg.methods.mixing import check_mixing
from dg.methods.survivors import Survivors
from dg.pose.batch import PoseBatch

METAS = ("second_order", "first_order")
_WEIGHT_2D, _WEIGHT_3D = 1.0, 6.0
_GAP = {"weak": 0.5, "strong": -0.35}


@dataclass(frozen=True)
class DAFDGOptions:
    """meta: whether the outer gradient goes through the inner step. inner_lr: of the inner step. The others are
    PoseAug's: templates: whose bone lengths the poses get first. warmup_passes: passes over the source that train the
    augmentors alone; warmup_iterations counts them in batches instead. history: samples in a discriminator's pool.
    rigid: `learned`, or `random`; `translation` is of the learned one. generator_init: see
    `dg.augment.generator_init`.
    """

    meta: str = "second_order"
    inner_lr: float = 1e-4
    templates: str = "source"
    rigid: str = LEARNED
    translation: str = "residual"
    warmup_passes: float = 2.0
    warmup_iterations: int | None = None
    generator_lr: float = 1e-4
    generator_init: str = "released"
    discriminator_lr: float = 1e-4
    discriminator_every: int = 2
    history: int = 4096
    mixing: str = "batch"

    def __post_init__(self) -> None:
        choices = {
            "meta": METAS, "templates": KINDS, "rigid": (LEARNED, RANDOM), "translation": TRANSLATIONS,
            "generator_init": INITS,
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
        check_mixing(self.mixing)
        if not self.inner_lr >= 0:
            raise ValueError(f"inner_lr must not be negative, got {self.inner_lr}")
        if self.discriminator_every < 1 or self.history < 1:
            raise ValueError("discriminator_every and history must be at least 1")


class DAFDG(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = DAFDGOptions
    # As PoseAug, from which it forks.
    pretrain_share: ClassVar[float] = 1 / 3

    def __init__(self, context: MethodContext, options: DAFDGOptions) -> None:
        super().__init__(context)
        skeleton, device = context.skeleton, context.device
        self.options = options
        self.iterations = 0
        self.laplacian = normalised_laplacian(skeleton).to(device)
        self.templates = BoneTemplates(options.templates, skeleton, context.source.template_lengths(options.templates))
        self.pools: dict[str, HistoryPool] = {}
        self.waiting = {kind: Survivors(options.mixing, skeleton, device) for kind in _GAP}
        for kind in _GAP:
            generator = PoseGenerator(skeleton, options.translation)
            if options.rigid == RANDOM:
                generator.keep_only(("ba", "bl"))
            initialise_outputs(generator, options.generator_init)
            self._add(f"{kind}_generator", generator, options.generator_lr)
            self._add(f"{kind}_discriminator_3d", PartDiscriminator(skeleton), options.discriminator_lr)
            self._add(f"{kind}_discriminator_2d", PoseDiscriminator2D(skeleton), options.discriminator_lr)
            for space, size in (("3d", 3), ("2d", 2)):
                self.pools[f"{kind}_{space}"] = HistoryPool(options.history, (len(skeleton), size), device)
        passes = round(options.warmup_passes * context.plan.steps_per_epoch)
        self.warmup = passes if options.warmup_iterations is None else options.warmup_iterations

    def _add(self, name: str, network: torch.nn.Module, lr: float) -> None:
        network = network.to(self.context.device)
        self.add_network(name, network, torch.optim.Adam(network.parameters(), lr=lr, fused=True))

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Propose weak poses for the first half of the rows and strong ones for the second.

        Poses outside the frame are not valid. Returns None in pre-training and warm-up. Raises ValueError for fewer
        than four rows: a generator's batch norm needs 2.
        """
        if self.pretraining or self.iterations < self.warmup:
            return None
        if len(source) < 4:
            raise ValueError(f"method=daf_dg needs batches of at least 4 poses, got {len(source)}")
        joints, half = self._with_templates(source, key), len(source) // 2
        made = []
        for kind, rows in (("weak", slice(0, half)), ("strong", slice(half, None))):
            with frozen_statistics(self.networks[f"{kind}_generator"]):
                made.append(self._augment(kind, joints[rows], key, "proposal").rigid)
        proposed = source.with_joints(torch.cat(made)[:, None])
        if self.options.rigid == RANDOM:
            random = key.generator("rigid", self.context.device)
            proposed = proposed.with_joints(move_into_frame(proposed, MoveRanges(), random)[0])
        return proposed

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Step both augmentors and, after the warm-up, the lifter on what waits of earlier proposals."""
        if self.pretraining:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = self._step_augmentors(source, key)
        if self.iterations <= self.warmup:
            return Update(metrics, 0)
        if proposed is not None:
            half = len(source) // 2
            metrics["augment/valid_share"] = proposed.valid.float().mean()
            _add(self.waiting["weak"], proposed[:half], len(source))
            _add(self.waiting["strong"], proposed[half:], len(source))
        losses = self._train_lifter(source)
        return Update(metrics | {"loss/lifter": torch.stack(losses).mean()}, len(losses))

    def _train_lifter(self, source: PoseBatch) -> list[Tensor]:
        """Two meta steps once half a batch of weak and of strong poses wait, else one step on the source."""
        half = len(source) // 2
        usable = source.only_usable()
        if min(len(usable), *[_waiting(queue) for queue in self.waiting.values()]) < half:
            return [self.step_lifter(source)]
        weak, strong = (_take(queue, half) for queue in self.waiting.values())
        return [self._meta_step(usable[:half], weak), self._meta_step(weak, strong)]

    def _meta_step(self, seen: PoseBatch, unseen: PoseBatch) -> Tensor:
        """One optimiser step; returns what was minimised, the mean of the two losses."""
        self.count_poses(seen)
        self.count_poses(unseen)
        self.begin_lifter_step()
        meta = meta_gradient(
            self.lifter,
            self._domain(seen),
            self._domain(unseen),
            self.options.inner_lr,
            second_order=self.options.meta == "second_order",
            shared_norm=self.options.mixing == "batch",
            loss=self.lifter_loss,
        )
        for parameter, gradient in zip(self.lifter.parameters(), meta.gradients, strict=True):
            parameter.grad = gradient
        self.descend_lifter()
        return 0.5 * (meta.seen + meta.unseen)

    def _domain(self, poses: PoseBatch) -> Domain:
        return Domain(self.training_features(poses), self.lifter_target(poses))

    def _step_augmentors(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        """One step of each generator and, at every second iteration, one of each discriminator."""
        joints, metrics, made = self._with_templates(source, key), {}, {}
        for kind in _GAP:
            made[kind], losses = self._step_generator(kind, joints, source, key)
            metrics |= losses
        if self.iterations % self.options.discriminator_every == 0:
            real_3d = {"weak": joints, "strong": made["weak"].rigid.detach()}
            for kind in _GAP:
                metrics |= self._step_discriminators(kind, real_3d[kind], joints, made[kind], source, key)
        self.iterations += 1
        return metrics

    def _step_generator(
        self, kind: str, joints: Tensor, source: PoseBatch, key: StepKey
    ) -> tuple[AugmentedPoses, dict[str, Tensor]]:
        """One step of the weak or the strong generator: the poses that it made before the step, and the losses."""
        poses = self._augment(kind, joints, key, "noise")
        chain = [joints, poses.bone_angle, poses.bone_length]
        if self.options.rigid == LEARNED:
            chain.append(poses.rigid)
        score_3d = self.networks[f"{kind}_discriminator_3d"](poses.bone_angle)
        score_2d = self.networks[f"{kind}_discriminator_2d"](self._seen(poses.rigid, source, key, f"{kind} moved"))
        losses = {
            "adversarial_3d": _WEIGHT_3D * lsgan_generator(score_3d),
            "adversarial_2d": _WEIGHT_2D * lsgan_generator(score_2d),
            "proximity": proximity(chain, self.laplacian),
            "overall_gap": _GAP[kind] * overall_gap(chain, self.laplacian),
        }
        total = torch.stack(list(losses.values())).sum()
        self._step(f"{kind}_generator", total, self.options.generator_lr)
        return poses, {f"loss/{kind}_{n}": v.detach() for n, v in (losses | {"generator": total}).items()}

    def _step_discriminators(
        self, kind: str, real_3d: Tensor, joints: Tensor, made: AugmentedPoses, source: PoseBatch, key: StepKey
    ) -> dict[str, Tensor]:
        random = key.generator(f"{kind} discriminators", self.context.device)
        metrics = {}
        for space, real, fake in (
            ("3d", real_3d, made.bone_angle.detach()),
            (
                "2d",
                self._seen(joints, source, key, f"{kind} real moved"),
                self._seen(made.rigid.detach(), source, key, f"{kind} moved"),
            ),
        ):
            name = f"{kind}_discriminator_{space}"
            shuffled = real[torch.randperm(len(real), generator=random, device=real.device)]
            scores = self.networks[name](torch.cat([shuffled, self.pools[f"{kind}_{space}"].exchange(fake, random)]))
            loss = lsgan_discriminator(scores[: len(real)], scores[len(real) :])
            self._step(name, loss, self.options.discriminator_lr)
            metrics[f"loss/{name}"] = loss.detach()
        return metrics

    def _seen(self, joints: Tensor, source: PoseBatch, key: StepKey, purpose: str) -> Tensor:
        """The 2D of poses `[batch, joints, 3]`, with rigid=random after a move at random."""
        if self.options.rigid == RANDOM:
            poses = source.replace(joints_3d=joints[:, None], depth=None)
            joints = move_once(poses, MoveRanges(), key.generator(purpose, self.context.device))[:, 0]
        return source.camera.project(joints)

    def _step(self, name: str, loss: Tensor, lr: float) -> None:
        self.step_network(name, loss, lr * (1 - 0.96 * self.progress))

    def _augment(self, kind: str, joints: Tensor, key: StepKey, purpose: str) -> AugmentedPoses:
        generator = self.networks[f"{kind}_generator"]
        assert isinstance(generator, PoseGenerator)
        return generator(joints, generator.draw_noise(len(joints), key.generator(f"{kind} {purpose}", joints.device)))

    def _with_templates(self, source: PoseBatch, key: StepKey) -> Tensor:
        """The source's joints, camera frame, with template bone lengths."""
        if source.joints_3d.shape[1] != 1:
            raise ValueError(f"method=daf_dg augments single frames, got windows of {source.joints_3d.shape[1]}")
        return self.templates.apply(source.joints_3d[:, 0], key.generator("templates", self.context.device))

    def extra_state(self) -> dict[str, Any]:
        """Return the step count, the waiting poses and the history pools."""
        return {
            "iterations": self.iterations,
            "waiting": {kind: queue.state_dict() for kind, queue in self.waiting.items()},
            "pools": {name: pool.state_dict() for name, pool in self.pools.items()},
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the step count, the waiting poses and the history pools."""
        self.iterations = state["iterations"]
        for kind, queue in self.waiting.items():
            queue.load_state_dict(state["waiting"][kind])
        for name, pool in self.pools.items():
            pool.load_state_dict(state["pools"][name])


def _waiting(queue: Survivors) -> int:
    return 0 if queue.waiting is None else len(queue.waiting)


def _add(queue: Survivors, proposed: PoseBatch, most: int) -> None:
    """The valid rows join the queue. Where the other kind keeps it waiting, the oldest poses leave it."""
    queue.add(proposed)
    if _waiting(queue) > most:
        _take(queue, _waiting(queue) - most)


def _take(queue: Survivors, rows: int) -> PoseBatch:
    """The queue's first poses, which leave it."""
    assert queue.waiting is not None
    taken, queue.waiting = queue.waiting[:rows], queue.waiting[rows:]
    return taken
