"""What methods share whose generator is trained beside the lifter, with the lifter's error as feedback (METHODS 2.6).

Each update makes one step of the generator and of whatever opposes it, and lifter steps on source poses and on what
survived of earlier proposals. After the pre-training a warm-up trains the generator without feedback and without
lifter steps.

Beyond the papers, for lifters of several frames: `windows=centre_transform` (`dg.augment.window_transform`). Generator,
discriminators and template lengths see the window's centre frame; its augmentation is carried over to all frames, which
are rendered, each window for itself, and which the lifter sees in feedback and training alike. A window is used if all
its frames are in view.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_length import at_limit
from dg.augment.bone_templates import KINDS, BoneTemplates
from dg.augment.generator import AugmentedPoses, PoseGenerator
from dg.augment.generator_init import INITS, initialise_outputs
from dg.augment.random_move import MoveRanges, move_into_frame, move_once
from dg.augment.rigid import RigidTransform
from dg.augment.trunk import frozen_statistics
from dg.augment.window_transform import carry_move, carry_pose, centre_frames, check_frames, check_windows
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.feedback import MODES, VARIANTS, Feedback, FeedbackPoses, demanded_difficulty
from dg.methods.graphed_steps import Found, Given, Scalars
from dg.methods.mixing import check_mixing
from dg.methods.plan import TrainingPlan
from dg.methods.surface_offset import SurfaceOffsets
from dg.methods.survivors import Survivors
from dg.pose.batch import PoseBatch
from dg.pose.rotation import rotation_from_axis_angle

RATES = ("released", "planned")
RELEASED_ITERATIONS = 73_000
_FASTEST = 1e-3


@dataclass(frozen=True)
class LearnedAugmentationOptions:
    """feedback: `released`, `exponential` (the paper's) or `off`. feedback_mode: the lifter's mode during it.
    feedback_below_mm: batches on which the lifter's mean error in that mode is above it give no feedback, so that it
    waits for a lifter that has converged; 0: never waits. templates: whose bone lengths the poses get first, see
    `dg.augment.bone_templates`. warmup_passes: passes over the source that train the augmentation alone;
    warmup_iterations counts them in batches instead; warmup_share: at least this share of the planned lifter steps
    (the released recipe's two of 50 passes are 3,000 iterations). rates: `released`, or `planned`: multiplied by the
    root of how much shorter than the released 73,000 iterations the run is, up to 1e-3. mixing: see
    `dg.methods.mixing`. windows: `off`, or `centre_transform` for lifters of several frames. generator_init: see
    `dg.augment.generator_init`.
    """

    feedback: str = "released"
    feedback_mode: str = "train"
    feedback_below_mm: float = 0.0
    templates: str = "source"
    warmup_passes: float = 2.0
    warmup_iterations: int | None = None
    warmup_share: float = 0.0
    rates: str = "released"
    generator_lr: float = 1e-4
    generator_init: str = "released"
    mixing: str = "batch"
    windows: str = "off"

    def __post_init__(self) -> None:
        check_windows(self.windows)
        for name, known in (
            ("feedback", VARIANTS), ("feedback_mode", MODES), ("templates", KINDS), ("rates", RATES),
            ("generator_init", INITS),
        ):  # fmt: skip
            check_choice(name, getattr(self, name), known)
        if self.feedback_below_mm < 0 or not 0 <= self.warmup_share <= 1:
            raise ValueError(
                "feedback_below_mm must not be negative and warmup_share must lie in [0, 1], "
                f"got {self.feedback_below_mm} and {self.warmup_share}"
            )
        check_mixing(self.mixing)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError that lists the known values of an option.

    Args:
        name: of the option.
        value: what was given.
        known: the values that there are.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")


class LearnedAugmentation(DGMethod):
    """Subclasses say what the generator's losses are, and what opposes it."""

    # 50 passes of pre-training before 48 passes over augmented and 48 over source poses.
    pretrain_share: ClassVar[float] = 1 / 3
    learns_posture = True

    def __init__(self, context: MethodContext, options: LearnedAugmentationOptions, generator: PoseGenerator) -> None:
        super().__init__(context)
        skeleton, device = context.skeleton, context.device
        self.windows = options.windows
        self.iterations = 0
        self.network_lr: dict[str, float] = {}
        self._scalars: Scalars = {}  # of the step in hand
        self.rates = options.rates
        self.survivors = Survivors(options.mixing, skeleton, device)
        self.generator = generator
        # A method that sets it draws the rigid transform as random_rigid does, in place of the generator's.
        self.moves_at_random, self.moves = False, MoveRanges()
        initialise_outputs(generator, options.generator_init)
        self._add_trained("generator", generator, options.generator_lr)
        self.offsets = SurfaceOffsets(len(skeleton), device)
        self.templates = BoneTemplates(options.templates, skeleton, context.source.template_lengths(options.templates))
        self.feedback = Feedback(
            skeleton, context.inputs, options.feedback, options.feedback_mode, device, options.feedback_below_mm / 1000
        )
        self.warmup = warmup_batches(options, context.plan)

    @classmethod
    def takes(cls, options: LearnedAugmentationOptions, frames: int) -> bool:
        """Take windows of several frames where the option `windows` says so."""
        return frames == 1 or options.windows != "off"

    @abstractmethod
    def _losses(self, original: PoseBatch, poses: AugmentedPoses, rigid_2d: Tensor) -> dict[str, Tensor]:
        """The generator's weighted losses by name, feedback left out. rigid_2d: projection of the final poses.

        All of centre frames, one frame each.
        """

    def _noise_losses(
        self, original: PoseBatch, poses: AugmentedPoses, noise: Tensor, key: StepKey
    ) -> dict[str, Tensor]:
        """Weighted losses that compare with what other noise would have made."""
        return {}

    def _step_opponents(self, original: PoseBatch, poses: AugmentedPoses, rigid_2d: Tensor, key: StepKey) -> Found:
        """Steps of the networks that judge the generator, after its own, by `_step`; their answers, and metrics."""
        return {}

    def _proposal(self, source: PoseBatch, poses: AugmentedPoses, key: StepKey) -> PoseBatch:
        """What to render of the generated poses: those in the frame are valid. source: what they were made from, whose
        cameras see them.
        """
        if self.moves_at_random:
            random = key.generator("rigid", self.context.device)
            return source.with_joints(move_into_frame(self._scaled(source, poses), self.moves, random)[0])
        return source.with_joints(self._rigid(source, poses, key))

    def _take(self, source: PoseBatch, proposed: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        """Keep rendered poses for the lifter; metrics."""
        self.survivors.add(proposed)
        return {"augment/valid_share": proposed.valid.float().mean()}

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Augment the source poses; those outside the frame are not valid. Returns None in pre-training and warm-up."""
        if self.pretraining or self.iterations < self.warmup:
            return None
        found = self.take_step("proposal", self._proposal_work, (source,), {}, key)
        # What was seen of the source pose belongs to it; see `PoseBatch.with_joints`.
        return source.replace(
            **found, depth=None, confidence=None, depth_spread=None, detection_error=None, joint_features=None
        )

    @torch.no_grad()
    def _proposal_work(self, given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        """What `propose` does on the device. given: the source batch."""
        source = given[0]
        assert isinstance(source, PoseBatch)
        assert key is not None
        original = self._with_templates(source, key)
        noise = self.generator.draw_noise(len(source), key.generator("proposal", self.context.device))
        with frozen_statistics(self.generator):
            poses = self.generator(centre_frames(original).joints_3d[:, 0], noise)
        proposed = self._proposal(original, poses, key)
        return {"joints_3d": proposed.joints_3d, "joints_2d": proposed.joints_2d, "valid": proposed.valid}

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Step the augmentor and, after the warm-up, the lifter on source poses and augmented ones that wait."""
        if self.pretraining:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        self.lifter.train()
        metrics = self._step_augmentor(source, proposed, key)
        if self.iterations <= self.warmup:
            return Update(metrics, 0)
        if proposed is not None:
            metrics |= self._take(source, proposed, key)
        losses = [self.step_lifter(batch) for batch in self.survivors.batches(source)]
        return Update(metrics | {"loss/lifter": torch.stack(losses).mean()}, len(losses))

    def _step_augmentor(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> dict[str, Tensor]:
        """One generator step, then its opponents'."""
        scalars = {f"lr/{name}": lr * (1 - 0.96 * self.progress) for name, lr in self.network_lr.items()}
        scalars["demanded"] = demanded_difficulty(self.progress)
        found = self.take_step("augmentor", self._work, (source, proposed), scalars, key, self._turn())
        self.iterations += 1
        return found

    def _turn(self) -> tuple:
        """What the augmentor's step decides by on the host, beside the layout of the poses."""
        return (self.iterations >= self.warmup,)

    def _work(self, given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        """What the augmentor's step does on the device. given: the source batch, and its proposal or None."""
        source, proposed = given
        assert isinstance(source, PoseBatch)
        assert not isinstance(proposed, Tensor)
        assert key is not None
        self._scalars = scalars
        if self.context.inputs.needs_depth:
            for rendered in (source, proposed):
                if rendered is not None:
                    self.offsets.update(rendered)
        original = self._with_templates(source, key)
        centre = centre_frames(original)
        noise = self.generator.draw_noise(len(source), key.generator("noise", self.context.device))
        poses = self.generator(centre.joints_3d[:, 0], noise)
        rigid = self._rigid(original, poses, key)
        rigid = original.replace(joints_3d=rigid, joints_2d=original.camera.project(rigid), depth=None)
        rigid_2d = centre_frames(rigid).joints_2d[:, 0]
        losses = self._losses(centre, poses, rigid_2d) | self._noise_losses(centre, poses, noise, key)
        if self.feedback.variant != "off" and self.iterations >= self.warmup:
            triple = self._feedback_poses(source, original, proposed, poses, rigid)
            for name, loss in self.feedback(self.lifter, triple, scalars["demanded"]).items():
                losses[f"feedback_{name}"] = loss
        metrics = self._step("generator", torch.stack(list(losses.values())).sum())
        metrics |= {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        metrics |= self._step_opponents(centre, poses, rigid_2d.detach(), key)
        return metrics | self._change_metrics(poses, centre_frames(rigid))

    def _add_trained(self, name: str, network: nn.Module, lr: float) -> None:
        """A network with its own Adam, whose rate falls to 4 % over the budget after the pre-training."""
        plan = self.context.plan
        if self.rates == "planned":
            planned = max(plan.total_steps - plan.pretrain_steps, 1)
            lr = max(lr, min(lr * (RELEASED_ITERATIONS / planned) ** 0.5, _FASTEST))
        self.network_lr[name] = lr
        network.to(self.context.device)
        self.add_network(name, network, torch.optim.Adam(network.parameters(), lr=lr, fused=True))

    def _step(self, name: str, loss: Tensor) -> Found:
        """A step of one network within that of the augmentor, and its loss for the metrics."""
        return self.descend(name, loss, self._scalars[f"lr/{name}"]) | {f"loss/{name}": loss.detach()}

    def _with_templates(self, source: PoseBatch, key: StepKey) -> PoseBatch:
        """The source with template bone lengths; where depth is there, it keeps its offset from the joints.

        In a window of several frames the centre frame has them, and the others are stretched alike.
        """
        check_frames(source.joints_3d.shape[1], self.windows)
        random = key.generator("templates", self.context.device)
        centre = self.templates.apply(centre_frames(source).joints_3d[:, 0], random)
        moved = carry_pose(source.joints_3d, centre, self.context.skeleton)
        depth = None if source.depth is None else moved[..., 2] - self.offsets.of(source)
        return source.replace(joints_3d=moved, joints_2d=source.camera.project(moved), depth=depth)

    def _scaled(self, original: PoseBatch, poses: AugmentedPoses) -> PoseBatch:
        """The poses with their new bones, in their places."""
        joints = carry_pose(original.joints_3d, poses.bone_length, self.context.skeleton)
        return original.replace(joints_3d=joints)

    def _rigid(
        self, original: PoseBatch, poses: AugmentedPoses, key: StepKey
    ) -> Float[Tensor, "batch frames joints 3"]:
        """The final poses, of all frames of the windows whose centre frames they were made from."""
        if self.moves_at_random:
            return move_once(self._scaled(original, poses), self.moves, key.generator("rigid", self.context.device))
        if original.joints_3d.shape[1] == 1:
            return poses.rigid[:, None]
        scaled = self._scaled(original, poses).joints_3d
        turn = rotation_from_axis_angle(poses.rotation)
        return carry_move(scaled, turn, poses.translation, self.context.skeleton)

    def _feedback_poses(
        self,
        source: PoseBatch,
        original: PoseBatch,
        proposed: PoseBatch | None,
        poses: AugmentedPoses,
        rigid: PoseBatch,
    ) -> FeedbackPoses:
        """The triple of the feedback loss, with analytic depth where the lifter needs some. rigid: the final poses.

        Where the lifter sees detections, confidence, 2D error, features and the range of depth around the analytic one
        are in all three those that were rendered for the source pose.
        """
        angled = carry_pose(original.joints_3d, poses.bone_angle, self.context.skeleton)
        angled_depth = rigid_depth = None
        if self.context.inputs.needs_depth:
            angled_depth = angled[..., 2] - self.offsets.of(source)
            turned = self.offsets.mean if proposed is None else self.offsets.of(proposed)
            rigid_depth = rigid.joints_3d[..., 2] - turned
        angled_2d = original.camera.project(angled)
        return FeedbackPoses(
            original=original,
            bone_angle=original.replace(joints_3d=angled, joints_2d=angled_2d, depth=angled_depth),
            rigid=rigid.replace(depth=rigid_depth),
        )

    def _change_metrics(self, poses: AugmentedPoses, rigid: PoseBatch) -> dict[str, Tensor]:
        """How strong the augmentation is. rigid: the final poses, one frame each."""
        with torch.no_grad():
            metrics = {
                "augment/bone_angle_deg": torch.rad2deg(torch.acos((1 - poses.angle_change).clamp(-1, 1))).mean(),
                "augment/bone_length_change": poses.length_ratio.abs().mean(),
                "augment/bone_length_saturated_share": at_limit(poses.length_ratio),
                "augment/root_depth_m": rigid.joints_3d[:, 0, self.context.skeleton.root, 2].mean(),
            }
            if isinstance(self.generator.rigid, RigidTransform):
                metrics["augment/rotation_saturated_share"] = self.generator.rigid.saturated(poses.rotation)
            return metrics

    def step_state(self) -> list[Tensor]:
        """Add the surface offsets to what every method's steps change."""
        return [*super().step_state(), self.offsets.mean, self.offsets.batches]

    def extra_state(self) -> dict[str, Any]:
        """Return the step count, the augmented poses that wait, and the surface offsets."""
        return {
            "iterations": self.iterations,
            "survivors": self.survivors.state_dict(),
            "offsets": self.offsets.state_dict(),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the step count, the augmented poses that wait, and the surface offsets."""
        self.iterations = state["iterations"]
        self.survivors.load_state_dict(state["survivors"])
        self.offsets.load_state_dict(state["offsets"])


def warmup_batches(options: LearnedAugmentationOptions, plan: TrainingPlan) -> int:
    """Count the batches that train the augmentation alone.

    Args:
        options: the method's options.
        plan: the run's budget.

    Returns:
        The number of batches.
    """
    if options.warmup_iterations is not None:
        return options.warmup_iterations
    return max(round(options.warmup_passes * plan.steps_per_epoch), round(options.warmup_share * plan.total_steps))
