"""The cells of a grid: methods x lifters x inputs x frames x seeds as command lines of dg.train. Pure; loads no torch.

A name in a list may carry options after `?`, several joined by `&`: `poseda?parts=gpa`, `xyd?dscale2d=focal`. A
method's and a lifter's are the plug-in's own, an input's are dscale2d and the depth source with its options
(`xyd?depth=noisy_zbuffer&depth.shift_m=0.1`): everything else holds for every cell, so that all have one budget.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import product

from dg.grid.child_run import shared_words
from dg.settings.command_line import table_of
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import suggest

ADAPTATION = ("adapt_to", "adapt_part")  # for the methods alone that adapt
_INPUT_OPTIONS = ("dscale2d", "depth")
_REFUSED = {
    "method": "use methods=[erm,poseaug], with options as methods=[poseaug?feedback=...]",
    "lifter": "use lifters=[simple_baseline,...], with options as lifters=[simple_baseline?width=...]",
    "seed": "use seeds=[0,1,2], or seeds=[N] for one",
    "resume": "the same command again always goes on with the grid",
    "submit": "the grid runs its cells itself; start the grid on the cluster",
    "tracking.parent_run_id": "the grid makes the parent run",
    "tracking.run_name": "the runs are named after their cells",
}
_LONGEST_NAME = 48


@dataclass(frozen=True)
class Spec:
    """A name with options, as one entry of a list: `poseda?parts=gpa`."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def words(self, key: str, prefix: str) -> list[str]:
        """`key=NAME` and `prefixOPTION=VALUE` for each option, as dg.train takes them."""
        return [f"{key}={self.name}", *(f"{prefix}{option}={value}" for option, value in self.options)]

    @property
    def label(self) -> str:
        """What a folder and a run may be called: distinct for distinct options."""
        if not self.options:
            return self.name
        plain = "_".join([self.name, *(f"{k}={v}" for k, v in self.options)])
        if len(plain) <= _LONGEST_NAME and all(re.fullmatch(r"[A-Za-z0-9_.-]+", v) for _, v in self.options):
            return plain
        short = re.sub(r"[^A-Za-z0-9_.=-]+", "_", plain)
        digest = hashlib.blake2b(repr(self).encode(), digest_size=3).hexdigest()
        return f"{short[:_LONGEST_NAME]}_{digest}"

    def __str__(self) -> str:
        return self.name + ("?" + "&".join(f"{k}={v}" for k, v in self.options) if self.options else "")


@dataclass(frozen=True)
class GridOptions:
    """The grid's own settings."""

    methods: tuple[Spec, ...] = ()
    lifters: tuple[Spec, ...] = (Spec("simple_baseline"),)
    inputs: tuple[Spec, ...] = (Spec("xyd"),)
    frames: tuple[int, ...] = (1,)
    seeds: tuple[int, ...] = (0,)
    parallel: int = 0
    out: str = ""


@dataclass(frozen=True)
class Cell:
    """One run. words: for dg.train, all but the driver's own (folder, tracking, resume)."""

    method: Spec
    lifter: Spec
    inputs: Spec
    frames: int
    seed: int
    words: tuple[str, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Of its folder and of its run in MLflow."""
        window = "" if self.frames == 1 else f"-f{self.frames}"
        return f"{self.method.label}-{self.lifter.label}-{self.inputs.label}{window}-s{self.seed}"

    @property
    def title(self) -> str:
        """For people, as the command line has it."""
        return f"{self.kind_title} seed {self.seed}"

    @property
    def kind(self) -> tuple[Spec, Spec, Spec, int]:
        """What cells share that differ in their seed alone."""
        return self.method, self.lifter, self.inputs, self.frames

    @property
    def kind_title(self) -> str:
        """Of the kind, for people."""
        window = "" if self.frames == 1 else f" frames {self.frames}"
        return f"{self.method} {self.lifter} {self.inputs}{window}"


def split_words(words: Sequence[str]) -> tuple[GridOptions, list[str]]:
    """The grid's own options, and the words for every run. Raises ConfigError with every problem."""
    known = [f.name for f in fields(GridOptions)] + [f.name for f in fields(TrainConfig)]
    given: dict[str, object] = {}
    shared: list[str] = []
    found: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            found.append(f"expected key=value, got {word!r}; `--help` lists the keys")
        elif key in given:
            found.append(f"{key} is given twice")
        elif key in _OWN:
            try:
                given[key] = _OWN[key](key, value)
            except ConfigError as error:
                found.append(str(error))
        elif key in _REFUSED:
            found.append(f"{key} cannot be set here: {_REFUSED[key]}")
        elif key.partition(".")[0] in known:
            shared.append(word)
        else:
            found.append(f"unknown key {key!r}{suggest(key, known)} `--help` lists the keys")
    if found:
        raise ConfigError("\n".join(found))
    options = GridOptions(**given)  # type: ignore[arg-type]
    found = _problems(options, shared)
    if found:
        raise ConfigError("\n".join(found))
    return options, shared


def make_cells(options: GridOptions, shared: Sequence[str], adapting: frozenset[str]) -> list[Cell]:
    """Every cell, all of the first seed first: so a whole table stands after one seed. adapting: names of the methods
    that are domain adaptation. Raises ConfigError where they and `adapt_to` disagree.
    """
    _check_adaptation(options, shared, adapting)
    common = shared_words(shared, default_words(shared))
    blind = tuple(word for word in common if word.partition("=")[0] not in ADAPTATION)
    cells = []
    axes = (options.seeds, options.methods, options.lifters, options.inputs, options.frames)
    for seed, method, lifter, inputs, frames in product(*axes):
        own = [*method.words("method", "method."), *lifter.words("lifter", "lifter."), *inputs.words("inputs", "")]
        words = (*(common if method.name in adapting else blind), *own, f"frames={frames}", f"seed={seed}")
        cells.append(Cell(method, lifter, inputs, frames, seed, words))
    return cells


def default_words(shared: Sequence[str]) -> dict[str, str]:
    """What a cell is told where the words do not say how to run it: one process of one thread, or on the Ray cluster
    whose address they give.
    """
    given = dict(word.split("=", 1) for word in shared)
    fitting = {"pool": "ray" if given.get("address") else "local", "threads": "1"}
    return {key: value for key, value in fitting.items() if key not in given}


# -- lists ----------------------------------------------------------------------------------------------------------


def parse_list(value: str) -> list[str]:
    """`[a,b?x=[1,2]]` as `["a", "b?x=[1,2]"]`: commas within brackets and quotes do not part entries."""
    inner = value.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    return [part.strip() for part in _split(inner, ",")]


def parse_spec(text: str) -> Spec:
    """`poseda?parts=gpa&warmup=3` as a Spec. Raises ConfigError for options that are none."""
    name, mark, rest = text.partition("?")
    pairs = [part.partition("=") for part in _split(rest, "&")] if mark else []
    wrong = [f"{k}{e}{v}" for k, e, v in pairs if not (re.fullmatch(r"\w+(\.\w+)?", k) and e and v)]
    if wrong or not re.fullmatch(r"\w+", name):
        raise ConfigError(f"expected NAME or NAME?OPTION=VALUE&OPTION=VALUE, got {text!r}")
    repeated = [k for k, n in Counter(k for k, _, _ in pairs).items() if n > 1]
    if repeated:
        raise ConfigError(f"{text!r} gives {repeated} twice")
    return Spec(name, tuple((k, v) for k, _, v in pairs))


def _split(text: str, separator: str) -> list[str]:
    parts, depth, quote, begin = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        elif letter == separator and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]


def _specs(key: str, value: str) -> tuple[Spec, ...]:
    specs = tuple(parse_spec(part) for part in parse_list(value))
    repeated = [str(s) for s, n in Counter(specs).items() if n > 1]
    if repeated:
        raise ConfigError(f"{key} must differ, got {repeated} more than once")
    return specs


def _numbers(key: str, value: str) -> tuple[int, ...]:
    parts = parse_list(value)
    if not all(p.isascii() and p.isdigit() for p in parts):
        raise ConfigError(f"{key} must be whole numbers such as [0,1,2], got {value!r}")
    if len({int(p) for p in parts}) < len(parts):
        raise ConfigError(f"{key} must differ, got {value!r}")
    return tuple(map(int, parts))


def _count(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ConfigError(f"{key} must be a whole number, or 0 for as many as fit, got {value!r}")
    return int(value)


def _text(key: str, value: str) -> str:
    return value


_OWN = {
    "methods": _specs,
    "lifters": _specs,
    "inputs": _specs,
    "frames": _numbers,
    "seeds": _numbers,
    "parallel": _count,
    "out": _text,
}


# -- what makes no sense ----------------------------------------------------------------------------------------------


def _problems(options: GridOptions, shared: Sequence[str]) -> list[str]:
    if not options.methods:
        return [f"say which methods to compare: methods=[erm,...]; known: {sorted(table_of('method'))}"]
    found = []
    for key, table in (("method", table_of("method")), ("lifter", table_of("lifter"))):
        for spec in getattr(options, f"{key}s"):
            if spec.name not in table:
                found.append(f"unknown {key} {spec.name!r}; known: {sorted(table)}{suggest(spec.name, list(table))}")
    for spec in options.inputs:
        wrong = [option for option, _ in spec.options if option.partition(".")[0] not in _INPUT_OPTIONS]
        found += [f"inputs {str(spec)!r}: it may carry {list(_INPUT_OPTIONS)}, not {option!r}" for option in wrong]
    return found + _given_twice(options, {word.partition("=")[0] for word in shared})


def _given_twice(options: GridOptions, shared: set[str]) -> list[str]:
    lists = (("method.", options.methods), ("lifter.", options.lifters), ("", options.inputs))
    return [
        f"{prefix}{option} is given for every run and again with {str(spec)!r}; give it once"
        for prefix, specs in lists
        for spec in specs
        for option, _ in spec.options
        if f"{prefix}{option}" in shared
    ]


def _check_adaptation(options: GridOptions, shared: Sequence[str], adapting: frozenset[str]) -> None:
    given = {word.partition("=")[0] for word in shared}
    methods = sorted({m.name for m in options.methods if m.name in adapting})
    if methods and "adapt_to" not in given:
        raise ConfigError(
            f"{methods} are domain adaptation: say whose 2D poses they may see, adapt_to=NAME:ARGUMENT "
            "(the other methods do not get it)"
        )
    idle = [key for key in ADAPTATION if key in given]
    if idle and not methods:
        raise ConfigError(f"{idle} are for domain adaptation, and none of the methods adapts; leave them out")
