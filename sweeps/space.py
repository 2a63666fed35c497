"""What a sweep may choose: for each key of dg.train a range of numbers, or a list of words.

lr=log:1e-4..1e-2           every scale alike       epochs=5..30             whole numbers
d_ref=3.5..6.0              any number between      lifter.width=128..512:64 in steps of 64
method=erm|poseaug          one of these            lifter.width=[256, 512]  the same, as YAML spells it
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.settings.config import ConfigError

if TYPE_CHECKING:
    import optuna

Value = float | int | str
HOW = "expected LOW..HIGH, LOW..HIGH:STEP, log:LOW..HIGH or A|B|C"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included.

    Attributes:
        step: distance of the numbers; None for any number between.
        log: whether numbers are drawn uniformly in the logarithm.
        whole: whether they are integers.

    Raises:
        ValueError: a range that holds no two numbers, or that cannot be sampled.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"the low end must be below the high end, got {self.low:g} and {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log: needs numbers above 0 and takes no step")
        if self.step is not None:
            steps = (self.high - self.low) / self.step if self.step > 0 else 0.0
            if steps < 1 or abs(steps - round(steps)) > _ROUNDING * max(1.0, steps):
                raise ValueError(f"whole steps must lead from {self.low:g} to {self.high:g}, got {self.step:g}")

    def suggest(self, trial: "optuna.Trial", name: str) -> Value:
        """Ask Optuna."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def tidy(self, value: Value) -> Value:
        """As it is trained with and reported: rounded to a number that can be read, and still in the range."""
        if self.whole:
            return round(float(value))
        rounded = round(float(value), 10) if self.step else float(f"{value:.6g}")
        return min(max(rounded, self.low), self.high)

    def holds(self, value: object) -> bool:
        """Return whether the value is a number in the closed range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def edges(self) -> tuple[Value, ...]:
        """What must be valid for the whole range to be."""
        return self.tidy(self.low), self.tidy(self.high)

    def __str__(self) -> str:
        ends = "..".join(repr(self.tidy(end)) for end in (self.low, self.high))
        return ("log:" if self.log else "") + ends + (f":{self.step:g}" if self.step else "")


@dataclass(frozen=True)
class Choice:
    """One of some words, as the command line spells them. Raises ValueError for fewer than two different ones."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.words) < 2 or len(set(self.words)) < len(self.words) or not all(self.words):
            raise ValueError(f"a choice needs two or more words that differ, got {list(self.words)}")

    def suggest(self, trial: "optuna.Trial", name: str) -> Value:
        """Ask Optuna."""
        return trial.suggest_categorical(name, self.words)

    def tidy(self, value: Value) -> Value:
        """Return the word unchanged."""
        return value

    def holds(self, value: object) -> bool:
        """Return whether the value is one of the words."""
        return value in self.words

    def edges(self) -> tuple[Value, ...]:
        """Return every word: none of them stands for another."""
        return self.words

    def __str__(self) -> str:
        return "|".join(self.words)


Parameter = Range | Choice


@dataclass(frozen=True)
class Space:
    """The parameters by key. The anchors are tried first, whatever the sampler does."""

    parameters: Mapping[str, Parameter]
    anchors: tuple[Mapping[str, Value], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of the parameters, in their order."""
        return tuple(self.parameters)

    def suggest(self, trial: "optuna.Trial") -> None:
        """Have Optuna settle every parameter of a trial."""
        for name, parameter in self.parameters.items():
            parameter.suggest(trial, name)

    def tidy(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Optuna's values as the runs take them, in the order of the space."""
        return {name: p.tidy(params[name]) for name, p in self.parameters.items() if name in params}

    def described(self) -> dict[str, str]:
        """Each parameter in words, as `read_space` takes it."""
        return {name: str(parameter) for name, parameter in self.parameters.items()}


def args_of(params: Mapping[str, Value]) -> list[str]:
    """A trial's parameters as arguments of dg.train; a plug-in's name before its options."""
    ordered = sorted(params.items(), key=lambda item: "." in item[0])
    return [f"{name}={value if isinstance(value, str) else repr(value)}" for name, value in ordered]


def read_space(args: Sequence[str]) -> dict[str, Parameter]:
    """The parameters that arguments such as `space.lr=log:1e-4..1e-2` or `space=FILE.yaml` describe.

    A later one wins over an earlier one. Raises ConfigError.
    """
    found: dict[str, Parameter] = {}
    for arg in args:
        key, _, value = arg.partition("=")
        given = {key.removeprefix("space."): value} if key.startswith("space.") else _read_yaml(value)
        for name, text in given.items():
            found[name] = _parameter(name, text)
    if not found:
        raise ConfigError(f"nothing to search: give space.KEY=... or space=FILE.yaml; {HOW}")
    return found


def _read_yaml(value: str) -> dict[str, Any]:
    """`{lr: ..., method: [...]}` itself, or a file that holds it. All scalars stay as they are spelled."""
    import yaml

    from dg.files.strict_yaml import load_yaml

    source = value
    if not value.startswith("{"):
        path = Path(value)
        if not path.is_file():
            raise ConfigError(f"space must be a YAML file, or {{KEY: RANGE, ...}}, got {value!r}: no such file")
        source = path.read_text()
    try:
        tree = load_yaml(source, texts_only=True)
    except yaml.YAMLError as error:
        raise ConfigError(f"space: {value!r} is no YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"space: {value!r} must map keys to ranges, such as lr: log:1e-4..1e-2")
    return _flat(tree)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _parameter(name: str, text: object) -> Parameter:
    try:
        if isinstance(text, str) and text.startswith("[") and text.endswith("]"):
            text = [part.strip() for part in text[1:-1].split(",")]
        if isinstance(text, list) and all(isinstance(word, str) for word in text):
            return Choice(tuple(text))
        if not isinstance(text, str):
            raise ValueError(f"{HOW}, got {text!r}")
        return Choice(tuple(text.split("|"))) if "|" in text else _range(text)
    except ValueError as error:
        raise ConfigError(f"space.{name}: {error}") from error


def _range(text: str) -> Range:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{HOW}, got {text!r}")
    log, *numbers = match.groups()
    given = [n for n in numbers if n is not None]
    whole = all(re.fullmatch(r"[+-]?\d+", n) for n in given)
    return Range(float(given[0]), float(given[1]), float(given[2]) if len(given) > 2 else None, bool(log), whole)
