"""Which lifter `dg evaluate` and `dg export` mean, and what of its run may change."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dg.settings.command_line import parse
from dg.settings.config import GROUPS, NESTED, ConfigError, TrainConfig
from dg.settings.config_check import validate
from dg.settings.plugins import suggest
from dg.trained.description import SETTINGS
from dg.trained.settings import one_source
from dg.trained.stored import StoredLifter, load_checkpoint, load_weights

# What evaluation may choose anew: nothing of what the lifter was trained with.
RUN_KEYS = ("targets", "depth", "pose_network", "body", "render", "pool", "address", "cache", "tracking", "device",
            "threads", "data_checks")  # fmt: skip
LIFTER_KEYS = ("lifter", *SETTINGS)


def stored_lifter(checkpoint: str, published: str, weights: str, args: Sequence[str]) -> StoredLifter:
    """Load the lifter of a checkpoint, with the changes that the command line makes to its configuration.

    Args:
        checkpoint: a run's folder or a checkpoint's file; empty where `published` is given.
        published: a checkpoint published by PoseAug, whose lifter and inputs `args` must describe; else empty.
        weights: which file of a run's folder, as `checkpoint_file` has it.
        args: `key=value` each.

    Raises:
        ConfigError: not exactly one source, or args that are not allowed.
        CheckpointError: a file that is missing, damaged or does not fit.
    """
    one_source(checkpoint=checkpoint, published=published)
    if published:
        return load_weights(Path(published), described(args, ("lifter", "inputs")))
    stored = load_checkpoint(Path(checkpoint), weights)
    return replace(stored, config=overridden(stored.config, args), args=tuple(args))


def described(args: Sequence[str], required: Sequence[str] = (), known: Mapping[str, Any] | None = None) -> TrainConfig:
    """Build the configuration of a lifter whose file carries none; it runs in this process unless `pool` is given.

    Args:
        args: `key=value` each.
        required: keys that the args must set.
        known: settings that the file tells; the args may repeat them.

    Raises:
        ConfigError: args that set more than is allowed, less than is required, or other values than are known.
    """
    named = _heads(args)
    _only(named, (*LIFTER_KEYS, *RUN_KEYS), "has no meaning for a lifter that is not trained")
    missing = [key for key in required if key not in named]
    if missing:
        raise ConfigError(f"the file does not tell what it takes: give {' '.join(f'{key}=...' for key in missing)}")
    config = _in_process(parse(list(args)), named)
    known = known or {}
    asked = {key: getattr(config, key) for key in SETTINGS if key in named} | {"dscale2d": config.dscale2d_resolved}
    for key, value in known.items():
        if key in named and asked[key] != value:
            raise ConfigError(f"{key}={asked[key]!r} is not what the file says of its lifter ({value!r}); leave it out")
    return replace(config, **known)


def overridden(config: TrainConfig, args: Sequence[str], allowed: Sequence[str] = RUN_KEYS) -> TrainConfig:
    """Return a run's configuration with other targets, depth or places; in this process unless `pool` is given.

    Args:
        config: as the checkpoint carries it.
        args: `key=value` each.
        allowed: keys that may be set.

    Raises:
        ConfigError: a key that would make another lifter of it.
    """
    named = _heads(args)
    _only(named, allowed, "is part of what the lifter was trained with, and taken from the checkpoint")
    chosen_plugins = {arg.partition("=")[0] for arg in args}
    whole = [f"{group}={getattr(config, group)['name']}" for group in named & GROUPS.keys() - chosen_plugins]
    parsed = parse([*whole, *args])
    changes: dict[str, Any] = {}
    for key in named:
        before, value = getattr(config, key), getattr(parsed, key)
        if key in NESTED:
            inner = [arg.partition("=")[0].partition(".")[2] for arg in args if arg.startswith(f"{key}.")]
            value = replace(before, **{name: getattr(value, name) for name in inner})
        elif key in GROUPS and key not in chosen_plugins:
            value = before | value
        changes[key] = value
    changed = _in_process(replace(config, **changes), named)
    validate(changed)
    return changed


def _in_process(config: TrainConfig, named: set[str]) -> TrainConfig:
    return config if "pool" in named else replace(config, pool="local")


def _heads(args: Sequence[str]) -> set[str]:
    return {arg.partition("=")[0].partition(".")[0] for arg in args}


def _only(named: set[str], allowed: Sequence[str], why: str) -> None:
    for key in sorted(named - set(allowed)):
        if key in {f.name for f in fields(TrainConfig)}:
            raise ConfigError(f"{key} {why}; what may be given: {list(allowed)}")
        raise ConfigError(f"unknown key {key!r}{suggest(key, list(allowed))} Known: {list(allowed)}")
