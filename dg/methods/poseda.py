"""PoseDA: source poses augmented locally by a Wasserstein GAN, and put where the target's people are seen.

Chai et al., "Global Adaptation meets Local Generalization: Unsupervised Domain Adaptation for 3D Human Pose
Estimation", ICCV 2023 (METHODS 3). Domain adaptation: it sees 2D poses and intrinsics of the target, no 3D. A source
pose goes through bone angle, bone length and rotation (LPA, `dg.augment.sequential_generator`), is then placed by a 2D
pose drawn from the target (GPA, `dg.augment.global_position`), projected by the target's camera without distortion, and
trained on in equal parts with source poses. One critic judges root-relative poses against the source's; no 2D critic,
no feedback from the lifter, so that a generator trained once serves any lifter (`generator=PATH`).

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

from dataclasses import dataclass, replace
from math import pi
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.bone_length import LIMIT, shared_lengths
from dg.augment.global_position import ATTEMPTS, DEPTH_M, align
from dg.augment.sequential_generator import NORMS, ROTATIONS, LocalPoses, SequentialGenerator
from dg.augment.trunk import frozen_statistics
from dg.augment.window_transform import carry_move, carry_pose, centre_frames, check_frames, check_windows
from dg.files.checkpoint import CheckpointError, load_file
from dg.files.safe_load import FileFormatError
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.critics import (
    CLIP,
    CRITIC_INPUTS,
    PENALTY,
    PartCritic,
    clip_weights,
    gradient_penalty,
    wgan_critic,
    wgan_generator,
)
from dg.methods.mixing import check_mixing
from dg.methods.survivors import Survivors
from dg.pose.batch import PoseBatch
from dg.pose.bones import unit_bones
from dg.pose.rotation import rotation_from_axis_angle

PARTS = ("gpa", "lpa", "both")
LIPSCHITZ = ("clip", "gp")
RANDOM = ("rotation", "length")


@dataclass(frozen=True)
class PoseDAOptions:
    """parts: global position alignment, local pose augmentation, or both. local: with parts=gpa, of `rotation` (random,
    about the camera's vertical axis) and `length` (random bone lengths, up to 20 % and alike on both sides) those that
    take the place of a learned augmentation, as in the paper's ablation. lipschitz: `clip` the critic's weights to
    +-clip, or `gp`, a gradient penalty of weight `penalty`. critic_steps: critic steps to one of the generator.
    generator: a file with a trained generator, ours; it is then used as it is, with neither critic nor warm-up: any
    checkpoint of a run, or the generator's weights alone. warmup_passes: passes over the source that train the GAN
    alone; warmup_iterations counts them in batches instead. generator_norm: `batch` or `layer`. depth_m: range of an
    aligned root's depth, metres. attempts: target poses that a pose may be paired with. mixing: see
    `dg.methods.mixing`. windows: `off`, or `centre_transform` for lifters of several frames.
    """

    parts: str = "both"
    local: tuple[str, ...] = ()
    lipschitz: str = "clip"
    clip: float = CLIP
    penalty: float = PENALTY
    critic_input: str = "kcs+bones"
    critic_steps: int = 5
    critic_lr: float = 1e-4
    generator: str = ""
    generator_lr: float = 1e-4
    generator_norm: str = "batch"
    rotation: str = "axis_angle"
    warmup_passes: float = 5.0
    warmup_iterations: int | None = None
    depth_m: tuple[float, ...] = DEPTH_M
    attempts: int = ATTEMPTS
    mixing: str = "batch"
    windows: str = "off"

    def __post_init__(self) -> None:
        check_windows(self.windows)
        for name, known in (
            ("parts", PARTS),
            ("lipschitz", LIPSCHITZ),
            ("critic_input", CRITIC_INPUTS),
            ("generator_norm", tuple(NORMS)),
            ("rotation", tuple(ROTATIONS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
        check_mixing(self.mixing)
        if not set(self.local) <= set(RANDOM) or (self.local and self.parts != "gpa"):
            raise ValueError(
                f"local must be of {list(RANDOM)}, with parts=gpa, got {list(self.local)} with parts={self.parts}"
            )
        if self.critic_steps < 1 or self.attempts < 1:
            raise ValueError(f"critic_steps and attempts must be at least 1, got {self.critic_steps}, {self.attempts}")
        if not (self.clip > 0 and self.penalty > 0):
            raise ValueError(f"clip and penalty must be positive, got {self.clip} and {self.penalty}")
        if len(self.depth_m) != 2 or not 0 < self.depth_m[0] <= self.depth_m[1]:
            raise ValueError(f"depth_m must be two positive numbers, nearest first, got {list(self.depth_m)}")
        if self.generator and self.parts == "gpa":
            raise ValueError("parts=gpa has no generator; leave generator out, or choose parts=both or parts=lpa")


class PoseDA(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = PoseDAOptions
    regime: ClassVar[str] = "DA"
    pretrain_share: ClassVar[float] = 1 / 3

    @classmethod
    def takes(cls, options: PoseDAOptions, frames: int) -> bool:
        """Take windows of several frames where the option `windows` says so."""
        return frames == 1 or options.windows != "off"

    def __init__(self, context: MethodContext, options: PoseDAOptions) -> None:
        super().__init__(context)
        if context.target is None and options.parts != "lpa":
            raise ValueError(f"method=poseda with parts={options.parts} needs 2D poses of a target: adapt_to=NAME:FILE")
        self.options = options
        self.iterations = 0
        self.survivors = Survivors(options.mixing, context.skeleton, context.device)
        target = context.target
        if target is not None:
            target = replace(
                target, joints_2d=target.joints_2d.to(context.device), camera=target.camera.to(context.device)
            )
        self.target = target
        self.generator = self.critic = None
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
        self.critic = PartCritic(skeleton, options.critic_input).to(device)
        if options.lipschitz == "clip":
            clip_weights(self.critic, options.clip)
        for name, lr in (("generator", options.generator_lr), ("critic", options.critic_lr)):
            network = getattr(self, name)
            self.add_network(name, network, torch.optim.RMSprop(network.parameters(), lr=lr))

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
            poses = self._changed_at_random(joints, key) if at_random else self._augmented(joints, key, "proposal")
            joints, windows = poses.rotated, self._carried(source, poses)
        if self.options.parts == "lpa" or self.target is None:
            return source.with_joints(windows)
        pairs = key.generator("target poses", self.context.device)
        aligned = align(source, joints, self.target.draw, pairs, self.options.depth_m, self.options.attempts)
        if windows.shape[1] == 1:
            return aligned
        move = aligned.joints_3d[:, 0, source.skeleton.root] - joints[:, source.skeleton.root]
        return aligned.with_joints(windows + move[:, None, None])

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Step generator and critic, where there are any, and after the warm-up the lifter."""
        if self.pretraining:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics, warming = {}, self.iterations < self.warmup
        if self.critic is not None:
            metrics = self._step_gan(self._centres(source), key)
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

    def _step_gan(self, joints: Float[Tensor, "batch joints 3"], key: StepKey) -> dict[str, Tensor]:
        """One of every `critic_steps + 1` iterations steps the generator, the others step the critic."""
        turn = self.iterations % (self.options.critic_steps + 1)
        self.iterations += 1
        if turn < self.options.critic_steps:
            return self._step_critic(joints, key)
        return self._step_generator(joints, key)

    def _step_critic(self, joints: Float[Tensor, "batch joints 3"], key: StepKey) -> dict[str, Tensor]:
        assert self.critic is not None
        with torch.no_grad():
            made = _stages(self._augmented(joints, key, "noise"))
        distance = wgan_critic(self.critic(joints), self.critic(made))
        loss = distance
        if self.options.lipschitz == "gp":
            random = key.generator("gradient penalty", self.context.device)
            real = joints[torch.randperm(len(joints), generator=random, device=joints.device)].repeat(3, 1, 1)
            loss = loss + self.options.penalty * gradient_penalty(self.critic, real, made, random)
        self.step_network("critic", loss, self.options.critic_lr)
        if self.options.lipschitz == "clip":
            clip_weights(self.critic, self.options.clip)
        return {"loss/critic": loss.detach(), "augment/wasserstein": -distance.detach()}

    def _step_generator(self, joints: Float[Tensor, "batch joints 3"], key: StepKey) -> dict[str, Tensor]:
        assert self.generator is not None
        assert self.critic is not None
        noise = self.generator.draw_noise(len(joints), key.generator("noise", self.context.device))
        poses = self.generator(joints, noise)
        # The mean over the three stages, so a third of the terms' sum; RMSProp does not care.
        loss = wgan_generator(self.critic(_stages(poses)))
        self.step_network("generator", loss, self.options.generator_lr)
        return {"loss/generator": loss.detach()} | _change_metrics(poses)

    def _augmented(self, joints: Float[Tensor, "batch joints 3"], key: StepKey, purpose: str) -> LocalPoses:
        """What the generator makes of the poses now; its running statistics stay as they are."""
        assert self.generator is not None
        noise = self.generator.draw_noise(len(joints), key.generator(purpose, self.context.device))
        with frozen_statistics(self.generator):
            return self.generator(joints, noise)

    def _changed_at_random(self, joints: Float[Tensor, "batch joints 3"], key: StepKey) -> LocalPoses:
        """Poses with random bone lengths and turned at random, where the options say so."""
        skeleton, random = self.context.skeleton, key.generator("random local", joints.device)
        independent, learned = shared_lengths(skeleton)
        root = joints[:, skeleton.root, None]
        units, lengths = unit_bones(joints - root, skeleton)
        draw = 2 * torch.rand(len(joints), len(learned) + 1, generator=random, device=joints.device) - 1
        ratios = LIMIT * draw[:, 1:] * learned.to(draw) * ("length" in self.options.local)
        path = skeleton.path_matrix().to(joints)
        scaled = path @ (units * (lengths * (1 + ratios[:, independent]))[..., None])
        yaw = pi * draw[:, 0] * ("rotation" in self.options.local)
        turn = rotation_from_axis_angle(torch.stack([torch.zeros_like(yaw), yaw, torch.zeros_like(yaw)], -1))
        return LocalPoses(
            bone_angle=joints,
            bone_length=scaled + root,
            rotated=scaled @ turn.mT + root,
            angle_change=torch.zeros_like(lengths),
            length_ratio=ratios,
            rotation=turn,
        )

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


def load_generator(generator: SequentialGenerator, path: Path) -> None:
    """Fill a generator from a run's checkpoint, from `{"generator": weights}`, or from the weights alone.

    The file is read as plain weights; nothing of it is run. Raises FileFormatError naming the file and what is wrong.
    """
    if not path.is_file():
        raise FileFormatError(f"generator: no file at {path}; give a checkpoint-STEP.pt of a method=poseda run")
    try:
        state = load_file(path)
    except CheckpointError as error:
        raise FileFormatError(f"generator: {error}") from error
    weights = _generator_weights(state)
    if not weights:
        raise FileFormatError(
            f"generator: {path} holds no generator; give a checkpoint-STEP.pt of a method=poseda run with parts=both "
            "or parts=lpa (best.pt holds the lifter alone)"
        )
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise FileFormatError(
            f"generator: {path} does not fit this run: skeleton, rotation and generator_norm must be those it was "
            f"trained with, by method=poseda ({str(error)[:300]})"
        ) from error


def _generator_weights(state: Any) -> dict[str, Tensor]:  # noqa: ANN401 - whatever a file may hold
    """The generator's parameters by name; empty when there are none."""
    if not isinstance(state, dict):
        return {}
    if isinstance(state.get("method"), dict):
        networks, prefix = state["method"].get("networks", {}), "generator."
        return {name.removeprefix(prefix): value for name, value in networks.items() if name.startswith(prefix)}
    state = state.get("generator", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        return {}
    return state


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
