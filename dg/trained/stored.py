"""Lifters from checkpoints: ours, which carry the configuration of their run, and published ones, which do not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dg.files.checkpoint import BEST, CheckpointError, Checkpoints, load_file
from dg.pose.batch import InputSpec
from dg.pose.joint_map import skeleton_named
from dg.settings.command_line import check_plugins
from dg.settings.config import TrainConfig
from dg.settings.config_check import validate
from dg.trained.places import check_places, without_places
from dg.training.build import initialise, inputs_of, make_lifter, options_for_windows
from dg.training.rendering import with_feature_sizes
from lifters.base import Lifter


@dataclass(frozen=True)
class StoredLifter:
    """A lifter with its weights and where they come from.

    Attributes:
        selection: `source_val` for weights that were best by source validation, else `last`.
        epoch: None where the file does not tell.
        run_id: id of the run that trained it; empty where there is none.
        config: configuration without the places of that run (`dg.trained.places`).
        recorded: configuration with these places, None where the file carries no configuration.
        args: `key=value` with which the caller has changed the configuration.
    """

    path: Path
    config: TrainConfig
    lifter: Lifter
    inputs: InputSpec
    selection: str = "last"
    epoch: int | None = None
    run_id: str = ""
    recorded: TrainConfig | None = None
    args: tuple[str, ...] = ()

    def check_places(self, used: Collection[str]) -> None:
        """Raises ConfigError where a place that is about to be visited was named by the file alone."""
        if self.recorded is not None:
            check_places(self.path, self.config, self.args, used)

    def origin(self) -> dict[str, Any]:
        """What a file made from it should tell of it."""
        config = self.config
        return {
            "checkpoint": self.path.name, "run_id": self.run_id, "selection": self.selection, "epoch": self.epoch,
            "config_digest": config.digest(), "lifter": dict(config.lifter), "method": dict(config.method),
            "data": config.data["name"], "seed": config.seed,
        }  # fmt: skip


def checkpoint_file(place: Path, weights: str = "auto") -> Path:
    """Return the checkpoint that a place stands for: the file itself, or one of the files in a run's folder.

    Args:
        place: a checkpoint's file or a run's folder.
        weights: in a folder `best` takes `best.pt`, `last` the newest checkpoint, `auto` the best or else the newest.

    Raises:
        CheckpointError: the folder has no such file, or `weights` was given beside a file.
    """
    if not place.is_dir():
        if weights != "auto":
            raise CheckpointError(
                f"weights={weights} chooses a file in a run's folder, but {place} is none; leave it out"
            )
        return place
    best, newest = place / BEST, Checkpoints(place).latest()
    found = newest if weights == "last" else best if best.is_file() else None if weights == "best" else newest
    if found is None:
        raise CheckpointError(f"no checkpoint (weights={weights}) in {place}; give a folder that `dg train` wrote")
    return found


def load_checkpoint(place: Path, weights: str = "auto") -> StoredLifter:
    """Load the lifter of one of our runs onto the CPU, rebuilt from the checkpoint's own configuration.

    Places in that configuration, such as files and addresses, are left out.

    Args:
        place: a checkpoint's file or a run's folder.
        weights: which file of a folder, as `checkpoint_file` has it.

    Raises:
        CheckpointError: the file is missing, damaged, without configuration, or its weights do not fit.
        ConfigError: the configuration cannot be read by this version.
    """
    path = checkpoint_file(place, weights)
    state = load_file(path)
    recorded = _config_of(path, state)
    config = without_places(recorded)
    last = "method" in state
    epoch = _number(state.get("position"), "ended_epoch") if last else _number(state, "epoch")
    lifter, inputs = _filled(path, config)
    run_id = str(state.get("run_id") or "")
    return StoredLifter(path, config, lifter, inputs, "last" if last else "source_val", epoch, run_id, recorded)


def load_weights(path: Path, config: TrainConfig) -> StoredLifter:
    """Load the weights of any checkpoint into a lifter that a configuration describes.

    Args:
        path: a checkpoint of PoseAug's, or an older one of ours.
        config: describes the lifter and its inputs.

    Raises:
        CheckpointError: the file is missing, damaged or does not fit.
    """
    config = with_feature_sizes(config)
    lifter, inputs = _filled(path, config)
    return StoredLifter(path, config, lifter, inputs, "last")


def _filled(path: Path, config: TrainConfig) -> tuple[Lifter, InputSpec]:
    inputs = inputs_of(config)
    options = options_for_windows(config, check_plugins(config)["lifter"])
    lifter = make_lifter(config, options, skeleton_named(config.skeleton), inputs)
    try:
        initialise(lifter, path)
    except (KeyError, TypeError, AttributeError) as error:  # containers of another make
        raise CheckpointError(f"{path} holds no weights where they are expected: {error!r}") from error
    return lifter.eval(), inputs


def _config_of(path: Path, state: Mapping[str, Any]) -> TrainConfig:
    plain = state.get("config")
    if not isinstance(plain, Mapping):
        raise CheckpointError(
            f"{path} carries no configuration: it is of another make or an older version. Describe its lifter instead: "
            f"published={path} lifter=NAME inputs=xy|xyd"
        )
    try:
        config = TrainConfig.from_plain(plain)
        validate(config)
    except (TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be read: {error!r}") from error
    return config


def _number(container: Any, key: str) -> int | None:  # noqa: ANN401
    value = container.get(key) if isinstance(container, Mapping) else None
    return value if isinstance(value, int) else None
