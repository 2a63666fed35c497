"""The settings of `dg compare`, `dg report` and `dg recipes`. Loads nothing heavy, so that its help is quick."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dg.settings.errors import ConfigError
from dg.tracking.names import ActionMetric, Metric, Regime, Selection

PICTURE = "png"


_SAME_AS = {"tracking.uri": "tracking_uri", "tracking.experiment": "experiment"}  # as `dg train` calls them


def as_here(args: Iterable[str]) -> list[str]:
    """Arguments with the keys of the store as `dg compare`, `dg report` and `dg ui` call them.

    Args:
        args: `key=value` each; `dg train`'s own names of these keys are taken too.
    """
    pairs = (arg.partition("=") for arg in args)
    return [f"{_SAME_AS.get(key, key)}{equals}{value}" for key, equals, value in pairs]


@dataclass(frozen=True)
class RunsOptions:
    """Which runs are shown, and what of them."""

    experiment: str = "dg"  # MLflow experiment
    tracking_uri: str = ""  # MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
    parent: str = ""  # MLflow run id: only the runs that it started (a grid's)
    selection: Selection = "source_val"  # oracle: best by the target itself, not fair
    metric: Literal[Metric, ActionMetric] = "mpjpe_mm"  # _action: averaged over actions
    baseline: str = "erm"  # method that the others are compared with, seed by seed; empty: none


@dataclass(frozen=True)
class CompareOptions(RunsOptions):
    """Which runs are compared, and how. Raises ConfigError for options that do not go together."""

    regime: Literal[Regime, "all"] = "all"  # never in one table
    published: Literal["similar", "all", "off"] = "similar"  # published numbers that fit: of similar lifters and 2D
    format: Literal["markdown", "csv", "latex", "png"] = "markdown"  # png needs out=
    out: str = ""  # file to write; empty: print
    paper: str = ""  # auglift | poseaug | poseaug-repo | poseda: print a table of this paper, with ours in its cells
    # where protocol, method, lifter and training set agree; takes the store, selection, format and out
    table: str = ""  # which of its tables

    def __post_init__(self) -> None:
        if bool(self.paper) != bool(self.table):
            raise ConfigError("paper= and table= go together, such as paper=auglift table=4")
        if self.format == PICTURE and (self.paper or not self.out):
            raise ConfigError("format=png draws comparisons into a file: give out=FILE.png, and no paper=")


@dataclass(frozen=True)
class ReportOptions(RunsOptions):
    """Which runs are shown on a page; where folders are given, those in them."""

    title: str = ""  # of the page; empty: what was given
    out: str = "report.html"  # file to write


@dataclass(frozen=True)
class RecipesOptions:
    """Which recipes are shown, and where our runs are."""

    name: str = ""  # one recipe in full; or the beginning of several names
    experiment: str = "dg"  # MLflow experiment
    tracking_uri: str = (
        ""  # MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; off: ours are not shown
    )
    selection: Selection = "source_val"  # which of a run's epochs; the papers' own is mostly oracle
