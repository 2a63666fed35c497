"""A trained lifter out of a checkpoint, with the data and the depth that its run used."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from dg.datasets import DATASETS
from dg.datasets.base import PoseDataset
from dg.datasets.laws import NOTE, examined
from dg.evaluation.predictions import Evaluation, LifterPredictor, evaluate
from dg.files.checkpoint import CheckpointError, load_file
from dg.methods.base import DGMethod
from dg.pose.joint_map import skeleton_named
from dg.settings.command_line import check_plugins
from dg.settings.plugins import resolve
from dg.trained.options import overridden
from dg.trained.places import check_places, of_drawing
from dg.trained.stored import load_checkpoint
from dg.training.build import device_of, make_method
from dg.training.live_depth import LiveDepth
from dg.training.problem import load_problem, load_target
from dg.training.rendering import make_live_depth

PLACE_KEYS = ("data", "targets", "adapt_to", "body", "depth", "pose_network")


class AnalysisError(CheckpointError):
    """A checkpoint, or a target for it, that an analysis cannot use. The message says why, and which could."""


class TrainedRun:
    """One checkpoint of a run. Data sets are loaded, and their depth is drawn, when they are asked for.

    Depth is drawn in this process; `close` ends the render worker, if one was started.
    """

    def __init__(
        self,
        place: Path,
        label: str,
        weights: str = "auto",
        device: str = "auto",
        cache_folder: str = "",
        data_checks: str = "",
        places: Sequence[str] = (),
        own: bool = False,
    ) -> None:
        """Load the lifter.

        Args:
            place: A checkpoint, or a run's folder.
            label: What tables call it.
            weights: `auto`, `best` or `last`: which of a run's folder.
            device: `auto`, `cpu` or `cuda`.
            cache_folder: Of drawn depth; empty: the default one.
            data_checks: `refuse` or `warn`; empty: as the run.
            places: `key=value` words that name the files of data, body and networks, in place of the checkpoint's.
            own: The command that runs has trained it itself: the places of its configuration are the command's.

        Raises:
            CheckpointError: The file cannot be used.
            ConfigError: A wrong device or place.
        """
        stored = load_checkpoint(place, weights)
        self.label, self.path, self.run_id = label, stored.path, stored.run_id
        self._places, self._own = list(places), own
        config = overridden(stored.config, places, PLACE_KEYS)
        if own and stored.recorded is not None:
            config = replace(config, cache=stored.recorded.cache, tracking=stored.recorded.tracking)
        config = replace(config, data_checks=data_checks or config.data_checks)
        self.config = replace(config, pool="local", device=device, cache=cache_folder or config.cache)
        self.checks: dict[str, str] = {}  # part of the data -> what the laws say of it
        self.device = device_of(self.config)
        self.predictor = LifterPredictor(stored.lifter.to(self.device), stored.inputs)
        # A target's test part on the run's skeleton.
        self.target = cache(lambda name: self._on_skeleton(load_target(name, checks=self.config.data_checks)))
        self.source = cache(self._load_source)
        self._options = check_plugins(self.config)
        self._live: LiveDepth | None = None

    @property
    def depth_label(self) -> str:
        """As protocol ids spell the depth source; `none` where the inputs need none."""
        return self.config.depth_label

    def with_depth(self, dataset: PoseDataset) -> PoseDataset:
        """The data set on the run's device, with depth at its joints where the inputs need it."""
        poses = dataset.poses.to(self.device)
        if self.config.needs_depth and poses.depth is None:
            self.check_places(of_drawing(self.config))
            self._live = self._live or make_live_depth(self.config, self._options, 0.0)
            assert self._live is not None
            return self._live.with_depth(dataset, poses)
        return replace(dataset, poses=poses)

    def evaluate(self, dataset: PoseDataset) -> Evaluation:
        """Errors of the lifter; depth is drawn first where the data set lacks it.

        Raises AnalysisError for a lifter whose answers are not finite.
        """
        ready = self.with_depth(dataset)
        try:
            return evaluate(self.predictor, ready, self.depth_label, self.config.frames)
        except ValueError as error:
            raise AnalysisError(f"{self.path} on {dataset.name}: {error}") from error

    def method(self) -> DGMethod:
        """The method as it stood. Raises AnalysisError for a checkpoint that holds the lifter alone."""
        state = load_file(self.path)
        if "method" not in state:
            raise AnalysisError(
                f"{self.path} holds the lifter alone; give a checkpoint-STEP.pt of the same folder, or the folder and "
                "weights=last: it holds the method's own networks too"
            )
        self.check_places(("data", "adapt_to", "method"))
        # A method is built from its source; its targets, which may be files, are left alone.
        config = replace(self.config, init_from="", targets=["synthetic:near"])
        method = make_method(config, self._options, load_problem(config, self._options))
        method.load_state_dict(state["method"])
        return method

    def check_places(self, used: Collection[str]) -> None:
        """Raises ConfigError where the checkpoint alone names a place that is about to be visited."""
        if not self._own:
            # Targets have a key of their own.
            check_places(
                self.path, self.config, self._places, used, inside="" if set(used) <= {"targets"} else "places"
            )

    def close(self) -> None:
        """Close the render pool of the run's live depth, if one was opened."""
        if self._live is not None:
            self._live.pool.close()

    def _load_source(self, split: str) -> PoseDataset:
        """A part of what the run was trained on, without depth."""
        self.check_places(["data"])
        source = resolve(DATASETS, "data", self.config.data["name"])(self._options["data"])
        return self._on_skeleton(examined(source.load(split), split, self.config.data_checks), split)

    def _on_skeleton(self, dataset: PoseDataset, part: str = "") -> PoseDataset:
        self.checks[part or dataset.name] = dataset.notes[NOTE]
        return replace(dataset, poses=dataset.poses.convert(skeleton_named(self.config.skeleton)))


def run_labels(places: Sequence[Path]) -> list[str]:
    """A short name for each checkpoint: its run's folder, and its file where folders repeat."""
    absolute = [place.absolute() for place in places]
    folders = [p.name if p.is_dir() else p.parent.name for p in absolute]
    labels = [f if folders.count(f) == 1 else f"{f}/{p.stem}" for f, p in zip(folders, absolute, strict=True)]
    return [label if labels.count(label) == 1 else f"{label} #{n}" for n, label in enumerate(labels, start=1)]
