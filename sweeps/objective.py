"""What a sweep optimises: the source's own validation, unless a target is asked for under the name `oracle`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dg.settings.config import ConfigError
from dg.settings.plugins import suggest
from dg.tracking.names import HIGHER_IS_BETTER, METRICS, metric_name

SOURCE_VAL = "source_val"
ORACLE = "oracle"
SECONDS = "seconds"
MPJPE = "mpjpe_mm"


class SummaryError(ValueError):
    """A finished run whose summary lacks what the sweep needs."""


@dataclass(frozen=True)
class Objective:
    """A figure on the source's held-out validation, or with an `oracle` (position in the list of targets) on that
    target; or the seconds that a run trains.

    All numbers of a sweep are of each run's last evaluation: the swept parameters are the only thing chosen.
    """

    name: str = SOURCE_VAL
    oracle: int | None = None
    figure: str = MPJPE

    @property
    def is_oracle(self) -> bool:
        """Whether the objective is measured on a target."""
        return self.oracle is not None

    @property
    def maximise(self) -> bool:
        """Whether a higher value is better."""
        return self.figure in HIGHER_IS_BETTER

    @property
    def sign(self) -> int:
        """What makes a cost of it: -1 where more is better."""
        return -1 if self.maximise else 1

    @property
    def unit(self) -> str:
        """The unit of the value: s, % or mm."""
        return "s" if self.figure == SECONDS else "%" if self.maximise else "mm"

    @property
    def metric(self) -> str:
        """The name of the objective's metric in MLflow; `oracle/NAME/FIGURE` for one on a target."""
        if self.figure == SECONDS:
            return "time/total_s"
        target = self.name.removeprefix(f"{ORACLE}:").removesuffix(f":{self.figure}")
        return metric_name(ORACLE, target, self.figure) if self.is_oracle else f"val/{self.figure}"

    @property
    def label(self) -> str:
        """What the numbers are, for an axis."""
        short = {MPJPE: "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "n_mpjpe_mm": "N-MPJPE", "pck150": "PCK@150", "auc": "AUC"}
        return f"{short.get(self.figure, 'time')} ({self.unit})"

    def value(self, summary: Mapping[str, Any]) -> float:
        """This figure of one run, from its `summary.json`. Raises SummaryError that says what is missing."""
        try:
            if self.figure == SECONDS:
                return float(summary.get(SECONDS, summary["wall_s"]))
            if self.oracle is None:
                return float(summary["val"][self.figure])
            return [float(r[self.figure]) for r in summary["results"] if r["selection"] == "last"][self.oracle]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SummaryError(f"the run's summary has no usable {error}; was it evaluated?") from error

    def of_evaluation(self, record: Mapping[str, Any]) -> float | None:
        """This figure of one evaluation in `history.json`; None where it is known only at the end."""
        if self.figure == SECONDS:
            return None
        where = record["val"] if self.oracle is None else list(record["targets"].values())[self.oracle]
        return float(where[self.figure])


@dataclass(frozen=True)
class Scores:
    """MPJPE in millimetres of one run's last evaluation."""

    source_val: float
    targets: dict[str, float]


def parse_objective(text: str, targets: Sequence[str]) -> Objective:
    """Return the objective that a text names.

    Args:
        text: `source_val`, `oracle:TARGET` or `seconds`; the first two may end in `:FIGURE`.
        targets: targets of the runs, as `NAME:ARGUMENT`.

    Raises:
        ConfigError: any other text, in particular a target that is not called an oracle.
    """
    if text == SECONDS:
        return Objective(SECONDS, None, SECONDS)
    where, colon, last = text.rpartition(":")
    where, figure = (where, last) if colon and last in METRICS else (text, MPJPE)
    end = "" if figure == MPJPE else f":{figure}"
    if where == SOURCE_VAL:
        return Objective(SOURCE_VAL + end, None, figure)
    names = [_short(target) for target in targets]
    oracles = [f"{ORACLE}:{name}" for name in names]
    head, _, wanted = where.partition(":")
    if head == ORACLE:
        # `synthetic:near` as given, `near`, and `synthetic_near` as results may call it.
        spelled = [(t, name, f"{t.partition(':')[0]}_{name}") for t, name in zip(targets, names, strict=True)]
        found = [number for number, spellings in enumerate(spelled) if wanted in spellings]
        if len(found) == 1:
            return Objective(f"{ORACLE}:{names[found[0]]}{end}", found[0], figure)
        what = "names more than one target" if found else "names no target of these runs"
        raise ConfigError(
            f"objective={text!r} {what}; possible: {[f'{ORACLE}:{t}' for t in targets]}{suggest(text, oracles)}"
        )
    raise ConfigError(
        f"objective must be {SOURCE_VAL!r} (MPJPE on the source's held-out validation, the default), {SECONDS!r} or "
        f"one of {oracles}, with :FIGURE behind it for another figure than MPJPE ({', '.join(METRICS)}), got {text!r}. "
        "A setting chosen on a target is not domain generalisation: it is done only under "
        f"the name {ORACLE!r}, and everything it gives is tagged so"
    )


def parse_objectives(texts: Sequence[str], targets: Sequence[str]) -> tuple[Objective, ...]:
    """Return the one or two objectives that the texts name.

    Args:
        texts: as `parse_objective` takes them.
        targets: targets of the runs, as `NAME:ARGUMENT`.

    Raises:
        ConfigError: none, more than two, two that are equal, or a text that names no objective.
    """
    found = tuple(parse_objective(text, targets) for text in texts)
    if not 1 <= len(found) <= 2 or len({o.name for o in found}) < len(found):
        raise ConfigError(f"objectives must be one or two that differ, got {list(texts)}")
    return found


def any_oracle(objectives: Sequence[Objective]) -> bool:
    """Whether a target is seen."""
    return any(o.is_oracle for o in objectives)


def names_of(objectives: Sequence[Objective]) -> str:
    """`source_val,oracle:near`."""
    return ",".join(o.name for o in objectives)


def suffix_of(objectives: Sequence[Objective]) -> str:
    """What an oracle study carries in its name and folder, such as `-oracle-near`."""
    return "".join("-" + o.name.replace(":", "-") for o in objectives if o.is_oracle)


def _short(target: str) -> str:
    """`near` of `synthetic:near`, `uiprmd_3dpw` of `npz:FOLDER/uiprmd_3dpw.npz`."""
    return Path(target.partition(":")[2]).stem


def scores_of(summary: Mapping[str, Any]) -> Scores:
    """The scores in a run's `summary.json`. Raises SummaryError that says what is missing."""
    try:
        last = {r["target"]: float(r[MPJPE]) for r in summary["results"] if r["selection"] == "last"}
        return Scores(float(summary["val"][MPJPE]), last)
    except (KeyError, TypeError, ValueError) as error:
        raise SummaryError(f"the run's summary has no usable {error}; was it evaluated?") from error
