"""PoseDA: source poses augmented locally by a Wasserstein GAN, and put where the target's people are seen.

Chai et al., "Global Adaptation meets Local Generalization: Unsupervised Domain Adaptation for 3D Human Pose
Estimation", ICCV 2023 (METHODS 3). Domain adaptation: it sees 2D poses and intrinsics of the target, no 3D. A source
pose goes through bone angle, bone length and rotation (LPA, `dg.augment.sequential_generator`), is then placed by a 2D
pose drawn from the target (GPA, `dg.augment.global_position`), projected by the target's camera without distortion, and
trained on in equal parts with source poses. One critic judges root-relative poses against the source's; no 2D critic,
no feedback from the lifter, so that a generator trained once serves any lifter (`generator=PATH`).

Tables 7 and C choose what generator and critics are given: `condition`, `real_3d` and `real_2d` (source or target).
Poses of the target are its 2D lifted by the lifter as it stands after the pre-training; they then condition all three
networks, whose changes are applied to the source pose. A 2D critic sees the poses as the target's camera does after the
alignment. The paper does not say how its terms are weighed; here 1 : 1. `adversarial=lsgan` exchanges the Wasserstein
losses for least squares (without clipping), of which the paper says that the result is not much different.

Of the authors' code only a GPA function is public; the rest follows the paper. What the paper leaves open, and our
choice (METHODS 3.3):
* Weights of the three adversarial terms: 1 : 1 : 1 on the poses after each operation; the critic sees all alike.
* Keeping the critic Lipschitz: weight clipping at 0.01 from the start (`lipschitz=gp`: gradient penalty, weight 10).
* The critic's input: full bone vectors in the KCS matrix, for unit ones would hide bone lengths, and the bone vectors
  themselves, for the matrix is blind to rotation and gives the rotation head no gradient at all (`critic_input=kcs`).
* Generator: RMSProp as the critic, 1e-4, constant; noise, widths and norm as in PoseAug.
* `rotation=yaw_tilt` restricts the rotation to the vertical axis and +-30 degrees of tilt, as an ablation.

Departures, each for a reason:
* GAN and lifter take turns at every batch, not in separate passes, so that poses can be rendered as they are made: one
  GAN iteration (of six, five train the critic and one the generator), then the lifter. Five passes over the source
  train the GAN alone first; they, as all GAN steps, cost nothing of the budget, which counts lifter steps.
* Guards that the paper's closed form lacks: see `dg.augment.global_position`. Poses that fit nowhere in the target's
  frame are dropped; the others wait until they fill a batch.
* The paper starts from finished source weights (`init_from=FILE` does that) and adapts for 5 to 10 passes. Without
  such a file the first third of the budget trains on the source alone, as for PoseAug, so that the two compare.
* The lifter's learning rate is the plan's, common to all methods; the paper's is 1e-4.
* Gradients of generator and critic are clipped to the plan's norm, as PoseAug's are.

Beyond the paper, for lifters of several frames: `windows=centre_transform` (`dg.augment.window_transform`). Generator,
critic and alignment see the window's centre frame; what they do to it is carried over to all frames. A window of which
a frame leaves the target's frame is dropped, without another pairing.

Published with the lifter VideoPose3D, 1 frame, ground-truth 2D, Human3.6M to MPI-INF-3DHP's 2,929 frames, whose own 2D
it presumably adapts to (`adapt_part=test`, transductive): 61.36 mm MPJPE, 92.05 PCK, 62.52 AUC; GPA alone 66.07 mm;
source alone 82.55 mm (METHODS 3.4). Not reproduced here: Human3.6M and MPI-INF-3DHP were not at hand.
"""

from math import pi
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.generator_init import initialise_outputs
from dg.augment.global_position import align
from dg.augment.random_local import changed_at_random
from dg.augment.sequential_generator import LocalPoses, SequentialGenerator
from dg.augment.trunk import frozen_statistics
from dg.augment.window_transform import carry_move, carry_pose, centre_frames, check_frames
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.critics import (
    CRITIC_LOSSES,
    PartCritic,
    clip_weights,
    gradient_penalty,
    paired,
)
from dg.methods.discriminators import PoseDiscriminator2D
from dg.methods.generator_file import load_generator
from dg.methods.lifted_target import LiftedTarget
from dg.methods.poseda_options import PoseDAOptions
from dg.methods.survivors import Survivors
from dg.pose.batch import PoseBatch
from dg.settings.errors import ConfigError


class PoseDA(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = PoseDAOptions
    regime: ClassVar[str] = "DA"
    pretrain_share: ClassVar[float] = 1 / 3

    @classmethod
    def takes(cls, options: PoseDAOptions, frames: int) -> bool:
        """Take windows of several frames where the option `windows` says so."""
        return frames == 1 or (options.windows != "off" and not options.lifts_target)

    def __init__(self, context: MethodContext, options: PoseDAOptions) -> None:
        super().__init__(context)
        asked = options.parts != "lpa" or options.lifts_target or options.real_2d == "target"
        if context.target is None and asked:
            raise ConfigError(f"method=poseda parts={options.parts} needs 2D poses of a target: adapt_to=NAME:FILE")
        self.options = options
        self.iterations = 0
        self.survivors = Survivors(options.mixing, context.skeleton, context.device)
        self.target = None if context.target is None else context.target.to(context.device)
        self.generator = self.critic = self.critic_2d = None
        self.lifted = self._lifted_target() if options.lifts_target else None
        if options.parts != "gpa":
            self._make_generator()
        plan = context.plan
        passes = round(options.warmup_passes * plan.steps_per_epoch)
        warmup = passes if options.warmup_iterations is None else options.warmup_iterations
        self.warmup = warmup if self.critic is not None else 0

    def _make_generator(self) -> None:
        """A trained generator that stays as it is, or a new one with its critic."""
        skeleton, options, device = self.context.skeleton, self.options, self.context.device
        self.generator = SequentialGenerator(skeleton, options.rotation, options.generator_norm).to(device)
        if options.generator:
            load_generator(self.generator, Path(options.generator))
            self.networks["generator"] = self.generator.requires_grad_(False)
            return
        initialise_outputs(self.generator, options.generator_init)
        self.critic = PartCritic(skeleton, options.critic_input).to(device)
        if options.real_2d != "off":
            self.critic_2d = PoseDiscriminator2D(skeleton).to(device)
        self._bound_critics()
        rates = {"generator": options.generator_lr, "critic": options.critic_lr, "critic_2d": options.critic_lr}
        for name, lr in rates.items():
            network = getattr(self, name)
            if network is not None:
                self.add_network(name, network, torch.optim.RMSprop(network.parameters(), lr=lr))

    def _lifted_target(self) -> LiftedTarget:
        assert self.target is not None
        lifted = LiftedTarget(self.lifter, self.context.inputs, self.context.skeleton, self.target)
        self.networks["pretrained"] = lifted.lifter
        return lifted

    def _bound_critics(self) -> None:
        """Clip the weights of the critics, where that is what keeps them Lipschitz."""
        if self.options.adversarial == "wgan" and self.options.lipschitz == "clip":
            for critic in (self.critic, self.critic_2d):
                if critic is not None:
                    clip_weights(critic, self.options.clip)

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Augment and place the source poses; those outside the frame are not valid.

        Returns None in pre-training and warm-up.
        """
        if self.pretraining or self.iterations < self.warmup:
            return None
        joints, windows = self._centres(source), source.joints_3d
        if self.generator is not None or self.options.local:
            at_random = self.generator is None
            poses = self._at_random(joints, key) if at_random else self._augmented(joints, key, "proposal")
            joints, windows = poses.rotated, self._carried(source, poses)
        if self.options.parts == "lpa" or self.target is None:
            return source.with_joints(windows)
        aligned = self._placed(source, joints, key, "target poses")
        if windows.shape[1] == 1:
            return aligned
        move = aligned.joints_3d[:, 0, source.skeleton.root] - joints[:, source.skeleton.root]
        return aligned.with_joints(windows + move[:, None, None])

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Step generator and critic, where there are any, and after the warm-up the lifter."""
        if self.pretraining:
            loss = self.step_lifter(source)
            if self.lifted is not None and not self.pretraining:
                self.lifted.follow(self.lifter)
            return Update({"loss/lifter": loss}, 1)
        metrics, warming = {}, self.iterations < self.warmup
        if self.critic is not None:
            metrics = self._step_gan(source, key)
        if warming:
            return Update(metrics, 0)
        if proposed is not None:
            valid = proposed.valid.float()
            depth = centre_frames(proposed).joints_3d[:, 0, proposed.skeleton.root, 2]
            metrics["augment/valid_share"] = valid.mean()
            metrics["augment/root_depth_m"] = (depth * valid).sum() / valid.sum().clamp_min(1)
            self.survivors.add(proposed)
        losses = [self.step_lifter(batch) for batch in self.survivors.batches(source)]
        return Update(metrics | {"loss/lifter": torch.stack(losses).mean()}, len(losses))

    def _step_gan(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        """One of every `critic_steps + 1` iterations steps the generator, the others step the critics."""
        turn = self.iterations % (self.options.critic_steps + 1)
        self.iterations += 1
        if turn < self.options.critic_steps:
            return self._step_critics(source, key)
        return self._step_generator(source, key)

    def _step_critics(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        joints = real = self._centres(source)
        with torch.no_grad():
            poses = self._augmented(joints, key, "noise")
            made_2d = self._seen_2d(source, poses, key)
        if self.lifted is not None and self.options.real_3d == "target":
            real = self.lifted.draw(len(joints), key.generator("real target poses", self.context.device))
        loss, metrics = self._step_critic("critic", real, _stages(poses), key)
        if self.options.adversarial == "wgan":
            metrics["augment/wasserstein"] = -loss
        if made_2d is not None:
            metrics |= self._step_critic("critic_2d", self._real_2d(source, key), made_2d, key)[1]
        self._bound_critics()
        return metrics

    def _step_critic(self, name: str, real: Tensor, made: Tensor, key: StepKey) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of a critic; its loss without and with what keeps it Lipschitz."""
        critic, options = self.networks[name], self.options
        own = CRITIC_LOSSES[options.adversarial][0](critic(real), critic(made))
        loss = own
        if options.adversarial == "wgan" and options.lipschitz == "gp":
            random = key.generator("gradient penalty" + name.removeprefix("critic"), self.context.device)
            penalty = gradient_penalty(critic, paired(real, len(made), random), made, random)
            loss = loss + options.penalty * penalty
        self.step_network(name, loss, options.critic_lr)
        return own.detach(), {f"loss/{name}": loss.detach()}

    def _step_generator(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        assert self.generator is not None
        assert self.critic is not None
        joints, judged = self._centres(source), CRITIC_LOSSES[self.options.adversarial][1]
        noise = self.generator.draw_noise(len(joints), key.generator("noise", self.context.device))
        poses = self.generator(joints, noise, self._condition(len(joints), key, "noise"))
        # The mean over the three stages, so a third of the terms' sum; RMSProp does not care.
        loss = judged(self.critic(_stages(poses)))
        made_2d = self._seen_2d(source, poses, key)
        if self.critic_2d is not None and made_2d is not None:
            loss = loss + judged(self.critic_2d(made_2d))
        self.step_network("generator", loss, self.options.generator_lr)
        return {"loss/generator": loss.detach()} | _change_metrics(poses)

    def _seen_2d(self, source: PoseBatch, poses: LocalPoses, key: StepKey) -> Float[Tensor, "seen joints 2"] | None:
        """The poses as a 2D critic sees them, where there is one: those in the frame; None where none is."""
        if self.critic_2d is None:
            return None
        seen = self._placed(centre_frames(source), poses.rotated, key, "seen target poses")
        return seen.joints_2d[:, 0][seen.valid] if bool(seen.valid.any()) else None

    def _real_2d(self, source: PoseBatch, key: StepKey) -> Float[Tensor, "batch joints 2"]:
        if self.target is None or self.options.real_2d == "source":
            return centre_frames(source).joints_2d[:, 0]
        return self.target.draw(len(source), key.generator("real target 2d", self.context.device))[0]

    def _placed(
        self, source: PoseBatch, joints: Float[Tensor, "batch joints 3"], key: StepKey, purpose: str
    ) -> PoseBatch:
        """Poses where the target's people are seen, or in their own places where there is no alignment."""
        if self.options.parts == "lpa" or self.target is None:
            return source.with_joints(joints[:, None])
        pairs = key.generator(purpose, self.context.device)
        return align(source, joints, self.target.draw, pairs, self.options.depth_m, self.options.attempts)

    def _condition(self, rows: int, key: StepKey, purpose: str) -> Float[Tensor, "rows joints 3"] | None:
        """The poses that the generator is given; None: those that it changes."""
        if self.lifted is None or self.options.condition == "source":
            return None
        return self.lifted.draw(rows, key.generator(f"condition of {purpose}", self.context.device))

    def _at_random(self, joints: Float[Tensor, "batch joints 3"], key: StepKey) -> LocalPoses:
        random = key.generator("random local", joints.device)
        return changed_at_random(joints, self.context.skeleton, self.options.local, random)

    def _augmented(self, joints: Float[Tensor, "batch joints 3"], key: StepKey, purpose: str) -> LocalPoses:
        """What the generator makes of the poses now; its running statistics stay as they are."""
        assert self.generator is not None
        noise = self.generator.draw_noise(len(joints), key.generator(purpose, self.context.device))
        with frozen_statistics(self.generator):
            return self.generator(joints, noise, self._condition(len(joints), key, purpose))

    def _centres(self, source: PoseBatch) -> Float[Tensor, "batch joints 3"]:
        """The windows' centre frames."""
        check_frames(source.joints_3d.shape[1], self.options.windows)
        return centre_frames(source).joints_3d[:, 0]

    @staticmethod
    def _carried(source: PoseBatch, poses: LocalPoses) -> Float[Tensor, "batch frames joints 3"]:
        """The local augmentation of all frames of the windows whose centre frames it was made from."""
        if source.joints_3d.shape[1] == 1:
            return poses.rotated[:, None]
        scaled = carry_pose(source.joints_3d, poses.bone_length, source.skeleton)
        return carry_move(scaled, poses.rotation, poses.rotated[:, source.skeleton.root], source.skeleton)

    def extra_state(self) -> dict[str, Any]:
        """Return the step count and the augmented poses that wait."""
        return {"iterations": self.iterations, "survivors": self.survivors.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the step count and the augmented poses that wait."""
        self.iterations = state["iterations"]
        self.survivors.load_state_dict(state["survivors"])


def _stages(poses: LocalPoses) -> Float[Tensor, "rows joints 3"]:
    """The poses after each of the three operations, one below the other."""
    return torch.cat([poses.bone_angle, poses.bone_length, poses.rotated])


def _change_metrics(poses: LocalPoses) -> dict[str, Tensor]:
    """How strong the augmentation is."""
    with torch.no_grad():
        trace = poses.rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
        angles = torch.acos(((trace - 1) / 2).clamp(-1, 1))
        return {
            "augment/bone_angle_deg": torch.acos((1 - poses.angle_change).clamp(-1, 1)).mean() * (180 / pi),
            "augment/bone_length_change": poses.length_ratio.abs().mean(),
            "augment/rotation_deg": angles.mean() * (180 / pi),
        }
