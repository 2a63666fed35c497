"""Errors by how far a pose lies from those of the training set: similarity to k-means prototypes, 20 / 60 / 20 %.

AugLift, section 4.5 and Table 3; constants of its released code (METHODS 4.8): 100 clusters, or a 50th of the poses if
that is less, 10 restarts, seed 42, on root-centred camera-frame poses in millimetres; a frame's novelty is its distance
to the nearest centre. The paper clusters training poses, the code those of validation (`prototypes=val`). Published
with PoseFormer, 27 frames, Human3.6M to Fit3D: 109.2 to 92.1 mm in the lowest 20 % of similarity. Not reproduced here:
neither set was at hand.

Departure: of a larger training set `poses` evenly spaced ones are clustered, so that it takes minutes, not hours.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Comparison, Findings
from dg.analyse.checkpoints import AnalysisError, TrainedRun
from dg.analyse.stratified import StratifiedAnalysis
from dg.datasets.base import PoseDataset
from dg.pose.batch import PoseBatch
from dg.settings.config import CountOrZero

CLUSTERS = 100
POSES_PER_CLUSTER = 50
RESTARTS = 10
SEED = 42
INSTALL = "pip install -c constraints.txt -e '.[novelty]'"


@dataclass(frozen=True)
class NoveltyOptions:
    """prototypes: the source's part that is clustered, `train` (paper) or `val` (released code). poses: how many of it
    at most, evenly spaced; 0: all.
    """

    prototypes: Literal["train", "val"] = "train"
    poses: CountOrZero = 50_000


def flat_poses_mm(poses: PoseBatch) -> Float[Tensor, "frames coordinates"]:
    """Root-centred joints of the first frame, millimetres."""
    return (poses.root_relative[:, 0] * 1000).flatten(1)


def evenly_spaced(poses: PoseBatch, most: int) -> PoseBatch:
    """Return at most `most` of the poses, evenly spaced.

    Args:
        poses: to choose from.
        most: number of poses; 0 takes all.
    """
    if most == 0 or len(poses) <= most:
        return poses
    return poses[torch.arange(most) * len(poses) // most]


def cluster_centres(poses_mm: Float[Tensor, "poses coordinates"]) -> Float[Tensor, "clusters coordinates"]:
    """Centres of k-means, the best of ten starts. Raises AnalysisError where scikit-learn is not installed."""
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise AnalysisError(f"the novelty analysis needs scikit-learn, of the extra `novelty`; {INSTALL}") from error

    count = max(1, min(CLUSTERS, len(poses_mm) // POSES_PER_CLUSTER))
    # One thread: with several, sums are added in the order in which threads end.
    with threadpool_limits(1):
        # The signature says text alone for n_init, which takes a number too.
        restarts: Any = RESTARTS
        found = KMeans(count, n_init=restarts, random_state=SEED).fit(poses_mm.double().cpu().numpy())
    return torch.from_numpy(np.asarray(found.cluster_centers_))


def novelty_mm(
    poses_mm: Float[Tensor, "frames coordinates"], centres: Float[Tensor, "clusters coordinates"]
) -> Float[Tensor, " frames"]:
    """Return the distance of each pose to the nearest cluster centre.

    Args:
        poses_mm: root-centred joint coordinates, millimetres.
        centres: coordinates of the centres, millimetres.

    Returns:
        Millimetres, on the CPU.
    """
    return torch.cdist(poses_mm.double().cpu(), centres).amin(-1)


class Novelty(StratifiedAnalysis):
    """See the module's docstring."""

    Options: ClassVar[type] = NoveltyOptions
    names = ("highest 20 % similarity", "middle 60 %", "lowest 20 %")
    shares = (0.2, 0.8)
    title = "Error by similarity to the training poses"
    score_name = "distance_mm"
    ground_truth = "groups from ground-truth 3D poses (an oracle)"

    def run(self, comparison: Comparison) -> Findings:
        """Cluster the training poses of the first checkpoint, then group the errors by distance to the clusters."""
        first, *others = comparison.runs
        for other in others:
            if other.config.data != first.config.data:
                raise AnalysisError(
                    f"{other.label} was trained on other data than {first.label} ({other.config.data} against "
                    f"{first.config.data}), and novelty is measured from one training set: analyse them apart"
                )
        self._source = first.source(self.options.prototypes).poses
        self._clustered = evenly_spaced(self._source, self.options.poses)
        self._centres = cluster_centres(flat_poses_mm(self._clustered))
        return super().run(comparison)

    def score(self, dataset: PoseDataset) -> Float[Tensor, " frames"]:
        """Return the distance of each pose to the nearest cluster centre, in millimetres."""
        return novelty_mm(flat_poses_mm(dataset.poses), self._centres)

    def notes(self, comparison: Comparison) -> list[str]:
        """Say how many clusters were made of how many poses of which data set."""
        run: TrainedRun = comparison.runs[0]
        return [
            f"{len(self._centres)} clusters of {len(self._clustered):,} of the {len(self._source):,} poses of "
            f"{run.source(self.options.prototypes).name} ({self.options.prototypes})"
        ]
