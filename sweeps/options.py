"""The words that belong to a sweep, told apart from those that belong to its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from dg.config import ConfigError, TrainConfig
from dg.plugins import suggest
from sweeps.objective import SOURCE_VAL, Objective, parse_objective

_REFUSED = {
    "seed": "use seeds=[0,1,2], or seeds=[N] for one",
    "resume": "the same command again always goes on with the study",
    "tracking.parent_run_id": "the sweep makes the parent run",
    "tracking.run_name": "the trials are named after the study; use study=NAME",
}


@dataclass(frozen=True)
class SweepOptions:
    """The sweep's own settings."""

    trials: int = 12
    seeds: tuple[int, ...] = (0,)
    objective: str = SOURCE_VAL
    concurrency: int = 1
    study: str = "reference_depth"
    storage: str = "sqlite:///study.db"
    out: str = ""


def split_words(words: Sequence[str], parameter: str) -> tuple[SweepOptions, list[str]]:
    """The sweep's own options, and the words for dg.train. Raises ConfigError."""
    refused = {parameter: "the sweep chooses it; for one value use python -m dg.train"} | _REFUSED
    kinds = {f.name: f.type for f in fields(SweepOptions)}
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
    return SweepOptions(**given), shared


def _typed(key: str, value: str, kind: object) -> object:
    if kind is str:
        return value
    many = kind is not int
    parts = [p.strip() for p in value.strip().removeprefix("[").removesuffix("]").split(",")] if many else [value]
    if not all(p.isascii() and p.isdigit() for p in parts):
        raise ConfigError(
            f"{key} must be {'whole numbers such as [0,1,2]' if many else 'a whole number'}, got {value!r}"
        )
    return tuple(map(int, parts)) if many else int(value)


def check(options: SweepOptions, config: TrainConfig) -> Objective:
    """The objective. Raises ConfigError for settings that make no sweep."""
    found = [f"{n} must be at least 1, got 0" for n in ("trials", "concurrency") if getattr(options, n) < 1]
    if len(set(options.seeds)) < len(options.seeds):
        found.append(f"seeds must differ, got {list(options.seeds)}")
    if not options.study or not all(c.isascii() and (c.isalnum() or c in "._-") for c in options.study):
        found.append(f"study must be a name of letters, digits, '.', '_' and '-', got {options.study!r}")
    if config.dscale2d_resolved in ("off", "box"):
        found.append(
            f"dscale2d is {config.dscale2d_resolved} here, so d_ref changes nothing; use inputs=xyd, or dscale2d=focal "
            "or paper"
        )
    if found:
        raise ConfigError("\n".join(found))
    return parse_objective(options.objective, config.target_names)
