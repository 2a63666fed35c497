"""The cells of a grid: sources x methods x lifters x inputs x frames x seeds as command lines of dg.train. Pure; loads
no torch.

A name in a list may carry options after `?`, several joined by `&`: `poseda?parts=gpa`, `xyd?dscale2d=focal`. A
source's, a method's and a lifter's are the plug-in's own, an input's are dscale2d with its d_ref and f_ref, and the
depth source with its options (`xyd?depth=noisy_zbuffer&depth.shift_m=0.1`): everything else holds for every cell, so
that all have one budget.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from dg.grid.child_run import read_with_train, with_own
from dg.settings.command_line import table_of
from dg.settings.config import GROUPS, CountOrZero
from dg.settings.errors import ConfigError
from dg.settings.reader import split_args, split_outside, suggest
from dg.settings.recipes import load_recipe, with_recipe

ADAPTATION = ("adapt_to", "adapt_part")  # for the methods alone that adapt
_INPUT_OPTIONS = ("dscale2d", "d_ref", "f_ref", "depth")
REFUSED = {
    "method": "use methods=[erm,poseaug], with options as methods=[poseaug?feedback=...]",
    "lifter": "use lifters=[simple_baseline,...], with options as lifters=[simple_baseline?width=...]",
    "seed": "use seeds=[0,1,2], or seeds=[N] for one",
    "resume": "the same command again always resumes the grid",
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

    def args(self, key: str, prefix: str) -> list[str]:
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
    """The grid's own settings. Raises ConfigError for lists that name one thing twice, and for specs that are none."""

    methods: tuple[str, ...] = ()  # to compare, with options after a ?: 'methods=[erm,poseaug?feedback=eval&b=2]'
    lifters: tuple[str, ...] = ("simple_baseline",)  # likewise
    inputs: tuple[str, ...] = ("xyd",)  # what the lifter sees (inputs of dg train); each may carry dscale2d, d_ref,
    # f_ref and the depth source: 'inputs=[xy,xyd?dscale2d=focal,xyd?depth=noisy_zbuffer&depth.shift_m=0.1]'
    frames: tuple[int, ...] = (1,)  # lengths of the windows that the lifters see
    sources: tuple[str, ...] = ()  # what is trained on, with the data set's options after a ?: each makes a table of
    # its own; empty: data= of every run. 'sources=[h36m?root=DIR,fit3d?root=DIR]'
    seeds: tuple[CountOrZero, ...] = (0,)  # runs of each; tables show mean and standard deviation over them
    parallel: CountOrZero = 0  # runs at once; 0: as many as the machine carries, at least 1. With pool=local (the
    # default here) that is cores / threads, no more than memory allows (2 GiB a run) and four to a GPU; with
    # address=... the cluster's CPUs / (1 + render.actors), and its GPUs likewise
    out: str = ""  # folder of the grid; empty: the newest runs/grid-* of these very cells, else runs/grid-TIME

    def __post_init__(self) -> None:
        for key in ("methods", "lifters", "inputs", "frames", "seeds", "sources"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ConfigError(f"{key} must differ, got {list(values)}")
        for key in ("methods", "lifters", "inputs", "sources"):
            parse_specs(getattr(self, key))


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        args: arguments of dg.train, all but the driver's own (folder, tracking, resume).
    """

    method: Spec
    lifter: Spec
    inputs: Spec
    frames: int
    seed: int
    args: tuple[str, ...] = field(repr=False)
    source: Spec | None = None

    @property
    def name(self) -> str:
        """Of its folder and of its run in MLflow."""
        window = "" if self.frames == 1 else f"-f{self.frames}"
        source = "" if self.source is None else f"{self.source.label}-"
        return f"{source}{self.method.label}-{self.lifter.label}-{self.inputs.label}{window}-s{self.seed}"

    @property
    def title(self) -> str:
        """For people, as the command line has it."""
        return f"{self.kind_title} seed {self.seed}"

    @property
    def kind(self) -> "Kind":
        """What cells share that differ in their seed alone."""
        return self.source, self.method, self.lifter, self.inputs, self.frames

    @property
    def kind_title(self) -> str:
        """Of the kind, for people."""
        window = "" if self.frames == 1 else f" frames {self.frames}"
        source = "" if self.source is None else f"{self.source} "
        return f"{source}{self.method} {self.lifter} {self.inputs}{window}"


Kind = tuple[Spec | None, Spec, Spec, Spec, int]


def read_grid(args: Sequence[str]) -> tuple[GridOptions, list[str]]:
    """The grid's own settings, and the arguments of every run. Raises ConfigError with every problem."""
    _, pairs = split_args(args)
    recipes = {name for key, name in pairs if key == "recipe" and name}
    if any(load_recipe(name).command == "grid" for name in recipes):
        pairs = with_recipe(pairs, list(GROUPS), "grid")
    options, shared = read_with_train(GridOptions, [f"{key}={value}" for key, value in pairs], REFUSED)
    check_grid(options, shared)
    return options, shared


def make_cells(options: GridOptions, shared: Sequence[str], adapting: frozenset[str]) -> list[Cell]:
    """Return every cell of the grid, all of the first seed first, so that a whole table stands after one seed.

    Args:
        options: the grid's own settings.
        shared: arguments of every run, `key=value` each.
        adapting: names of the methods that are domain adaptation.

    Raises:
        ConfigError: these methods and `adapt_to` disagree.
    """
    _check_adaptation(options, shared, adapting)
    common = with_own(shared, default_args(shared))
    blind = tuple(without_adaptation(common))
    cells = []
    methods, lifters, inputs_of = map(parse_specs, (options.methods, options.lifters, options.inputs))
    sources: list[Spec | None] = [*parse_specs(options.sources)] or [None]
    for seed, source, method, lifter, inputs, frames in product(
        options.seeds, sources, methods, lifters, inputs_of, options.frames
    ):
        trained_on = [] if source is None else source.args("data", "data.")
        plugins = [*method.args("method", "method."), *lifter.args("lifter", "lifter.")]
        own = [*trained_on, *plugins, *inputs.args("inputs", "")]
        args = (*(common if method.name in adapting else blind), *own, f"frames={frames}", f"seed={seed}")
        cells.append(Cell(method, lifter, inputs, frames, seed, args, source))
    return cells


def without_adaptation(words: Iterable[str]) -> list[str]:
    """The arguments that methods get which adapt to no target."""
    return [word for word in words if word.partition("=")[0] not in ADAPTATION]


def default_args(shared: Sequence[str]) -> dict[str, str]:
    """What a cell is told where the arguments do not say how to run it: one process of one thread, or on the Ray
    cluster whose address they give.
    """
    given = dict(arg.split("=", 1) for arg in shared)
    fitting = {"pool": "ray" if given.get("address") else "local", "threads": "1"}
    return {key: value for key, value in fitting.items() if key not in given}


def parse_spec(text: str) -> Spec:
    """`poseda?parts=gpa&warmup=3` as a Spec. Raises ConfigError for options that are none."""
    name, mark, rest = text.partition("?")
    pairs = [part.partition("=") for part in split_outside(rest, "&")] if mark else []
    wrong = [f"{k}{e}{v}" for k, e, v in pairs if not (re.fullmatch(r"\w+(\.\w+)?", k) and e and v)]
    if wrong or not re.fullmatch(r"\w+", name):
        raise ConfigError(f"expected NAME or NAME?OPTION=VALUE&OPTION=VALUE, got {text!r}")
    repeated = [k for k, n in Counter(k for k, _, _ in pairs).items() if n > 1]
    if repeated:
        raise ConfigError(f"{text!r} gives {repeated} twice")
    return Spec(name, tuple((k, v) for k, _, v in pairs))


def parse_specs(texts: Sequence[str]) -> list[Spec]:
    """Each entry of a list as a Spec. Raises ConfigError."""
    return [parse_spec(text) for text in texts]


# -- what makes no sense ----------------------------------------------------------------------------------------------


def check_grid(options: GridOptions, shared: Sequence[str]) -> None:
    """Check the names and options of a grid.

    Args:
        options: the grid's own settings.
        shared: arguments of every run, `key=value` each.

    Raises:
        ConfigError: names that no plug-in has, or options that are given twice; with every problem, one a line.
    """
    if not options.methods:
        raise ConfigError(f"say which methods to compare: methods=[erm,...]; known: {sorted(table_of('method'))}")
    found = []
    for key, field_name in (("method", "methods"), ("lifter", "lifters"), ("data", "sources")):
        table = table_of(key)
        for spec in parse_specs(getattr(options, field_name)):
            if spec.name not in table:
                found.append(f"unknown {key} {spec.name!r}; known: {sorted(table)}{suggest(spec.name, table)}")
    for spec in parse_specs(options.inputs):
        wrong = [option for option, _ in spec.options if option.partition(".")[0] not in _INPUT_OPTIONS]
        found += [f"inputs {str(spec)!r}: it may carry {list(_INPUT_OPTIONS)}, not {option!r}" for option in wrong]
    given = {arg.partition("=")[0] for arg in shared}
    twice = sorted(key for key in given if key.partition(".")[0] == "data") if options.sources else []
    found += [f"sources= says what is trained on; leave {', '.join(twice)} out"] if twice else []
    found += _given_twice(options, given)
    if found:
        raise ConfigError("\n".join(found))


def _given_twice(options: GridOptions, shared: set[str]) -> list[str]:
    lists = (("method.", options.methods), ("lifter.", options.lifters), ("", options.inputs))
    return [
        f"{prefix}{option} is given for every run and again with {str(spec)!r}; give it once"
        for prefix, specs in lists
        for spec in parse_specs(specs)
        for option, _ in spec.options
        if f"{prefix}{option}" in shared
    ]


def _check_adaptation(options: GridOptions, shared: Sequence[str], adapting: frozenset[str]) -> None:
    given = {arg.partition("=")[0] for arg in shared}
    methods = sorted({m.name for m in parse_specs(options.methods)} & adapting)
    if methods and "adapt_to" not in given:
        raise ConfigError(
            f"{methods} are domain adaptation: say whose 2D poses they may see, adapt_to=NAME:ARGUMENT "
            "(the other methods do not get it)"
        )
    idle = [key for key in ADAPTATION if key in given]
    if idle and not methods:
        raise ConfigError(f"{idle} are for domain adaptation, and none of the methods adapts; leave them out")
