"""How much of depth's gain survives the errors that a depth network makes: error against the noise of the depth.

Trains the lifter without depth, with exact rendered depth (level 0), and with `noisy_zbuffer` at rising levels, as one
grid (dg.grid), then reads the results from MLflow and ends in noise.md, noise.csv and noise.png, in the grid's folder
and in its MLflow run. The same command again goes on; with more levels or seeds and the same out= it adds them.

A level is in percent of noisy_zbuffer's defaults, which are what metric indoor checkpoints err by: 100 is a log-scale
of 0.06 an image, a shift of 0.05 m, a smooth warp of 0.02 and 0.01 m of white noise. Edges bleed over 2 pixels at
every level above 0. Training and test sets see the same kind of noise, as they would with one network.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dg.compare.results import RunResult
from dg.compare.sheets import Sheet
from dg.grid.cells import REFUSED, GridOptions
from dg.grid.child_run import read_with_train
from dg.settings.config import CountOrZero
from dg.settings.errors import ConfigError
from dg.settings.reader import NO_KEY
from dg.study.base import GridStudy
from dg.study.results import Axis, averaged, frame_of, labels_of, protocols, table, twins
from dg.tracking.names import HIGHER_IS_BETTER, Metric, Selection

if TYPE_CHECKING:
    from pandas import DataFrame

    from dg.grid.session import GridSession

LEVELS = Axis("noise_percent", "{} %", "noise of the depth, percent of noisy_zbuffer's defaults")
BLIND, SEEING = "xy", "xyd"
NOISE = ("log_scale", "shift_m", "warp", "white_m")
_REFUSED = REFUSED | {
    "inputs": "the study trains xy and xyd",
    "depth": "the study chooses the depth source: levels=[0,100]",
}


@dataclass(frozen=True)
class NoiseOptions(GridOptions):
    """The settings of `dg study noise`. Raises ConfigError for levels that are not different percentages."""

    levels: tuple[CountOrZero, ...] = (0, 50, 100, 200, 400)  # noise in percent of the defaults; 0: exact depth (an
    # oracle)
    methods: tuple[str, ...] = ("erm",)  # DG methods
    lifters: tuple[str, ...] = ("simple_baseline",)  # with options after a ?
    inputs: tuple[str, ...] = field(default=(), metadata=NO_KEY)
    seeds: tuple[CountOrZero, ...] = (0, 1, 2)  # runs of each; tables show mean and standard deviation over them
    metric: Metric = "mpjpe_mm"
    selection: Selection = "source_val"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise ConfigError(f"levels must be different percentages such as [0,100,200], got {list(self.levels)}")


class Noise(GridStudy):
    """See the module's docstring."""

    Options = NoiseOptions
    name = "noise"
    heading = "{metric} against the noise of the depth, weights {selection}"
    axis = LEVELS

    def run(self, args: Sequence[str]) -> int:
        """Train without depth, with exact depth and with each noise level as one grid, and write the tables."""
        options, shared = read_options(args)
        self.levels = tuple(sorted(options.levels))
        return self.run_grid(
            replace(options, inputs=inputs_of(self.levels)), shared, options.metric, options.selection, args
        )

    def frame(self, session: "GridSession", runs: Sequence[RunResult]) -> "DataFrame":
        """The lifter without depth is as good at any noise."""
        by_level = {level: depth_of(level) for level in self.levels}
        return frame_of(
            {
                "target": target,
                "method": run.method,
                "lifter": run.lifter,
                "input": run.inputs,
                # One line from exact to noisy depth: their protocols differ, and the heading of the table says so.
                "protocol": re.sub(r"(^|/)depth=[^/]*", r"\1depth=any", run.protocols[target]),
                "x": level,
                "seed": run.seed,
                "error": error,
            }
            for run in runs
            for target, error in sorted(run.values.items())
            for level, depth in by_level.items()
            if run.inputs == BLIND or depth == _spelled(run.params)
        )

    def sheets(self, frame: "DataFrame", metric: str, heading: str) -> list[Sheet]:
        """The errors, and how much of exact depth's gain each level leaves."""
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        note = f"mean ± standard deviation (seeds), {better} is better; 0 % is exact depth (an oracle)"
        sheets = [table(heading, frame, [note, *protocols(frame)], axis=LEVELS)]
        kept = gains_kept(frame)
        if not kept.empty:
            title = f"Share of exact depth's gain in {metric} that is left, percent"
            notes = ["of the means over the seeds; the gain is that of xyd over xy"]
            sheets.append(table(title, kept, notes, lambda values: f"{values[0]:.0f}", LEVELS))
        return sheets


def read_options(args: Sequence[str]) -> tuple[NoiseOptions, list[str]]:
    """The study's own settings, and the arguments of every run. Raises ConfigError, also for what the study chooses."""
    options, shared = read_with_train(NoiseOptions, args, _REFUSED)
    chosen = [arg for arg in shared if arg.startswith("depth.")]
    if chosen:
        raise ConfigError(f"{chosen} cannot be set here: {_REFUSED['depth']}")
    return options, shared


def inputs_of(levels: Sequence[int]) -> tuple[str, ...]:
    """The grid's `inputs`: blind, then each level of noise."""
    return (BLIND, *(f"{SEEING}?{depth_of(level)}" for level in levels))


def depth_of(level: int) -> str:
    """The depth source of a level, as the grid spells it."""
    if level == 0:
        return "depth=zbuffer"
    from render_workers.depth.noisy_zbuffer import NoisyZBuffer

    default = NoisyZBuffer.Options()
    scaled = [f"depth.{name}={getattr(default, name) * level / 100:g}" for name in NOISE]
    return "&".join(["depth=noisy_zbuffer", *scaled])


def gains_kept(frame: "DataFrame") -> "DataFrame":
    """(blind - noisy) / (blind - exact) in percent, for each line with depth whose exact level was measured."""
    pairs = twins(averaged(frame), "input", BLIND)
    pairs["gain"] = pairs.pop("there") - pairs["error"]
    keys = [*(name for name in labels_of(pairs) if name != "gain"), "protocol"]
    exact = pairs[(pairs["x"] == 0) & (pairs["gain"] != 0)]
    pairs = pairs.merge(exact.filter([*keys, "gain"]), on=keys, suffixes=("", "_exact"))
    pairs["error"] = 100 * pairs.pop("gain") / pairs.pop("gain_exact")
    return frame_of(pairs)


def _spelled(params: Mapping[str, str]) -> str:
    """A run's depth source as `depth_of` spells it."""
    if params.get("depth.name") == "zbuffer":
        return "depth=zbuffer"
    scaled = [f"depth.{name}={float(params.get(f'depth.{name}', 'nan')):g}" for name in NOISE]
    return "&".join([f"depth={params.get('depth.name')}", *scaled])
