"""The command lines of `dg.evaluate` and `dg.export`: which lifter is meant, and what of its run may change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dg.settings.command_line import NESTED, parse
from dg.settings.config import GROUPS, ConfigError, TrainConfig, validate
from dg.settings.plugins import suggest
from dg.trained.description import SETTINGS
from dg.trained.stored import StoredLifter, load_checkpoint, load_weights

# What evaluation may choose anew: nothing of what the lifter was trained with.
RUN_KEYS = ("targets", "depth", "pose_network", "body", "render", "pool", "address", "cache", "tracking", "device",
            "threads")  # fmt: skip
LIFTER_KEYS = ("lifter", *SETTINGS)


def chosen(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises ConfigError for a value that is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {list(choices)}, got {value!r}{suggest(value, list(choices))}")


def split_words(words: Sequence[str], options: type) -> tuple[str, dict[str, Any], list[str]]:
    """The one word that is a path, the values of the program's own options, and every other word.

    options: a dataclass of texts and switches with `checkpoint` and `words` besides. Raises ConfigError for a word
    that is neither `key=value` nor the only path.
    """
    kinds = {f.name: f.type for f in fields(options) if f.name not in ("checkpoint", "words")}
    paths, given, rest = [], {}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            paths.append(word)
        elif key in kinds:
            given[key] = _switch(key, value) if kinds[key] is bool else value
        else:
            rest.append(word)
    if len(paths) > 1 or any(path.startswith("-") for path in paths):
        raise ConfigError(f"expected key=value and at most one CHECKPOINT, got {' '.join(paths)}; see --help")
    return paths[0] if paths else "", given, rest


def _switch(key: str, value: str) -> bool:
    chosen(key, value, ("true", "false"))
    return value == "true"


def one_source(**given: str) -> None:
    """Raises ConfigError unless one of the places that a lifter may come from is named."""
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        ways = " or ".join("CHECKPOINT" if name == "checkpoint" else f"{name}=FILE" for name in given)
        raise ConfigError(f"expected one lifter, {ways}; got {named or 'none'}")


def stored_lifter(checkpoint: str, published: str, weights: str, words: Sequence[str]) -> StoredLifter:
    """The lifter of a checkpoint, its configuration with the words' changes. Raises ConfigError and CheckpointError."""
    one_source(checkpoint=checkpoint, published=published)
    if published:
        return load_weights(Path(published), described(words, ("lifter", "inputs")))
    stored = load_checkpoint(Path(checkpoint), weights)
    return replace(stored, config=overridden(stored.config, words))


def described(
    words: Sequence[str], required: Sequence[str] = (), known: Mapping[str, Any] | None = None
) -> TrainConfig:
    """A configuration for a lifter from a file that carries none, in this process unless `pool` is given.

    required: what the words must say. known: settings that the file tells; the words may repeat them. Raises
    ConfigError for words that say more, less or other.
    """
    named = _heads(words)
    _only(named, (*LIFTER_KEYS, *RUN_KEYS), "has no meaning for a lifter that is not trained")
    missing = [key for key in required if key not in named]
    if missing:
        raise ConfigError(f"the file does not tell what it takes: give {' '.join(f'{key}=...' for key in missing)}")
    config = _in_process(parse(list(words)), named)
    known = known or {}
    asked = {key: getattr(config, key) for key in SETTINGS if key in named} | {"dscale2d": config.dscale2d_resolved}
    for key, value in known.items():
        if key in named and asked[key] != value:
            raise ConfigError(f"{key}={asked[key]!r} is not what the file says of its lifter ({value!r}); leave it out")
    return replace(config, **known)


def overridden(config: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """A run's configuration with other targets, depth or places, in this process unless `pool` is given.

    Raises ConfigError for a key that would make another lifter of it.
    """
    named = _heads(words)
    _only(named, RUN_KEYS, "is part of what the lifter was trained with, and taken from the checkpoint")
    chosen_plugins = {word.partition("=")[0] for word in words}
    whole = [f"{group}={getattr(config, group)['name']}" for group in named & GROUPS.keys() - chosen_plugins]
    parsed = parse([*whole, *words])
    changes: dict[str, Any] = {}
    for key in named:
        before, value = getattr(config, key), getattr(parsed, key)
        if key in NESTED:
            inner = [word.partition("=")[0].partition(".")[2] for word in words if word.startswith(f"{key}.")]
            value = replace(before, **{name: getattr(value, name) for name in inner})
        elif key in GROUPS and key not in chosen_plugins:
            value = before | value
        changes[key] = value
    changed = _in_process(replace(config, **changes), named)
    validate(changed)
    return changed


def _in_process(config: TrainConfig, named: set[str]) -> TrainConfig:
    return config if "pool" in named else replace(config, pool="local")


def _heads(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0].partition(".")[0] for word in words}


def _only(named: set[str], allowed: Sequence[str], why: str) -> None:
    for key in sorted(named - set(allowed)):
        if key in {f.name for f in fields(TrainConfig)}:
            raise ConfigError(f"{key} {why}; what may be given: {list(allowed)}")
        raise ConfigError(f"unknown key {key!r}{suggest(key, list(allowed))} Known: {list(allowed)}")
