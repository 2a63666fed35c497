"""`python -m dg.analyse NAME CHECKPOINT... [key=value ...]`: look closer at what trained lifters do.

CHECKPOINT is a best.pt or checkpoint-STEP.pt of dg.train, or the folder of its run; several are compared side by side,
changes counted from the first. Prints tables, writes CSV, JSON and PNG, and adds them to the checkpoints' MLflow runs.
What rests on ground truth is said to. `NAME --help` shows the options of one.

options of all (key=default):
  targets=               test sets, [NAME:ARGUMENT,...]; empty: those of the checkpoints' runs
  labels=                names of the checkpoints, [a,b]; empty: their folders
  weights=auto           in a run's folder: best (by source validation) | last; auto: best where there is one
  metric=mpjpe_mm        mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm
  out=                   folder for the files; empty: runs/analyses/NAME
  tracking_uri=          MLflow store of the runs; empty: that of their training; off: log nothing
  device=auto            auto | cpu | cuda
  cache=                 folder of drawn depth; empty: that of the runs; off: draw anew

exit codes: 0 done, 2 wrong option, 3 no such device, 4 a checkpoint or data set that cannot serve
"""

import ast
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from dg.analyse import ANALYSES
from dg.settings.command_line import fail
from dg.settings.plugins import OptionError, make_options, resolve, suggest

if TYPE_CHECKING:
    from dg.analyse.base import Analysis, Comparison

WRONG_OPTION = 2
METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm")
WEIGHTS = ("auto", "best", "last")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """What every analysis takes."""

    targets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    weights: str = "auto"
    metric: str = "mpjpe_mm"
    out: str = ""
    tracking_uri: str = ""
    device: str = "auto"
    cache: str = ""

    def __post_init__(self) -> None:
        for name, known in (("metric", METRICS), ("weights", WEIGHTS), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
        wrong = [t for t in self.targets if ":" not in t]
        if wrong:
            raise ValueError(f"targets must be NAME:ARGUMENT each, such as npz:FILE, got {wrong}")


class _Common:
    """So that `make_options` checks the settings too."""

    Options = Settings


def main(words: Sequence[str]) -> int:
    """Run one analysis; returns the exit code."""
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0 if words else WRONG_OPTION
    name, rest = words[0], list(words[1:])
    from dg.settings.exit_codes import exit_code

    try:
        plugin = resolve(ANALYSES, "analysis", name)
        if {"-h", "--help"} & set(rest):
            sys.stdout.write(help_of(name, plugin))
            return 0
        paths, settings, analysis = parse(name, plugin, rest)
        analyse(name, analysis, paths, settings)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    return 0


def parse(name: str, plugin: type[Any], words: Sequence[str]) -> "tuple[list[Path], Settings, Analysis]":
    """Checkpoints, common settings, and the analysis with its options. Raises OptionError."""
    from dg.datasets.check import options_of

    paths = [Path(w) for w in words if "=" not in w or Path(w).exists()]
    options = [w for w in words if Path(w) not in paths]
    given = options_of(options)
    if not paths:
        raise OptionError(f"which checkpoints? python -m dg.analyse {name} runs/FOLDER/best.pt [...]")
    common, own = [f.name for f in fields(Settings)], [f.name for f in fields(plugin.Options)]
    unknown = [key for key in given if key not in (*common, *own)]
    if unknown:
        known = [*own, *common]
        raise OptionError(f"unknown option {unknown[0]!r} of {name}; it takes {known}{suggest(unknown[0], known)}")
    kinds = {f.name: f.type for f in (*fields(Settings), *fields(plugin.Options))}
    for key, _, text in (word.partition("=") for word in options):
        if kinds[key] is str:
            given[key] = text  # YAML would make a truth value of `off`
        elif get_origin(kinds[key]) is tuple and isinstance(given[key], str):
            given[key] = [given[key]]  # one needs no brackets
    settings = make_options(_Common, "analysis", name, {k: v for k, v in given.items() if k in common})
    if settings.labels and len(set(settings.labels)) != len(paths):
        raise OptionError(f"labels must name each checkpoint: {len(paths)} checkpoints, labels {list(settings.labels)}")
    return paths, settings, plugin(make_options(plugin, "analysis", name, {k: v for k, v in given.items() if k in own}))


def analyse(name: str, analysis: "Analysis", paths: Sequence[Path], settings: Settings) -> "Comparison":
    """Load the checkpoints, look at them, print, write and log. Raises as the parts do."""
    from rich.console import Console

    from dg.analyse.base import Comparison
    from dg.analyse.checkpoints import TrainedRun, run_labels
    from dg.analyse.output import facts_of, log_files, print_findings, write_files

    console = Console()
    labels = settings.labels or run_labels(paths)
    folder = Path(settings.out or f"runs/analyses/{name}")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(closing(TrainedRun(path, label, settings.weights, settings.device, settings.cache)))
            for path, label in zip(paths, labels, strict=True)
        ]
        targets = settings.targets or tuple(dict.fromkeys(t for run in runs for t in run.config.target_names))
        comparison = Comparison(runs, targets, settings.metric)
        findings = analysis.run(comparison)
    print_findings(findings, console)
    files = write_files(findings, facts_of(name, analysis.options, comparison), folder)
    console.print(f"written to {folder}: {', '.join(f.name for f in files)}", highlight=False, markup=False)
    outcomes = [log_files(run, settings.tracking_uri, f"analyses/{name}", files) for run in comparison.runs]
    for outcome in dict.fromkeys(outcomes):
        console.print(outcome, highlight=False, markup=False)
    return comparison


def help_text() -> str:
    """Usage and the analyses with what they do; loads none of them."""
    lines = [f"  {name:<15} {first_line(name)}" for name in ANALYSES]
    return f"{__doc__}\nanalyses:\n" + "\n".join(lines) + "\n"


def help_of(name: str, plugin: type[Any]) -> str:
    """One analysis: what it is, and its own options."""
    module = sys.modules[plugin.__module__]
    options = [f"  {f.name}={f.default}" for f in fields(plugin.Options)] or ["  none"]
    said = "\n".join(line.strip() for line in (plugin.Options.__doc__ or "").splitlines())
    return (
        f"{name}: {module.__doc__}\nits own options (beside those of all):\n" + "\n".join([*options, "", said]) + "\n"
    )


def first_line(name: str) -> str:
    """The first sentence of an analysis's file, read without importing it, which would load torch."""
    spec = find_spec(ANALYSES[name].partition(":")[0])
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
