"""Which places a checkpoint may send a program to: none. Places come from the command line, or are the defaults.

A checkpoint carries the configuration of its run: where that run logged, cached and read. A downloaded one would choose
the server that is told the results (with the credentials of the environment), the folders that are written to and the
files that are opened. So `load_checkpoint` puts places that have a default back to it, and what has none (targets, a
body's or data set's files, networks) must be repeated by whoever calls.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from dg.datasets.keypoints import is_file_of_keypoints
from dg.files.plain_text import one_line
from dg.settings.command_line import table_of
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import resolve
from dg.tracking.stores import OFF

# Options of plug-ins that name a file, a folder or a repository; the contract tests know every other text option.
OPTIONS = {
    "data": ("root", "path", "smpl", "regressor", "keypoints", "image_depth"),
    "body": ("path",),
    "depth": ("checkpoint",),
    "method": ("generator", "extra_2d"),
}
_PLACELESS = "synthetic"  # data set that is computed, not read
_FREE_CACHE = "off"


def without_places(config: TrainConfig) -> TrainConfig:
    """The configuration with every place that has a default set to it.

    Args:
        config: As a checkpoint carries it.

    Returns:
        The same with its own store, cache, folder, cluster and render service forgotten. `off` is no place and stays.
    """
    plain = TrainConfig()
    uri = config.tracking.uri if config.tracking.uri in OFF else plain.tracking.uri
    return replace(
        config,
        address=plain.address,
        submit=plain.submit,
        out=plain.out,
        cache=_FREE_CACHE if config.cache == _FREE_CACHE else plain.cache,
        render=replace(config.render, service=plain.render.service),
        tracking=replace(config.tracking, uri=uri, parent_run_id="", child="", register=""),
    )


def of_drawing(config: TrainConfig) -> tuple[str, ...]:
    """The keys whose places are visited when depth or features are drawn; none where the inputs need none."""
    if not config.needs_depth:
        return ()
    return ("body", "depth", *(["pose_network"] if "image_features" in config.features else []))


def named_places(config: TrainConfig, used: Collection[str]) -> dict[str, str]:
    """The places that a configuration names.

    Args:
        config: Of a checkpoint.
        used: Keys to look at: `targets`, `adapt_to`, `pose_network`, `data`, `body`, `depth`, `method`.

    Returns:
        `{"body.path": "/x/SMPL_NEUTRAL.pkl"}`: each that is not the default, as it is written on a command line.
    """
    found: dict[str, str] = {}
    if "targets" in used and any(name.partition(":")[0] != _PLACELESS for name in config.targets):
        found["targets"] = f"[{','.join(config.targets)}]"
    if "adapt_to" in used and config.adapt_to.partition(":")[0] not in ("", _PLACELESS):
        found["adapt_to"] = config.adapt_to
    if "pose_network" in used and config.pose_network != TrainConfig().pose_network:
        found["pose_network"] = config.pose_network
    for group in OPTIONS.keys() & set(used):
        found |= {f"{group}.{name}": str(value) for name, value in _own(group, getattr(config, group)).items()}
    return found


def check_places(
    source: Path, config: TrainConfig, words: Sequence[str], used: Collection[str], inside: str = ""
) -> None:
    """Make sure that no place that is about to be visited was chosen by a checkpoint.

    Args:
        source: The checkpoint, for the message.
        config: Its configuration, with the words' changes.
        words: `key=value` of the command line.
        used: What will be visited, as for `named_places`.
        inside: Key of the command line that takes such words, where it does not take them themselves.

    Raises:
        ConfigError: It names places that the words do not; the message spells what to give.
    """
    given = {word.partition("=")[0] for word in words}
    missing = {
        key: place for key, place in named_places(config, used).items() if not {key, key.partition(".")[0]} & given
    }
    if not missing:
        return
    words = [f"{key}={one_line(place, 400)}" for key, place in sorted(missing.items())]
    give = f"{inside}=[{','.join(words)}]" if inside else " ".join(words)
    raise ConfigError(
        f"the checkpoint {source} names {' '.join(words)}, and a file does not decide what is opened here; "
        f"give {give} to use {'it' if len(words) == 1 else 'them'}"
    )


def note_on_store(recorded: TrainConfig, config: TrainConfig) -> str:
    """What to tell where a run's own store is not the one in use; empty where it is."""
    theirs, ours = recorded.tracking.uri, config.tracking.uri
    if not theirs or theirs == ours or theirs in OFF or ours:
        return ""
    return (
        f"the checkpoint names tracking.uri={one_line(theirs)}; results go to the default store; give tracking.uri= to "
        "use that one"
    )


def _own(group: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a plug-in that are places and not its defaults."""
    plugin = resolve(table_of(group), group, str(chosen["name"]))
    defaults = {f.name: None if f.default is MISSING else f.default for f in fields(plugin.Options)}
    names = [name for name in OPTIONS[group] if name in chosen]
    # A detector's name chooses among the files beside the data that the user names.
    names = [name for name in names if name != "keypoints" or is_file_of_keypoints(str(chosen[name]))]
    return {name: chosen[name] for name in names if chosen[name] not in (defaults.get(name), "")}
