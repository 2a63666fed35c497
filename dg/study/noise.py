"""How much of depth's gain survives the errors that a depth network makes: error against the noise of the depth.

Trains the lifter without depth, with exact rendered depth (level 0), and with `noisy_zbuffer` at rising levels, as one
grid (dg.grid), then reads the results from MLflow and ends in noise.md, noise.csv and noise.png, in the grid's folder
and in its MLflow run. The same command again goes on; with more levels or seeds and the same out= it adds them.

A level is in percent of noisy_zbuffer's defaults, which are what metric indoor checkpoints err by: 100 is a log-scale
of 0.06 an image, a shift of 0.05 m, a smooth warp of 0.02 and 0.01 m of white noise. Edges bleed over 2 pixels at
every level above 0. Training and test sets see the same kind of noise, as they would with one network.

keys of its own (default; meaning):
  levels=[0,50,100,200,400]  noise in percent of the defaults; 0 is exact depth (an oracle)
  seeds=[0,1,2]              runs of each; tables show mean and standard deviation over them
  lifters=[simple_baseline]  with options after a ?
  methods=[erm]              DG methods
  metric=mpjpe_mm            mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc
  selection=source_val       last | source_val | oracle
  parallel=0, out=           as for dg.grid

All other keys are dg.train's and hold for every run.

exit codes: 0 done, 1 some runs failed, 2 wrong option, 3 another driver is at work, 4 no results, 130 interrupted
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from dg.compare.sheets import Sheet
from dg.compare.stored_runs import read_results, stored_runs
from dg.grid.cells import parse_list, split_words
from dg.grid.sitting import again, run_grid
from dg.settings.config import ConfigError
from dg.study.base import Study, StudyError
from dg.study.lines import Axis, Line, Point, lines_of, protocols, table
from dg.study.output import Place, conclude, say
from dg.study.words import split, with_defaults
from dg.tracking.names import HIGHER_IS_BETTER, METRICS, SELECTIONS

if TYPE_CHECKING:
    from dg.grid.session import GridSession

LEVELS = Axis("noise_percent", "{} %", "noise of the depth, percent of noisy_zbuffer's defaults")
BLIND, SEEING = "xy", "xyd"
NOISE = ("log_scale", "shift_m", "warp", "white_m")
GRID_DEFAULTS = {"methods": "[erm]", "seeds": "[0,1,2]"}
OWN: dict[str, tuple[str, ...]] = {"levels": (), "metric": METRICS, "selection": SELECTIONS}
_REFUSED = {"inputs": "the study trains xy and xyd", "depth": "the study chooses the depth source: levels=[0,100]"}


class Noise(Study):
    """See the module's docstring."""

    def run(self, words: Sequence[str]) -> int:
        own, rest = own_words(words)
        levels = parse_levels(own["levels"])
        options, shared = split_words([*with_defaults(rest, GRID_DEFAULTS), inputs_word(levels)])
        session, complete = run_grid(options, shared, lambda plan: say(f"dg.study noise: {len(plan.cells)} runs"))
        if session.done:
            place = Place(session.folder, session.records.uri, session.records.parent_id)
            lines = read_lines(place, session, own["metric"], own["selection"], levels)
            heading = f"{own['metric']} against the noise of the depth, weights {own['selection']}"
            conclude("noise", heading, place, tables(lines, own["metric"], heading), lines, own["metric"], LEVELS)
        if complete and not session.failed:
            return 0
        say(f"not all runs have ended; go on with\n  {again('dg.study noise', words, session.folder)}")
        return 1 if complete else 130


def own_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The study's own keys, and the words for the grid. Raises ConfigError for a value that is none of a key's."""
    for word in words:
        key = word.partition("=")[0]
        if key.partition(".")[0] in _REFUSED:
            raise ConfigError(f"{key} cannot be set here: {_REFUSED[key.partition('.')[0]]}")
    return split(words, {"levels": "[0,50,100,200,400]", "metric": METRICS[0], "selection": "source_val"}, OWN)


def parse_levels(value: str) -> tuple[int, ...]:
    """Percentages, rising. Raises ConfigError for anything else."""
    parts = parse_list(value)
    if not parts or not all(p.isascii() and p.isdigit() for p in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"levels must be different whole percentages such as [0,100,200], got {value!r}")
    return tuple(sorted(map(int, parts)))


def inputs_word(levels: Sequence[int]) -> str:
    """The grid's `inputs=`: blind, then each level of noise."""
    return f"inputs=[{','.join([BLIND, *(f'{SEEING}?{depth_of(level)}' for level in levels)])}]"


def depth_of(level: int) -> str:
    """The depth source of a level, as the grid spells it."""
    if level == 0:
        return "depth=zbuffer"
    from render_workers.depth.noisy_zbuffer import NoisyZBuffer

    default = NoisyZBuffer.Options()
    scaled = [f"depth.{name}={getattr(default, name) * level / 100:g}" for name in NOISE]
    return "&".join(["depth=noisy_zbuffer", *scaled])


def read_lines(place: Place, session: "GridSession", metric: str, selection: str, levels: Sequence[int]) -> list[Line]:
    """Every finished run below the grid's MLflow run; the lifter without depth is as good at any noise.

    Raises StudyError without any.
    """
    runs = stored_runs(place.uri, session.records.experiment, place.run_id) if place.run_id else []
    by_level = {level: depth_of(level) for level in levels}
    points = []
    for run in sorted(read_results(runs, selection, metric)[0], key=lambda r: (r.inputs, r.started)):
        at = levels if run.inputs == BLIND else [x for x in levels if by_level[x] == _spelled(run.params)]
        labels = {"method": run.method, "lifter": run.lifter}
        for target, error in sorted(run.values.items()):
            for level in at:
                # One line from exact to noisy depth: their protocols differ, and the heading of the table says so.
                seen = {"target": target, **labels, "input": run.inputs}
                points.append(Point(seen, _without_depth(run.protocols[target]), level, run.seed, error))
    if not points:
        raise StudyError(f"the runs in {session.folder} have no {metric} of selection={selection} in MLflow")
    return lines_of(points)


def tables(lines: Sequence[Line], metric: str, title: str) -> list[Sheet]:
    """The errors, and how much of exact depth's gain each level leaves."""
    better = "higher" if metric in HIGHER_IS_BETTER else "lower"
    note = f"mean ± standard deviation (seeds), {better} is better; 0 % is exact depth (an oracle)"
    sheets = [table(title, lines, [note, *protocols(lines)], axis=LEVELS)]
    kept = gains_kept(lines)
    if kept:
        heading = f"Share of exact depth's gain in {metric} that is left, percent"
        show = ["of the means over the seeds; the gain is that of xyd over xy"]
        sheets.append(table(heading, kept, show, lambda values: f"{values[0]:.0f}" if values else "-", LEVELS))
    return sheets


def gains_kept(lines: Sequence[Line]) -> list[Line]:
    """(blind - noisy) / (blind - exact) in percent, for each line with depth whose exact level was measured."""
    blind = {_others(line): line for line in lines if line.labels["input"] == BLIND}
    kept = []
    for line in lines:
        without = blind.get(_others(line))
        if line.labels["input"] == BLIND or without is None or not line.at(0):
            continue
        gain = fmean(without.at(0)) - fmean(line.at(0))
        shares = {x: {"": 100 * (fmean(without.at(x)) - fmean(line.at(x))) / gain} for x in line.values if gain}
        kept.append(Line(line.labels, line.protocol, shares))
    return kept


def _others(line: Line) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in line.labels.items() if k != "input")


def _spelled(params: Mapping[str, str]) -> str:
    """A run's depth source as `depth_of` spells it."""
    if params.get("depth.name") == "zbuffer":
        return "depth=zbuffer"
    scaled = [f"depth.{name}={float(params.get(f'depth.{name}', 'nan')):g}" for name in NOISE]
    return "&".join([f"depth={params.get('depth.name')}", *scaled])


def _without_depth(protocol: str) -> str:
    return "/".join("depth=any" if part.startswith("depth=") else part for part in protocol.split("/"))
