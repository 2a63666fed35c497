"""A sweep in MLflow: one parent run that the driver writes, and Optuna's tags on the children that the trials write."""

from collections.abc import Mapping

from dg.grid.parent_run import ParentRun


class SweepRecords(ParentRun):
    """The parent run of a sweep."""

    child = "trial"

    def label(self, child: str, tags: Mapping[str, str], state: str, end: str = "") -> None:
        """See `ParentRun.label`; the state is that of the trial in Optuna."""
        super().label(child, {**tags, "optuna.state": state}, state, end)
