"""Motion brittleness: what reversed clips and clips at other speeds do to lifters that see more and more frames.

The question of AugLift's Table 9 (Appendix D). Takes the lifters of `dg.study frames` from their folder, evaluates each
on clips as recorded, reversed, and every clip at a speed drawn uniformly from [0.5, 2] (the paper does not say its
law), and ends in motion.md, motion.csv and motion.png in that folder and in its MLflow run. The same command again does
only what is left. Published, VideoPose3D with ground-truth 2D on Human3.6M at 1, 27, 81, 243 frames: validation 39.8,
39.3, 38.6, 37.1 mm, reversed 39.8, 41.3, 40.9, 39.5, at varying speed 39.8, 49.6, 50.4, 49.3 (Table 9).

keys (default; meaning):
  out=                     folder of `dg.study frames`
  parts=[val]              of the source: train | val | test
  targets=                 ['NAME:ARGUMENT',...]; empty: those of the runs, the source's own test part among them
  speeds=[0.5,2]           slowest and fastest
  seed=0                   of the speeds, which are the same for every lifter
  weights=best             best (by source validation) | last
  tta=                     none | flip | reverse | flip+reverse; empty: each set's own. Turning single frames around in
                           time changes nothing
  metric=mpjpe_mm          mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc
  device=auto              auto | cpu | cuda
  cache=                   folder of drawn depth; empty: that of the runs; off: draw anew

Between recorded frames 3D joints are interpolated linearly and 2D is projected from them; depth is drawn anew from the
ground truth (an oracle). A clip counts as much at any speed as it does as recorded. Protocol ids end in /time=reversed
or /time=speeds-SLOWEST-FASTEST-seedSEED; those of clips as recorded say nothing of time.

exit codes: 0 done, 2 wrong option, 3 no such device, 4 no lifter or data that cannot be used, 130 interrupted
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dg.settings.plugins import OptionError, make_options, suggest
from dg.study.base import Study
from dg.study.lines import Line, lines_of, protocols, table, twins
from dg.study.output import conclude
from dg.tracking.names import HIGHER_IS_BETTER, METRICS

CHOICES = {
    "weights": ("best", "last"),
    "tta": ("", "none", "flip", "reverse", "flip+reverse"),
    "metric": METRICS,
    "device": ("auto", "cpu", "cuda"),
}
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Options:
    """As the module's docstring has them."""

    out: str
    parts: tuple[str, ...] = ("val",)
    targets: tuple[str, ...] = ()
    speeds: tuple[float, ...] = (0.5, 2.0)
    seed: int = 0
    weights: str = "best"
    tta: str = ""
    metric: str = "mpjpe_mm"
    device: str = "auto"
    cache: str = ""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
        if not set(self.parts) <= set(PARTS):
            raise ValueError(f"parts must be among {list(PARTS)}, got {list(self.parts)}")
        if any(":" not in target for target in self.targets):
            raise ValueError(f"targets must be NAME:ARGUMENT each, such as npz:FILE, got {list(self.targets)}")
        if len(self.speeds) != 2 or not 0 < self.speeds[0] <= self.speeds[1]:
            raise ValueError(f"speeds must be [slowest,fastest], positive, got {list(self.speeds)}")


class Motion(Study):
    """See the module's docstring."""

    Options = Options

    def run(self, words: Sequence[str]) -> int:
        from dg.study.motion_session import MotionSession

        options = parse(words)
        with MotionSession(options, Path(options.out)) as session:
            session.run()
        lines = lines_of(session.points())
        metric, recorded = options.metric, session.recorded
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        title = f"{metric} of clips in another time, weights {options.weights}"
        sheets = [table(title, lines, [f"mean ± standard deviation (seeds), {better} is better", *protocols(lines)])]
        changes = changes_of(lines, recorded)
        if changes:
            heading = f"Change of {metric} against the clips as recorded, seed by seed"
            sheets.append(table(heading, changes, ["mean ± standard deviation (seeds)"]))
        conclude("motion", title, session.place, sheets, lines, metric)
        return 0


def parse(words: Sequence[str]) -> Options:
    """Raises OptionError for keys and values that do not exist."""
    from dg.datasets.check import options_of

    given = options_of(words)
    known = list(Options.__dataclass_fields__)
    for key in given:
        if key not in known:
            raise OptionError(f"unknown key {key!r} of the study motion; it takes {known}{suggest(key, known)}")
    for key in ("parts", "targets"):  # one needs no brackets
        if isinstance(given.get(key), str):
            given[key] = [given[key]]
    if isinstance(given.get("cache"), bool):  # YAML's reading of off
        given["cache"] = "off"
    return make_options(Motion, "study", "motion", given)


def changes_of(lines: Sequence[Line], recorded: str) -> list[Line]:
    """Each changed time's line less that of the clips as recorded."""
    return [changed.less(as_recorded) for changed, as_recorded in twins(lines, "time", recorded)]
