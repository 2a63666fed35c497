"""What is trained and on what: source, targets and the 2D of an adaptation target, on the run's skeleton."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dg.datasets import DATASETS
from dg.datasets.base import DataError, Dataset, PoseDataset
from dg.datasets.content import content_id
from dg.datasets.image_depth import converted
from dg.datasets.laws import NOTE, REFUSE, checked, examined
from dg.datasets.overlap import check_unseen
from dg.datasets.virtual_cameras import seen_by_virtual_cameras
from dg.methods.base import TargetPoses
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.boxes import box_size
from dg.pose.detections import SYNTHETIC_DETECTIONS
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import Skeleton
from dg.settings.command_line import table_of
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import make_options, resolve
from dg.tracking.names import metric_name

_MEDOID_POSES = 2000
_VIRTUAL_POSES = 8192


@dataclass(frozen=True)
class Problem:
    """Everything that does not change during a run.

    Attributes:
        virtual: the held-out part as other cameras would see it; None where the run wants none.
    """

    train: PoseDataset
    val: PoseDataset
    targets: tuple[PoseDataset, ...]
    depth_label: str
    adaptation: TargetPoses | None = None
    virtual: PoseDataset | None = None

    @property
    def checks(self) -> dict[str, str]:
        """What the laws say of each part (`dg.datasets.laws`)."""
        parts = [("train", self.train), ("val", self.val), *((target.name, target) for target in self.targets)]
        adapted = {} if self.adaptation is None else {f"adapt_to {self.adaptation.name}": self.adaptation.checks}
        return checked(parts) | adapted

    @property
    def contents(self) -> dict[str, str]:
        """Which data each part is, by content."""
        parts = {"train": self.train, "val": self.val} | {target.name: target for target in self.targets}
        return {part: data.identity for part, data in parts.items()}


def load_problem(
    config: TrainConfig, options: dict[str, Any], loaded: Callable[[PoseDataset], None] | None = None
) -> Problem:
    """Load the source's training and validation part and every target, on the run's skeleton.

    Args:
        config: of the run.
        options: options of each plug-in, by group; `data` is used here.
        loaded: is called with the training part, once that is there and before the targets are.

    Returns:
        The data sets with the name of their depth source.

    Raises:
        OptionError: an unknown data set or option.
        DataError: a file that cannot be used, data that are not what they say, data other than `data_content` names, or
            a target whose poses were trained on.
        ConfigError: two targets of one name, or settings that do not fit the data.
    """
    source = resolve(DATASETS, "data", config.data["name"])(options["data"])
    skeleton = skeleton_named(config.skeleton)
    train, val = (
        prepared(examined(source.load(split), split, config.data_checks), config) for split in ("train", "val")
    )
    _check_content(config, train, val)
    if loaded is not None:
        loaded(train)
    targets = tuple(prepared(target, config) for target in load_targets(config.target_names, config.data_checks))
    for target in targets:
        check_unseen(train, target, config.data_checks)
    adaptation = load_adaptation(config, skeleton)
    return Problem(train, val, targets, config.depth_label, adaptation, with_virtual_cameras(config, train, val))


def with_virtual_cameras(config: TrainConfig, train: PoseDataset, val: PoseDataset) -> PoseDataset | None:
    """Return the held-out part as virtual cameras see it, about `_VIRTUAL_POSES` poses at most.

    Args:
        config: of the run; `virtual_cameras` says how many cameras.
        train: training poses, from which the cameras are drawn.
        val: the held-out part.

    Returns:
        The data set, or None where the run wants none, or where 2D or depth came with the source's own images.
    """
    if not config.virtual_cameras or val.source_depth or val.source_2d not in ("gt", SYNTHETIC_DETECTIONS):
        return None
    thin = -(-len(val) * config.virtual_cameras // _VIRTUAL_POSES)
    clips = val.clip.unique_consecutive(return_inverse=True)[1]
    # Whole clips for lifters that see motion; else more clips.
    kept = clips % thin == 0 if config.frames > 1 else torch.arange(len(val)) % thin == 0
    rows = kept.nonzero()[:, 0]
    parts = {name: getattr(val, name)[rows] for name in ("poses", "subject", "action", "clip")}
    return seen_by_virtual_cameras(replace(val, **parts), train.poses, config.virtual_cameras)


def load_targets(names: Sequence[str], checks: str = REFUSE) -> list[PoseDataset]:
    """The test part of every target, examined, each under a name of its own.

    Args:
        names: `NAME:PLACE?option=value` each.
        checks: What to do where the data gravely break a law: `refuse` or `warn`.

    Raises:
        ConfigError: Two targets would be called the same. A number behind a name would depend on their order, and
            would put results on the same data into different columns.
        DataError: A file cannot be used, or its data are not what they say.
    """
    targets: dict[str, PoseDataset] = {}
    spelled: dict[str, str] = {}
    for name in names:
        found = load_target(name, checks=checks)
        key = metric_name(found.name)  # as MLflow can tell names apart
        if key in targets:
            raise ConfigError(
                f"the targets {spelled[key]} and {name} are both called {key!r}; give one of them a name of its own, "
                f"such as {name}{'&' if '?' in name else '?'}label={key}_2"
            )
        targets[key], spelled[key] = found, name
    return list(targets.values())


def load_target(name: str, split: str = "test", checks: str = REFUSE) -> PoseDataset:
    """Load a part of a target's data set and examine it; it is called by its `label` where it has one.

    Args:
        name: `NAME:PLACE?option=value`.
        split: part of the data set.
        checks: what to do where the data gravely break a law, `refuse` or `warn`.

    Raises:
        OptionError: an unknown data set or option.
        DataError: a file that cannot be used, or data that are not what they say.
    """
    dataset, label = open_target(name)
    found = examined(dataset.load(split), name, checks)
    return found.called(label) if label else found


def open_target(name: str) -> tuple[Dataset, str]:
    """The data set behind `NAME:PLACE?option=value`, and the label given to one that has no such option of its own."""
    kind, _, argument = name.partition(":")
    plugin = resolve(DATASETS, "target", kind)
    options, label = plugin.target_options(argument)
    return plugin(make_options(plugin, "target", kind, options)), label


def load_adaptation(config: TrainConfig, skeleton: Skeleton) -> TargetPoses | None:
    """Load the 2D poses of the target that a domain-adaptation method may see.

    Args:
        config: of the run.
        skeleton: the run's skeleton, to which the poses are converted.

    Returns:
        2D poses and cameras without 3D; None for a domain-generalisation method.

    Raises:
        ConfigError: method and `adapt_to` disagree.
    """
    name = config.method["name"]
    adapts = resolve(table_of("method"), "method", name).regime == "DA"
    if adapts and not config.adapt_to:
        raise ConfigError(f"method={name} is domain adaptation: say whose 2D poses it may see, adapt_to=NAME:ARGUMENT")
    if not adapts:
        if config.adapt_to:
            raise ConfigError(f"method={name} is domain generalisation and sees no target; leave adapt_to out")
        return None
    found = load_target(config.adapt_to, config.adapt_part, config.data_checks)
    poses = found.poses.convert(skeleton)
    return TargetPoses(
        found.name, config.adapt_part, poses.joints_2d[:, 0], poses.camera, found.identity, found.notes[NOTE]
    )


def prepared(dataset: PoseDataset, config: TrainConfig) -> PoseDataset:
    """Return a data set on the run's skeleton, its 2D named after what the lifter will be given.

    Args:
        dataset: as it was loaded.
        config: of the run.

    Raises:
        ConfigError: detected 2D without confidence where the run's poses are seen as a detector sees them.
    """
    poses = on_skeleton(dataset, config)
    if not config.detects or poses.confidence is not None:
        return replace(dataset, poses=poses)
    if dataset.source_2d != "gt":
        raise ConfigError(
            f"inputs={config.inputs} needs the confidence of detected 2D, but {dataset.name} has {dataset.source_2d} "
            "2D without any; give detections that carry it, or ground-truth 2D, which gets synthetic detections"
        )
    return replace(dataset, poses=poses, source_2d=SYNTHETIC_DETECTIONS)


def on_skeleton(dataset: PoseDataset, config: TrainConfig) -> PoseBatch:
    """Return a data set's poses on the run's skeleton, with the depth from images that they may bring with them.

    Args:
        dataset: as it was loaded.
        config: of the run, with its skeleton and inputs.

    Raises:
        ConfigError: the run's inputs need more than was extracted from the images.
    """
    poses = converted(dataset.poses, skeleton_named(config.skeleton))
    if poses.depth is None:
        return poses
    channels = config.inputs.partition("+")[0]
    if channels == "uadd" and poses.depth_spread is None:
        raise ConfigError(
            f"inputs=uadd needs nearest and farthest depth, but the depth of {dataset.name} was extracted right at its "
            "joints; extract it anew with inputs=uadd (dg extract-depth)"
        )
    return _with_chosen_features(poses, dataset, config)


def _with_chosen_features(poses: PoseBatch, dataset: PoseDataset, config: TrainConfig) -> PoseBatch:
    """With those of their images' features that the inputs name. Raises ConfigError for one that was not extracted."""
    missing = [name for name in config.features if name not in dataset.features]
    if missing:
        raise ConfigError(
            f"inputs={config.inputs}: {dataset.name} has depth from images, but no {', '.join(missing)}; extract it "
            f"anew with features=[{','.join(config.features)}] (dg extract-depth), or take inputs without it"
        )
    if poses.joint_features is None or not config.features:
        return poses.replace(joint_features=None)
    parts = dict(zip(dataset.features, poses.joint_features.split(list(dataset.features.values()), -1), strict=True))
    return poses.replace(joint_features=torch.cat([parts[name] for name in config.features], -1))


def sizes_of_features(problem: Problem, config: TrainConfig) -> list[int]:
    """Return the channels of each feature of the run's images; empty where none came from images.

    Args:
        problem: the run's data.
        config: of the run.

    Raises:
        ConfigError: the data sets' features are of different networks' widths.
    """
    parts = [part for part in (problem.train, problem.val, *problem.targets) if part.features and config.features]
    sizes = {part.name: [part.features[name] for name in config.features] for part in parts}
    if len({tuple(found) for found in sizes.values()}) > 1:
        raise ConfigError(f"inputs={config.inputs}: features from images have different numbers of channels: {sizes}")
    return next(iter(sizes.values()), [])


def source_content(train: PoseDataset, val: PoseDataset) -> str:
    """Return an id of the training and validation data that depends on their content alone.

    Args:
        train: the training part.
        val: the held-out part.
    """
    depth = [part.depth_content for part in (train, val) if part.depth_content]
    return content_id(train.identity, val.identity, *depth)


def check_same_data(state: Mapping[str, Any], problem: Problem) -> None:
    """Check that the data are those on which a checkpoint's run was trained.

    Args:
        state: content of the checkpoint.
        problem: the data that were loaded now.

    Raises:
        DataError: the run was trained on other data.
    """
    config = state.get("config") or {}
    if config.get("data_content"):
        _check_content(TrainConfig.from_plain(config), problem.train, problem.val)


def _check_content(config: TrainConfig, train: PoseDataset, val: PoseDataset) -> None:
    """Raises DataError where the source is not the one that the configuration names."""
    found = source_content(train, val)
    if config.data_content not in ("", found):
        raise DataError(
            f"data={config.data['name']}: expected the data of content {config.data_content}, on which the run was "
            f"made, but found {found}: the files, or what the options choose of them, have changed. Put the old files "
            "back, or start a new run (another out=, no data_content=)"
        )


def with_box_size(config: TrainConfig, train: PoseDataset) -> TrainConfig:
    """Return the configuration with the mean box of the training poses as `box_ref`, where dscale2d=box leaves it open.

    Args:
        config: of the run.
        train: training poses, with 2D normalised to a frame of width 2.
    """
    if config.dscale2d_resolved != "box" or config.box_ref > 0:
        return config
    poses = train.poses
    # Rounded, so that the digest of a resumed run does not hang on the order of a sum.
    return replace(config, box_ref=round(float(box_size(poses.joints_2d[poses.valid]).double().mean()), 6))


def subject_bone_lengths(dataset: PoseDataset) -> torch.Tensor:
    """Median bone lengths of each subject, `[subjects, bones]`, metres."""
    lengths = bone_lengths(dataset.poses.joints_3d[:, 0], dataset.poses.skeleton)
    present = dataset.subject.unique()
    return torch.stack([lengths[dataset.subject == s].median(0).values for s in present])


def subject_medoids(dataset: PoseDataset) -> torch.Tensor:
    """Bone lengths `[subjects, bones]`, metres, of each subject's pose whose bones are nearest to those of all others.

    Left and right are averaged. Of a subject with many poses at most `_MEDOID_POSES`, evenly spaced, are compared.
    """
    skeleton = dataset.poses.skeleton
    lengths = bone_lengths(dataset.poses.joints_3d[:, 0], skeleton)
    lengths = (lengths + lengths[:, list(skeleton.bone_flip)]) / 2
    found = []
    for subject in dataset.subject.unique():
        own = lengths[dataset.subject == subject]
        own = own[:: -(-len(own) // _MEDOID_POSES)]
        found.append(own[torch.cdist(own, own).sum(1).argmin()])
    return torch.stack(found)
