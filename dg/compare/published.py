"""The papers' own numbers: 880 of them, each with its source, and what their words mean in our terms.

`published_results.yaml` is a transcription: one entry a number, in the papers' words. `published_protocols.yaml`
says what those words mean (METHODS 2.7, 3, 4, 5, 7); what a paper does not state stays unknown.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from dg.datasets.protocols import BENCHMARKS, Protocol

RESULTS, MEANINGS = "published_results.yaml", "published_protocols.yaml"
ANY_LIFTER = "*"
TEXTS = ("id", "paper", "where", "train", "test", "protocol", "input_2d", "lifter", "method", "metric", "unit")
UNITS = ("mm", "percent", "m", "bins", "ms", "epochs", "s", "h", "GB")


class PublishedError(ValueError):
    """An entry of the shipped files that is malformed. The message names it."""


@dataclass(frozen=True)
class Meaning:
    """An entry in our terms; None or empty where the paper does not say or we have no such thing.

    Attributes:
        metric: name of the metric in `dg.evaluation.metrics`.
        method: our plug-in of the method.
        inputs: our name of its input channels.
        dscale2d: the scale normalisation of its 2D input.
        lifter: our plug-in of the lifter, `*` for one that is not stated.
        lifter_frames: length of the lifter's window.
        source_2d_train: source of the 2D poses in training.
        regime: `DG`, `DA` or `supervised`.
        selection: `oracle` or empty.
        adapted_to: the data set whose 2D was seen, where it is not the test's.
    """

    protocol: Protocol
    regime: str
    train: str
    metric: str | None = None
    source_2d_train: str | None = None
    method: str | None = None
    inputs: str = "xy"
    dscale2d: str = "off"
    lifter: str | None = None
    lifter_frames: int = 1
    selection: str = ""
    adapted_to: str = ""

    @property
    def adaptation(self) -> str:
        """Whose 2D a domain-adaptation method saw; no paper says which part of it."""
        target = self.adapted_to or self.protocol.dataset
        return f"{target}, train or test not stated" if self.regime == "DA" else ""


@dataclass(frozen=True)
class PublishedResult:
    """One number of a paper, in the paper's words.

    Attributes:
        cited: whether the paper quotes it from another work.
    """

    id: str
    paper: str
    where: str
    train: str
    test: str
    protocol: str
    input_2d: str
    lifter: str
    method: str
    metric: str
    value: float
    unit: str
    cited: bool
    note: str = ""
    meaning: Meaning = field(default_factory=lambda: Meaning(Protocol(), "DG", ""), compare=False)

    @property
    def source(self) -> str:
        """Where to look it up, in short, with how its epoch was chosen."""
        quoted = "quoted in " if self.cited else ""
        chosen = "ORACLE selection" if self.meaning.selection == "oracle" else "selection not stated"
        return f"{quoted}{self.short_paper}, {self.place}; {chosen}"

    @property
    def short_paper(self) -> str:
        """The paper's name without the venue and year in parentheses."""
        return self.paper.partition(" (")[0]

    @property
    def place(self) -> str:
        """`Table 7`, without remarks; a file by what it is."""
        return "notebook" if self.where.endswith(".ipynb") else self.where.partition(" (")[0]


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """Every entry, read safely and checked. Raises PublishedError naming an entry that does not fit."""
    document = _read(RESULTS)
    entries = document.get("results", [])
    if document.get("count") != len(entries):
        raise PublishedError(f"{RESULTS} says count: {document.get('count')}, but holds {len(entries)} entries")
    meanings = _read(MEANINGS)
    results = [replace(made, meaning=_meaning(made, meanings)) for made in map(check_entry, entries)]
    twice = [name for name, count in Counter(r.id for r in results).items() if count > 1]
    if twice:
        raise PublishedError(f"{RESULTS}: ids must be unique, got {twice} more than once")
    return tuple(results)


def check_entry(entry: Mapping[str, Any]) -> PublishedResult:
    """One entry as read from the file. Raises PublishedError naming it, the key and what was expected."""
    name = entry.get("id", entry)
    expected = {*TEXTS, "value", "cited"}
    if not expected <= entry.keys() <= expected | {"note"}:
        raise PublishedError(f"entry {name}: expected keys {sorted(expected)} and maybe note, got {sorted(entry)}")
    for key in TEXTS:
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise PublishedError(f"entry {name}: {key} must be a text, got {entry[key]!r}")
    if isinstance(entry["value"], bool) or not isinstance(entry["value"], int | float):
        raise PublishedError(f"entry {name}: value must be a number, got {entry['value']!r}")
    if not isinstance(entry["cited"], bool) or entry["unit"] not in UNITS:
        raise PublishedError(f"entry {name}: cited must be true or false and unit one of {list(UNITS)}")
    return PublishedResult(**entry)


def _meaning(entry: PublishedResult, meanings: Mapping[str, Any]) -> Meaning:
    if entry.input_2d not in meanings["input_2d"]:
        raise PublishedError(f"entry {entry.id}: {MEANINGS} does not know its input_2d {entry.input_2d!r}")
    two_d = meanings["input_2d"][entry.input_2d]
    ruled: dict[str, Any] = {"source_2d": two_d["test"]}
    for rule in meanings["rules"]:
        if all(fnmatchcase(str(getattr(entry, key)), pattern) for key, pattern in rule["of"].items()):
            ruled |= _benchmark_fields(rule["sets"])
    method = meanings["method"].get(entry.method, {})
    lifter = meanings["lifter"].get(method.get("lifter", entry.lifter), {})
    ours = {key: ruled.pop(key) for key in ("regime", "selection", "adapted_to") if key in ruled}
    return Meaning(
        protocol=Protocol(**ruled),
        train=meanings["train"].get(entry.train, entry.train),
        metric=meanings["metric"].get(entry.metric),
        source_2d_train=two_d["train"],
        method=method.get("name"),
        inputs=method.get("inputs", "xy"),
        dscale2d=method.get("dscale2d", "off"),
        lifter=lifter.get("name"),
        lifter_frames=lifter.get("frames", 1),
        **ours,
    )


def _benchmark_fields(sets: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule sets, its benchmark spelled out; the 2D source and the depth are the entry's own."""
    found = dict(sets)
    if "benchmark" in found:
        benchmark = BENCHMARKS[found.pop("benchmark")]
        spelled = ("dataset", "flavour", "frames", "joints", "tta", "norm")
        found = {name: getattr(benchmark, name) for name in spelled} | found
    return found


def _read(name: str) -> Mapping[str, Any]:
    """A shipped YAML file, through the loader that builds nothing but plain values."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(files("dg.compare").joinpath(name).read_text(encoding="utf-8"), Loader=loader)
