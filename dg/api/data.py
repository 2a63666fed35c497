"""Data sets by name."""

from typing import Any

from dg.datasets import DATASETS
from dg.datasets.base import PoseDataset
from dg.settings.plugins import make_options, resolve


def load_data(name: str = "synthetic", split: str = "test", **options: Any) -> PoseDataset:  # noqa: ANN401
    """One part of a data set.

    Its `poses.joints_3d` are metres in the camera's space, `[poses, 1, joints, 3]`; `poses.root_relative` is the same
    relative to the root, and `poses.joints_2d` what the camera sees, in normalised image coordinates.

    Args:
        name: as in a run's `targets`: `synthetic:near`, `h36m:DIR`, `npz:FILE`, options after a `?`; or the data set
            alone, with its options as keywords.
        split: `train`, `val` or `test`.
        **options: of the data set, as a run's `data.*` has them: `root="DIR"`, `stride=5`.

    Returns:
        The poses with the subject, the action and the clip of each.

    Raises:
        OptionError: for a data set or an option that does not exist.
        DataError: for files that are missing or malformed.
    """
    kind, colon, argument = name.partition(":")
    plugin = resolve(DATASETS, "data", kind)
    located, label = plugin.target_options(argument) if colon else ({}, "")
    found = plugin(make_options(plugin, "data", kind, located | options)).load(split)
    return found.called(label) if label else found
