"""`dg analyse NAME CHECKPOINT... [key=value ...]`: look closer at what trained lifters do."""

import ast
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dg.analyse import ANALYSES
from dg.settings.command import Command, run_command
from dg.settings.errors import DATA, RESOURCES, ConfigError
from dg.settings.plugins import make_options, resolve, suggest
from dg.settings.reader import build, keys, split_args, to_tree
from dg.tracking.names import Metric

if TYPE_CHECKING:
    from dg.analyse.base import Analysis, Comparison

_MOST_PRINTED = 60  # lines of a table; longer tables stand in their files alone


@dataclass(frozen=True)
class AnalyseOptions:
    """What every analysis takes. Raises ConfigError for a target that is no NAME:ARGUMENT."""

    targets: tuple[str, ...] = ()  # test sets, NAME:ARGUMENT each; empty: those of the checkpoints' runs, if they
    # read no files
    places: tuple[str, ...] = ()  # files that a checkpoint names and that may be opened: [data.root=DIR,body.path=FILE]
    labels: tuple[str, ...] = ()  # names of the checkpoints; empty: their folders
    weights: Literal["auto", "best", "last"] = "auto"  # of a run's folder: best by source validation, or last; auto:
    # best where there is one
    metric: Metric = "mpjpe_mm"
    out: str = ""  # folder for the files; empty: runs/analyses/NAME
    tracking_uri: str = ""  # MLflow store of the runs; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; off: none
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache: str = ""  # folder of drawn depth; empty: .cache/depth; off: draw anew
    data_checks: Literal["", "refuse", "warn"] = ""  # where data are not what they say; empty: as the runs

    def __post_init__(self) -> None:
        wrong = [t for t in self.targets if ":" not in t]
        if wrong:
            raise ConfigError(f"targets must be NAME:ARGUMENT each, such as npz:FILE, got {wrong}")


COMMAND = Command(
    name="analyse",
    about="""Look closer at what trained lifters do. CHECKPOINT is a best.pt or checkpoint-STEP.pt of dg train, or the
folder of its run; several are compared side by side, changes counted from the first. Prints tables, writes CSV, JSON
and PNG, and adds them to the checkpoints' MLflow runs. What rests on ground truth is said to.

`dg analyse NAME --help` shows the keys of one analysis. NAME is one of:""",
    settings=AnalyseOptions,
    usage="NAME CHECKPOINT... [key=value ...]",
    names=lambda: [(name, first_line(name)) for name in ANALYSES],
    codes=(RESOURCES, DATA),
    needs=True,
    examples=("dg analyse occlusion runs/mine runs/other", "dg analyse tail runs/mine targets=npz:FILE"),
)


def main(args: Sequence[str]) -> int:
    """Run one analysis; returns the exit code."""
    name = args[0] if args and args[0] in ANALYSES else ""
    if name and {"-h", "--help"} & set(args):
        from dg.settings.help import plugin_help

        print(plugin_help("analyse", name, resolve(ANALYSES, "analysis", name)))
        return 0
    return run_command(COMMAND, args, _main)


def _main(args: list[str]) -> int:
    name = args[0]
    plugin = resolve(ANALYSES, "analysis", name)
    paths, settings, analysis = parse(name, plugin, args[1:])
    analyse(name, analysis, paths, settings)
    return 0


def parse(name: str, plugin: type[Any], args: Sequence[str]) -> "tuple[list[Path], AnalyseOptions, Analysis]":
    """Checkpoints, common settings, and the analysis with its options.

    Args:
        name: of the analysis.
        plugin: its class.
        args: checkpoints, and `key=value` each.

    Raises:
        ConfigError: with every problem.
    """
    places, pairs = split_args(args, positional=True)
    paths = [Path(place) for place in places]
    if not paths:
        raise ConfigError(f"which checkpoints? dg analyse {name} runs/FOLDER/best.pt [...]")
    common, own = keys(AnalyseOptions), keys(plugin.Options)
    unknown = [key for key, _ in pairs if key not in (*common, *own)]
    if unknown:
        known = [*own, *common]
        raise ConfigError(f"unknown option {unknown[0]!r} of {name}; it takes {known}{suggest(unknown[0], known)}")
    tree, _ = to_tree(AnalyseOptions, [pair for pair in pairs if pair[0] in common])
    settings = build(AnalyseOptions, tree)
    if settings.labels and len(set(settings.labels)) != len(paths):
        raise ConfigError(f"labels must name each checkpoint: {len(paths)} checkpoints, labels {list(settings.labels)}")
    given = {key: value for key, value in pairs if key in own}
    return paths, settings, plugin(make_options(plugin, "analysis", name, given))


def analyse(name: str, analysis: "Analysis", paths: Sequence[Path], settings: AnalyseOptions) -> "Comparison":
    """Load the checkpoints, look at them, print, write and log. Raises as the parts do.

    Args:
        name: of the analysis in its table.
        analysis: what looks at the comparison.
        paths: the checkpoints.
        settings: of the command.

    Returns:
        The comparison that was looked at.
    """
    from dg.analyse.base import Comparison
    from dg.analyse.checkpoints import TrainedRun, run_labels
    from dg.analyse.output import facts_of, sheet_of, write_findings
    from dg.compare.sheets import to_markdown
    from dg.datasets.laws import line
    from dg.tracking.stores import log_files

    labels = settings.labels or run_labels(paths)
    folder = Path(settings.out or f"runs/analyses/{name}")
    chosen = (settings.weights, settings.device, settings.cache, settings.data_checks)
    with ExitStack() as stack:
        runs = [
            stack.enter_context(closing(TrainedRun(path, label, *chosen, places=settings.places)))
            for path, label in zip(paths, labels, strict=True)
        ]
        for run in runs if not settings.targets else ():
            run.check_places(["targets"])
        targets = settings.targets or tuple(dict.fromkeys(t for run in runs for t in run.config.target_names))
        comparison = Comparison(runs, targets, settings.metric)
        findings = analysis.run(comparison)
    print(line(comparison.checks()))
    sheets = [sheet_of(table) for table in findings.tables]
    print(to_markdown(sheet for sheet in sheets if len(sheet.frame) <= _MOST_PRINTED))
    print(f"from ground truth: {findings.ground_truth or 'nothing but the errors themselves'}")
    files = write_findings(findings, facts_of(name, analysis.options, comparison), folder)
    print(f"written to {folder}: {', '.join(file.name for file in files)}")
    for run in comparison.runs:
        store = settings.tracking_uri or run.config.tracking.uri
        print(f"{run.label}: {log_files(store, run.run_id, f'analyses/{name}', files)}")
    return comparison


def first_line(name: str) -> str:
    """The first sentence of an analysis's file, read without importing it, which would load torch."""
    spec = find_spec(ANALYSES[name].partition(":")[0])
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
