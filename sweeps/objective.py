"""What a sweep minimises: the source's own validation, unless a target is asked for under the name `oracle`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dg.config import ConfigError
from dg.plugins import suggest

SOURCE_VAL = "source_val"
ORACLE = "oracle"


class SummaryError(ValueError):
    """A finished run whose summary lacks what the sweep needs."""


@dataclass(frozen=True)
class Objective:
    """MPJPE on the source's held-out validation, or with an `oracle` (position in the list of targets) on that target.

    All numbers of a sweep are of each run's last evaluation: the swept parameter is the only thing chosen.
    """

    name: str = SOURCE_VAL
    oracle: int | None = None

    @property
    def is_oracle(self) -> bool:
        return self.oracle is not None

    @property
    def suffix(self) -> str:
        """What an oracle study carries in its name and folder, such as `-oracle-near`."""
        return "-" + self.name.replace(":", "-") if self.is_oracle else ""

    def value(self, scores: "Scores") -> float:
        """MPJPE in millimetres of one run."""
        return scores.source_val if self.oracle is None else list(scores.targets.values())[self.oracle]


@dataclass(frozen=True)
class Scores:
    """MPJPE in millimetres of one run's last evaluation."""

    source_val: float
    targets: dict[str, float]


def parse_objective(word: str, targets: Sequence[str]) -> Objective:
    """The objective that `objective=WORD` names; `targets` are those of the runs, as `NAME:ARGUMENT`.

    Raises ConfigError for everything else, in particular for a target that is not called an oracle.
    """
    if word == SOURCE_VAL:
        return Objective()
    names = [_short(target) for target in targets]
    oracles = [f"{ORACLE}:{name}" for name in names]
    head, _, wanted = word.partition(":")
    if head == ORACLE:
        found = [i for i, target in enumerate(targets) if wanted in _spellings(target)]
        if len(found) == 1:
            return Objective(f"{ORACLE}:{names[found[0]]}", found[0])
        what = "names more than one target" if found else "names no target of these runs"
        raise ConfigError(
            f"objective={word!r} {what}; possible: {[f'{ORACLE}:{t}' for t in targets]}{suggest(word, oracles)}"
        )
    raise ConfigError(
        f"objective must be {SOURCE_VAL!r} (MPJPE on the source's held-out validation, the default) or one of "
        f"{oracles}, got {word!r}. A setting chosen on a target is not domain generalisation: it is done only under "
        f"the name {ORACLE!r}, and everything it gives is tagged so"
    )


def _spellings(target: str) -> tuple[str, str, str]:
    """`synthetic:near` as given, `near`, and `synthetic_near` as results may call it."""
    return target, _short(target), f"{target.partition(':')[0]}_{_short(target)}"


def _short(target: str) -> str:
    """`near` of `synthetic:near`, `uiprmd_3dpw` of `npz:FOLDER/uiprmd_3dpw.npz`."""
    return Path(target.partition(":")[2]).stem


def scores_of(summary: Mapping[str, Any]) -> Scores:
    """The scores in a run's `summary.json`. Raises SummaryError that says what is missing."""
    try:
        last = {r["target"]: float(r["mpjpe_mm"]) for r in summary["results"] if r["selection"] == "last"}
        return Scores(float(summary["val"]["mpjpe_mm"]), last)
    except (KeyError, TypeError, ValueError) as error:
        raise SummaryError(f"the run's summary has no usable {error}; was it evaluated?") from error
