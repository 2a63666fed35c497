"""The contract of a domain-generalisation method: it owns its networks and optimisers, and steps them itself.

The trainer knows three calls. `propose` says which poses are worth rendering (no gradient); the trainer has depth
rendered at their joints, while it goes on; `update` takes the source batch and the same proposal with depth, and makes
one step of everything the method owns; `predict` lifts.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dg.methods.graphed_steps import Found, Given, Scalars
from dg.methods.losses import LIFTER_LOSSES
from dg.methods.plan import TrainingPlan, lifter_optimizer
from dg.methods.step_key import StepKey
from dg.methods.trained_networks import LEFT_OUT, TrainedNetworks
from dg.pose.answers import in_metres, target_answers
from dg.pose.batch import AUGMENTED, InputSpec, PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import Skeleton
from dg.pose.windows import Windows
from lifters.base import Lifter


@dataclass(frozen=True)
class SourceData:
    """The source's training part, for methods that need more of it than a batch.

    poses: all of them, on the CPU, without depth. bone_lengths: the median of each subject, bone by bone, metres.
    medoids: of each subject the bone lengths of one of its poses, sides averaged; None: the medians stand for them.
    """

    poses: PoseBatch
    bone_lengths: Float[Tensor, "subjects bones"]
    medoids: Float[Tensor, "subjects bones"] | None = None

    def template_lengths(self, kind: str) -> Float[Tensor, "subjects bones"]:
        """The source's own templates of a kind of `dg.augment.bone_templates`."""
        return self.medoids if kind == "medoid" and self.medoids is not None else self.bone_lengths


@dataclass(frozen=True)
class TargetPoses:
    """What domain adaptation may see of a target: 2D poses and the cameras that saw them, no 3D (METHODS 3.1).

    name: of the data set; part: `train` or `test` (transductive). content: `PoseDataset.identity` of the data.
    checks: what their laws say (`dg.datasets.laws`).
    """

    name: str
    part: str
    joints_2d: Float[Tensor, "poses joints 2"]
    camera: Camera
    content: str = ""
    checks: str = ""

    @property
    def label(self) -> str:
        """Whose 2D was seen, as a run's tags have it."""
        return f"{self.name}:{self.part}" + (f" data={self.content}" if self.content else "")

    def __len__(self) -> int:
        return len(self.joints_2d)

    def to(self, device: torch.device) -> "TargetPoses":
        """Return the same poses on a device."""
        return replace(self, joints_2d=self.joints_2d.to(device), camera=self.camera.to(device))

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Float[Tensor, "rows joints 2"], Camera]:
        """Draw 2D poses and their cameras with replacement, on the generator's device."""
        device = generator.device
        picked = torch.randint(len(self), (rows,), generator=generator, device=device).to(self.joints_2d.device)
        return self.joints_2d[picked].to(device), self.camera[picked].to(device)


@dataclass(frozen=True)
class MethodContext:
    """What a method is built from. The lifter may carry weights already (`init_from`).

    target: 2D of the domain to adapt to; None for domain generalisation. confidence_dropout: share of the poses that
    the lifter trains on whose confidence is withheld. graphs: whether steps are replayed as CUDA graphs, `on`, `off`,
    or `auto`: where the device is a GPU.
    """

    lifter: Lifter
    inputs: InputSpec
    skeleton: Skeleton
    plan: TrainingPlan
    source: SourceData
    device: torch.device
    target: TargetPoses | None = None
    confidence_dropout: float = 0.0
    graphs: str = "off"


@dataclass(frozen=True)
class Update:
    """What one `update` did. metrics: scalars to log, as tensors still on the device (no per-step synchronisation),
    named like `loss/lifter`. lifter_steps: optimiser steps of the lifter that were made, 0 or more; they are the
    currency of the budget.
    """

    metrics: dict[str, Tensor]
    lifter_steps: int


def training_anchors(clip: Int[Tensor, " rows"], lifter: Lifter, frames: int) -> Int[Tensor, " windows"]:
    """The rows around which training windows lie, of clips given by a number for each row.

    Every row where a lifter answers for one frame; where it answers for several, windows overlap by two thirds of what
    they answer for, as MotionBERT trains (METHODS 6.6: 243 frames, a new window every 81).

    Args:
        clip: number of the clip that each row belongs to; the rows of a clip follow each other.
        lifter: whose windows they are.
        frames: rows of a window.
    """
    answered = len(range(frames)[lifter.target_frames(frames)])
    windows = Windows.over(clip, frames)
    rows = torch.arange(len(clip), device=clip.device)
    return rows[(rows - windows.first) % max(1, answered // 3) == 0]


class DGMethod(TrainedNetworks, ABC):
    """Base of every method. `Options` is a frozen dataclass; its fields are the command line's `method.*`.

    regime: `DG`, or `DA` when the method sees a target's 2D poses. pretrain_share: how much of the budget trains the
    lifter on the source alone first, unless the command line says (`pretrain_epochs`) or weights are given.
    takes_windows: whether it trains lifters of several frames (`frames=27`), unless its options decide (`takes`).
    takes_answers: whether it trains lifters whose answers are not metres, that is, never uses answers by itself.
    learns_posture: whether a network of it is meant to change postures; a run warns if it stops to.
    """

    Options: ClassVar[type[Any]]
    regime: ClassVar[str] = "DG"
    pretrain_share: ClassVar[float] = 0.0
    takes_windows: ClassVar[bool] = False
    takes_answers: ClassVar[bool] = False
    learns_posture: bool = False

    @classmethod
    def takes(cls, options: Any, frames: int) -> bool:  # noqa: ANN401 - the method's own dataclass
        """Tell whether the method, with these options, trains lifters on windows of so many frames."""
        return frames == 1 or cls.takes_windows

    @classmethod
    def oracles(cls, options: Any) -> tuple[str, ...]:  # noqa: ANN401 - the method's own dataclass
        """Name, in a word each, what of the method with these options uses a target's ground truth at test time."""
        return ()

    def __init__(self, context: MethodContext) -> None:
        super().__init__(context.device, context.plan.grad_clip, context.graphs)
        self.context = context
        self.lifter_steps = 0
        # What the lifter was trained on so far: source poses, augmented poses.
        self.poses_seen = torch.zeros(2, dtype=torch.long, device=context.device)
        self.add_network("lifter", context.lifter, lifter_optimizer(context.lifter, context.plan.recipe))

    @property
    def lifter(self) -> Lifter:
        """The lifter that the method trains."""
        return self.context.lifter

    @property
    def progress(self) -> float:
        """How much of the budget after the pre-training is used, in [0, 1]."""
        first, total = self.context.plan.pretrain_steps, self.context.plan.total_steps
        return min(max(self.lifter_steps - first, 0) / max(total - first, 1), 1.0)

    @property
    def pretraining(self) -> bool:
        """True while the budget's first `pretrain_steps` train the lifter on the source alone."""
        return self.lifter_steps < self.context.plan.pretrain_steps

    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Return poses to render for a source batch, detached, or None when the method needs no new ones.

        Poses that leave the frame are not valid. All random numbers come from the step's key.
        """
        return None

    def propose_pass(self, source: PoseBatch, clip: Int[Tensor, " rows"], key: StepKey) -> PoseBatch | None:
        """Move the whole source for one pass, for lifters of several frames; None when the method adds no poses.

        The answer depends on the key alone, never on what was learned. Windows of it take the place of proposals, so
        that each frame is rendered once however many windows hold it.

        Args:
            source: all source poses as single frames.
            clip: number of each row's clip.
            key: the pass's place in the run, from which all random numbers come.

        Returns:
            Poses with the same rows as the source.
        """
        return None

    @abstractmethod
    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Make one step of everything that the method owns.

        Args:
            source: the source batch, with depth whenever the inputs need it.
            proposed: what `propose` returned, with depth whenever the inputs need it; rows that could not be rendered
                have `valid` false.
            key: the step's place in the run, from which all random numbers come.

        Returns:
            The metrics of the step and the number of lifter steps that it made.
        """

    @torch.no_grad()
    def predict(self, poses: PoseBatch) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift poses in eval mode to root-relative joints in metres, and restore the previous mode."""
        was_training = self.lifter.training
        self.lifter.eval()
        try:
            found = self.lifter(poses.features(self.context.inputs))
            frames = self.lifter.target_frames(poses.joints_3d.shape[1])
            return in_metres(found, poses, frames, self.context.inputs.answers)
        finally:
            self.lifter.train(was_training)

    def step_lifter(self, batch: PoseBatch, weights: Float[Tensor, " batch"] | None = None) -> Tensor:
        """Make one optimiser step of the lifter on a batch with the plan's loss, schedule and clipping.

        Args:
            batch: the poses; invalid rows are left out.
            weights: weight of each pose's error in the mean, 1 unless given. They are used as they are, so the caller
                normalises them.

        Returns:
            The loss, detached.

        Raises:
            ValueError: when fewer than two valid rows are left, which batch norm cannot train on.
        """
        rows = self.trainable(batch)
        self.begin_lifter_step()
        if weights is not None and rows is not batch:
            weights = weights[batch.usable]
        # A graph would keep the momentum of the step that was recorded.
        turn = () if self.context.plan.recipe.norm_momentum is None else None
        rate = {"lr/lifter": self.context.plan.lr(self.lifter_steps)}
        found = self.take_step("lifter", self._lifter_work, (rows, weights), rate, turn=turn)
        self.lifter_steps += 1
        return found["loss"]

    def _lifter_work(self, given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        """What a lifter step does on the device. given: poses, all usable, and weights or None."""
        rows, weights = given
        assert isinstance(rows, PoseBatch)
        assert not isinstance(weights, PoseBatch)
        self.count_poses(rows)
        predicted, target = self.lifter(self.training_features(rows)), self.lifter_target(rows)
        loss = self.lifter_loss(predicted, target, weights)
        self.optimizers["lifter"].zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": loss.detach(), LEFT_OUT + "lifter": self.step_along("lifter", scalars["lr/lifter"])}

    def count_poses(self, rows: PoseBatch) -> None:
        """Take what the lifter trains on into `poses_seen`; without waiting for the device."""
        augmented = (rows.domain == AUGMENTED).sum()
        self.poses_seen += torch.stack([len(rows) - augmented, augmented])

    def begin_lifter_step(self) -> None:
        """Set train mode and this step's momentum of the batch norms, before the forward pass that uses it."""
        self.lifter.train()
        momentum = self.context.plan.norm_momentum(self.lifter_steps)
        for module in self.lifter.modules() if momentum is not None else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = momentum

    def trainable(self, batch: PoseBatch) -> PoseBatch:
        """Return the batch's valid rows whose numbers are all finite; others would stay in the batch norms.

        Raises ValueError when fewer than two are left.
        """
        rows = batch.only_usable()
        if len(rows) < 2:
            raise ValueError(f"a lifter step needs two valid poses; this batch has {len(rows)} of {len(batch)}")
        return rows

    def training_features(self, rows: PoseBatch) -> Float[Tensor, "batch frames joints channels"]:
        """Return the lifter's input in training; with confidence dropout some poses' confidence says nothing.

        The channel is then zero, halfway between sure and lost (AugLift's appendix on UADD). Random numbers come from
        torch's own stream, as those of the lifter's dropout do.
        """
        inputs, share = self.context.inputs, self.context.confidence_dropout
        features = rows.features(inputs)
        if not share:
            return features
        withheld = torch.rand(len(rows), 1, 1, device=features.device) < share
        channel = inputs.names.index("c")
        known = features[..., channel].masked_fill(withheld, 0.0)
        return torch.cat([features[..., :channel], known[..., None], features[..., channel + 1 :]], -1)

    def lifter_loss(self, predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Float[Tensor, ""]:
        """Return the mean of the recipe's loss over a batch, each pose times its weight where weights are given."""
        losses = LIFTER_LOSSES[self.context.plan.recipe.loss](predicted, target)
        return losses.mean() if weights is None else (weights * losses).mean()

    def lifter_target(self, rows: PoseBatch) -> Float[Tensor, "batch target_frames joints 3"]:
        """Return the root-relative joints that the lifter should answer: metres, unless `answers=image`."""
        frames = self.lifter.target_frames(rows.joints_3d.shape[1])
        return target_answers(rows, frames, self.context.inputs.answers)

    def descend_lifter(self) -> None:
        """One optimiser step of the lifter along the gradients at hand: the plan's schedule and clipping, counted.

        One whose gradients are not numbers is left out, and counts. Raises DivergedError for too many in a row.
        """
        rate = self.context.plan.lr(self.lifter_steps)
        self.set_rate("lifter", rate)
        self.account({LEFT_OUT + "lifter": self.step_along("lifter", rate)})
        self.lifter_steps += 1

    def step_state(self) -> list[Tensor]:
        """Add the count of poses to what the steps of any networks change."""
        return [*super().step_state(), self.poses_seen]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as plain tensors, numbers and containers."""
        return {
            "lifter_steps": self.lifter_steps,
            "networks": self.networks.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "extra": self.extra_state(),
            "finite_steps": self.finite_steps.state_dict(),
            "poses_seen": self.poses_seen.tolist(),
            "network_steps": dict(self.network_steps),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, also from older checkpoints, which lack some counters."""
        self.graphs.reset()
        self.lifter_steps = state["lifter_steps"]
        self.networks.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.load_extra_state(state["extra"])
        if "finite_steps" in state:  # absent in older checkpoints
            self.finite_steps.load_state_dict(state["finite_steps"])
        if "poses_seen" in state:
            self.poses_seen.copy_(torch.tensor(state["poses_seen"]))
            self.network_steps = dict(state["network_steps"])

    def extra_state(self) -> dict[str, Any]:
        """Return state beyond networks and optimisers, such as history pools; methods that have some override it."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
