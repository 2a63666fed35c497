"""The words that belong to a sweep, told apart from those that belong to its runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import suggest
from sweeps.objective import SOURCE_VAL, Objective

MOST_AT_ONCE = 4  # trials that `concurrency=auto` starts, SYSTEMS 3.3
PRUNERS = ("auto", "median", "hyperband", "off")
REFUSED = {
    "seed": "use seeds=[0,1,2], or seeds=[N] for one",
    "resume": "the same command again always goes on with the study",
    "submit": "run the sweep itself on the cluster's head",
    "render.service": "the sweep starts the service; service=off for none",
    "tracking.parent_run_id": "the sweep makes the parent run",
    "tracking.run_name": "the trials are named after the study; use study=NAME",
}


@dataclass(frozen=True)
class SweepOptions:
    """The settings of any sweep. concurrency: a number, or auto."""

    trials: int = 12
    seeds: tuple[int, ...] = (0,)
    concurrency: str = "1"
    service: str = "auto"
    study: str = "sweep"
    storage: str = "sqlite:///study.db"
    out: str = ""


@dataclass(frozen=True)
class ReferenceDepthOptions(SweepOptions):
    """The settings of `sweeps.reference_depth`."""

    objective: str = SOURCE_VAL
    study: str = "reference_depth"


@dataclass(frozen=True)
class SearchOptions(SweepOptions):
    """The settings of `sweeps.search`. prune_after: epochs in which no trial is pruned."""

    trials: int = 40
    objectives: tuple[str, ...] = (SOURCE_VAL,)
    study: str = "search"
    pruner: str = "auto"
    prune_after: int = 5


Options = TypeVar("Options", bound=SweepOptions)


def split_words(words: Sequence[str], kind: type[Options], refused: Mapping[str, str]) -> tuple[Options, list[str]]:
    """The sweep's own options, and the words for dg.train. refused: key -> why it cannot be set.

    Raises ConfigError.
    """
    kinds = {f.name: f.type for f in fields(kind)}
    known = [*kinds, *(f.name for f in fields(TrainConfig))]
    given, shared = {}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, got {word!r}; `--help` lists the keys")
        if key in refused:
            raise ConfigError(f"{key} cannot be set here: {refused[key]}")
        if key in kinds:
            given[key] = _typed(key, value, kinds[key])
        elif key.partition(".")[0] in known:
            shared.append(word)
        else:
            raise ConfigError(f"unknown key {key!r}{suggest(key, known)} `--help` lists the keys")
    return kind(**given), shared


def _typed(key: str, value: str, kind: object) -> object:
    if kind is str:
        return value
    many = kind is not int
    parts = [p.strip() for p in value.strip().removeprefix("[").removesuffix("]").split(",")] if many else [value]
    if kind == tuple[str, ...]:
        return tuple(parts)
    if not all(p.isascii() and p.isdigit() for p in parts):
        raise ConfigError(
            f"{key} must be {'whole numbers such as [0,1,2]' if many else 'a whole number'}, got {value!r}"
        )
    return tuple(map(int, parts)) if many else int(value)


def problems(options: SweepOptions) -> list[str]:
    """What makes no sweep, in words."""
    found = ["trials must be at least 1, got 0"] if options.trials < 1 else []
    if options.concurrency != "auto" and not (options.concurrency.isdecimal() and int(options.concurrency) > 0):
        found.append(f"concurrency must be at least 1, or auto, got {options.concurrency!r}")
    if options.service not in ("auto", "off"):
        found.append(f"service must be auto or off, got {options.service!r}")
    if len(set(options.seeds)) < len(options.seeds):
        found.append(f"seeds must differ, got {list(options.seeds)}")
    if not options.study or not all(c.isascii() and (c.isalnum() or c in "._-") for c in options.study):
        found.append(f"study must be a name of letters, digits, '.', '_' and '-', got {options.study!r}")
    return found


def pruner_of(options: SearchOptions, objectives: Sequence[Objective]) -> str:
    """`median`, `hyperband` or `off`. Raises ConfigError where what was asked for cannot be."""
    if options.pruner not in PRUNERS:
        raise ConfigError(f"pruner must be one of {list(PRUNERS)}, got {options.pruner!r}")
    why = "trials with two objectives are not ordered, so none can be called bad early" if len(objectives) > 1 else ""
    if objectives[0].unit == "s" and not why:
        why = "seconds are known only at the end of a run"
    if options.pruner in ("median", "hyperband") and why:
        raise ConfigError(f"pruner={options.pruner} is not possible here: {why}; use pruner=off")
    return options.pruner if options.pruner != "auto" else "off" if why else "median"


def trials_at_once(options: SweepOptions, config: TrainConfig) -> int:
    """`concurrency`; for auto as many as keep the render workers busy, 1 to 4 (SYSTEMS 3.3)."""
    if options.concurrency != "auto":
        return int(options.concurrency)
    if not config.needs_depth:
        return MOST_AT_ONCE
    capacity = config.render.actors * config.render.per_actor
    return min(MOST_AT_ONCE, max(1, math.ceil(capacity / config.render.lookahead)))
