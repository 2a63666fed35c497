"""No augmentation: empirical risk minimisation on the source (Vapnik). The baseline that every table needs.

One lifter step on each source batch, with the loss, schedule and clipping that all methods share.
"""

from dataclasses import dataclass
from typing import ClassVar

from dg.methods.base import DGMethod, StepKey, Update
from dg.pose.batch import PoseBatch


@dataclass(frozen=True)
class ERMOptions:
    """None."""


class ERM(DGMethod):
    """One lifter step a batch; see the module's docstring."""

    Options: ClassVar[type] = ERMOptions
    takes_windows: ClassVar[bool] = True
    takes_answers: ClassVar[bool] = True

    def __init__(self, context, options: ERMOptions) -> None:  # noqa: ANN001 - MethodContext
        super().__init__(context)

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Make one lifter step on the source batch."""
        return Update({"loss/lifter": self.step_lifter(source)}, 1)
