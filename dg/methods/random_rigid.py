"""Random rigid augmentation: every source pose turned and moved at random inside the frame of its own camera.

No paper's method, but the baseline that a learned augmentation has to beat (DESIGN 5.1). The moves are those of
`dg.augment.random_move`. A pose that leaves the frame is drawn again, and after that kept as it is.

With windows of several frames a whole clip makes one move, so that its motion stays coherent: it turns about its mean
root, which goes to the drawn place. A clip fits only if all its frames do.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from dg.augment.random_move import MoveRanges, move_into_frame
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.mixing import check_mixing, mixed
from dg.pose.batch import PoseBatch


@dataclass(frozen=True)
class RandomRigidOptions(MoveRanges):
    """Those of `dg.augment.random_move.MoveRanges`, and: mixing: see `dg.methods.mixing`."""

    mixing: str = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mixing(self.mixing)


class RandomRigid(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = RandomRigidOptions
    takes_windows: ClassVar[bool] = True
    takes_answers: ClassVar[bool] = True

    def __init__(self, context: MethodContext, options: RandomRigidOptions) -> None:
        super().__init__(context)
        self.options = options

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Move each pose of the batch at random, or with `mixing=batch` each of its first half."""
        if self.pretraining:
            return None
        if self.options.mixing == "batch":
            source = source[: len(source) // 2]
        return self._moved(source, None, key.generator("random rigid", source.joints_3d.device))

    @torch.no_grad()
    def propose_pass(self, source: PoseBatch, clip: Int[Tensor, " rows"], key: StepKey) -> PoseBatch | None:
        """Move each clip of the source at random as a whole."""
        groups = clip.unique_consecutive(return_inverse=True)[1]
        return self._moved(source, groups, key.generator("random rigid clips", source.joints_3d.device))

    def _moved(self, source: PoseBatch, group: Int[Tensor, " batch"] | None, generator: torch.Generator) -> PoseBatch:
        """The poses, those of a group (numbered from zero, rows in order) moved as one; None: each by itself."""
        placed, _ = move_into_frame(source, self.options, generator, group)
        proposed = source.with_joints(placed)
        # A source pose that was kept may itself leave the frame; it was good enough to train on, so it stays.
        return proposed.replace(valid=source.valid)

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Make lifter steps on source and moved poses, in one batch or in turn as the option `mixing` says."""
        if proposed is None:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = {"augment/valid_share": proposed.valid.float().mean()}
        if self.options.mixing == "batch":
            half = len(source) // 2
            batch = mixed(proposed[:half], source[half:])
            return Update(metrics | {"loss/lifter": self.step_lifter(batch)}, 1)
        steps = 1
        if int(proposed.valid.sum()) > 1:
            metrics["loss/lifter_augmented"] = self.step_lifter(proposed)
            steps += 1
        metrics["loss/lifter"] = self.step_lifter(source)
        return Update(metrics, steps)
