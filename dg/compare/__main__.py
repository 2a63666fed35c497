"""`python -m dg.compare [key=value ...]`: DG methods side by side, from their runs in MLflow.

Rows are method x input x lifter, columns are targets under one protocol, cells mean and standard deviation over seeds.
Published numbers stand below ours where the whole protocol agrees; for the others the output says what differs.

options (key=default, or --key value):
  experiment=dg             MLflow experiment
  tracking_uri=             MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
  parent=                   MLflow run id: only the runs that it started (a grid's)
  selection=source_val      last | source_val | oracle (best by the target itself: no fair result)
  metric=mpjpe_mm           mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc, or their averages over actions
  regime=all                DG | DA | all (never in one table)
  baseline=erm              method that the others are compared with, seed by seed; empty: none
  published=similar         published numbers that fit: similar (our lifters and training 2D) | all | off
  format=markdown           markdown | csv | latex | png (needs out=)
  out=                      file to write; empty: print

  paper=auglift table=4     print that table of a paper (auglift | poseaug | poseaug-repo | poseda), with ours in its
                            cells where protocol, method, lifter and training set agree; takes the store's options,
                            selection, format (no png) and out

exit codes: 0 done, 2 wrong option, 4 nothing to compare
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dg.compare.beside import PUBLISHED_CHOICES, add_published
from dg.compare.differences import add_differences
from dg.compare.paper_table import fill, paper_csv, paper_sheets
from dg.compare.papers import find_table
from dg.compare.published import published_results
from dg.compare.sheets import to_latex, to_markdown
from dg.compare.stored_runs import NothingToCompareError, read_results, spell_left_out, stored_runs
from dg.compare.tables import ComparisonTable, build_tables
from dg.compare.text import FORMATS
from dg.files.atomic import replace_file
from dg.settings.plugins import OptionError, suggest
from dg.tracking import TrackingError
from dg.tracking.names import ACTION_METRICS, METRICS, REGIMES, SELECTIONS

WRONG_OPTION, NO_DATA = 2, 4
PICTURE = "png"


@dataclass(frozen=True)
class CompareOptions:
    """What the command line sets."""

    experiment: str = "dg"
    tracking_uri: str = ""
    parent: str = ""
    selection: str = "source_val"
    metric: str = "mpjpe_mm"
    regime: str = "all"
    baseline: str = "erm"
    published: str = "similar"
    format: str = "markdown"
    out: str = ""
    paper: str = ""
    table: str = ""


_CHOICES = {
    "selection": SELECTIONS,
    "metric": METRICS + ACTION_METRICS,
    "regime": (*REGIMES, "all"),
    "published": PUBLISHED_CHOICES,
    "format": (*FORMATS, PICTURE),
}
_SAME_AS = {"tracking.uri": "tracking_uri", "tracking.experiment": "experiment"}  # as `dg.train` calls them


def parse_options(arguments: Sequence[str]) -> CompareOptions:
    """Raises OptionError, with every problem, for keys and values that do not exist."""
    known = [f.name for f in fields(CompareOptions)]
    given, problems = {}, []
    for argument in _joined(arguments):
        key, equals, value = argument.partition("=")
        key = _SAME_AS.get(key, key)
        if not equals:
            problems.append(f"expected key=value, got {argument!r}")
        elif key not in known:
            problems.append(f"unknown option {key!r}; known: {known}{suggest(key, known)}")
        elif value not in _CHOICES.get(key, (value,)):
            problems.append(
                f"{key} must be one of {list(_CHOICES[key])}, got {value!r}{suggest(value, list(_CHOICES[key]))}"
            )
        given[key] = value
    if bool(given.get("paper")) != bool(given.get("table")):
        problems.append("paper= and table= go together, such as paper=auglift table=4")
    if given.get("format") == PICTURE and (given.get("paper") or not given.get("out")):
        problems.append("format=png draws comparisons into a file: give out=FILE.png, and no paper=")
    if problems:
        raise OptionError("\n".join(problems))
    return CompareOptions(**given)


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--key value` and `--key=value` as `key=value`."""
    words, joined = list(arguments), []
    while words:
        word = words.pop(0)
        if word.startswith("--") and "=" not in word and words and "=" not in words[0]:
            word = f"{word}={words.pop(0)}"
        joined.append(word.removeprefix("--"))
    return joined


def compare(options: CompareOptions) -> str:
    """The tables as text. Raises NothingToCompareError when no finished run has such a result, OptionError for png."""
    if options.format == PICTURE:
        raise OptionError(f"a picture is no text: format must be one of {list(FORMATS)}")
    if options.paper:
        return paper_text(options)
    tables, left_out = comparison(options)
    text = FORMATS[options.format](tables)
    return text + (f"\nLeft out: {left_out}.\n" if left_out and options.format == "markdown" else "")


def comparison(options: CompareOptions) -> tuple[list[ComparisonTable], str]:
    """The tables with their differences and published rows, and which runs were left out. Raises as `compare`."""
    runs = stored_runs(options.tracking_uri, options.experiment, options.parent)
    results, left_out = read_results(runs, options.selection, options.metric, options.regime)
    if not results:
        raise NothingToCompareError(
            f"no finished run of experiment {options.experiment!r} has {options.metric} for selection="
            f"{options.selection} regime={options.regime}; {spell_left_out(left_out) or 'it holds no run at all'}. "
            "Train some: python -m dg.train method=erm seed=0"
        )
    tables = build_tables(results, options.selection, options.metric)
    for table in tables:
        add_differences(table, options.baseline)
        add_published(table, published_results(), options.published)
    return tables, spell_left_out(left_out)


def paper_text(options: CompareOptions) -> str:
    """A paper's table with our cells; where there are no runs, with none. Raises OptionError for an unknown one."""
    entries = find_table(options.paper, options.table)
    metrics = {e.meaning.metric for e in entries if e.meaning.metric}
    remarks = []
    try:
        runs = stored_runs(options.tracking_uri, options.experiment, options.parent)
    except NothingToCompareError as problem:
        runs, remarks = [], [f"no cell of ours: {problem}"]
    results = {metric: read_results(runs, options.selection, metric)[0] for metric in metrics}
    cells = fill(entries, results, options.selection)
    if options.format == "csv":
        return paper_csv(cells)
    render = to_latex if options.format == "latex" else to_markdown
    return render(paper_sheets(cells, options.selection, remarks))


def main(arguments: Sequence[str]) -> int:
    """Print or write the tables; returns the exit code."""
    if any(a in ("-h", "--help", "help") for a in arguments):
        print(__doc__)
        return 0
    try:
        options = parse_options(arguments)
        if options.format == PICTURE:
            from dg.compare.picture import write_picture

            write_picture(comparison(options)[0], Path(options.out))
        elif options.out:
            _write(compare(options), Path(options.out))
        else:
            print(compare(options), end="")
    except (OptionError, TrackingError) as problem:
        print(problem, file=sys.stderr)
        return WRONG_OPTION
    except NothingToCompareError as problem:
        print(problem, file=sys.stderr)
        return NO_DATA
    if options.out:
        print(f"written to {options.out}")
    return 0


def _write(text: str, path: Path) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
