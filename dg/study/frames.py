"""Error against the number of frames that a lifter sees, in its own domain and across, with and without depth.

The question of AugLift's Table 15 and Figure 6 (Appendices F and D). Trains the lifter for every window, input and seed
as one grid (dg.grid), then reads the results from MLflow and ends in frames.md, frames.csv and frames.png, in the
grid's folder and in its MLflow run. The same command again goes on; with more frames, inputs or seeds and the same
out= it adds them. Published, with detected 2D and estimated depth on Human3.6M: depth and confidence lower the error
in domain by 5.0, 4.3, 2.7, 1.4 % at 1, 9, 27, 243 frames, and across by 11.7, 7.6, 7.5, 8.3 % (Table 15).

keys of its own (default; meaning):
  frames=[1,9,27,81]       lengths of the windows, odd
  inputs=[xy,xyd]          what the lifter sees; depth is drawn from the ground truth (an oracle)
  seeds=[0,1,2]            runs of each; tables show mean and standard deviation over them
  lifters=[video_pose_3d]  with options after a ?: 'lifters=[video_pose_3d?width=256]'
  methods=[erm]            DG methods that take windows
  recipe=common            one way of training for every window; original is another for one frame than for more
  in_domain=               NAME:ARGUMENT of the target in the source's domain; empty: the source's own part `test`
  metric=mpjpe_mm          mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc
  selection=source_val     last | source_val | oracle
  parallel=0, out=         as for dg.grid; `dg.study motion out=...` goes on from the folder

All other keys are dg.train's and hold for every run; targets= are the sets across domains.

exit codes: 0 done, 1 some runs failed, 2 wrong option, 3 another driver is at work, 4 no results, 130 interrupted
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dg.compare.stored_runs import stored_runs
from dg.datasets import DATASETS
from dg.grid.cells import split_words
from dg.grid.child_run import quoted
from dg.grid.sitting import again, run_grid
from dg.settings.command_line import parse
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import make_options, resolve
from dg.study.base import Study, StudyError
from dg.study.frames_results import in_domain_first, points_of, tables
from dg.study.lines import Line, lines_of
from dg.study.output import Place, conclude, say
from dg.study.words import split, with_defaults
from dg.tracking.names import METRICS, SELECTIONS

if TYPE_CHECKING:
    from dg.grid.session import GridSession

GRID_DEFAULTS = {
    "methods": "[erm]",
    "lifters": "[video_pose_3d]",
    "inputs": "[xy,xyd]",
    "frames": "[1,9,27,81]",
    "seeds": "[0,1,2]",
    "recipe": "common",
}
OWN: dict[str, tuple[str, ...]] = {"in_domain": (), "metric": METRICS, "selection": SELECTIONS}


class Frames(Study):
    """See the module's docstring."""

    def run(self, words: Sequence[str]) -> int:
        own, rest = own_words(words)
        options, shared = split_words(with_defaults(rest, GRID_DEFAULTS))
        shared = with_targets(shared, own["in_domain"])
        session, complete = run_grid(options, shared, lambda plan: say(f"dg.study frames: {len(plan.cells)} runs"))
        if session.done:
            place = Place(session.folder, session.records.uri, session.records.parent_id)
            lines = read_lines(place, session, own["metric"], own["selection"])
            heading = f"{own['metric']} against the number of frames, weights {own['selection']}"
            conclude("frames", heading, place, tables(lines, own["metric"], heading), lines, own["metric"])
        if complete and not session.failed:
            return 0
        say(f"not all runs have ended; go on with\n  {again('dg.study frames', words, session.folder)}")
        return 1 if complete else 130


def own_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The study's own keys, and the words for the grid. Raises ConfigError for a value that is none of a key's."""
    return split(words, {"in_domain": "", "metric": METRICS[0], "selection": "source_val"}, OWN)


def with_targets(shared: Sequence[str], in_domain: str) -> list[str]:
    """The words for every run with the target of the source's domain before the others."""
    config = parse([word for word in shared if not word.startswith(("adapt_to=", "adapt_part="))])
    targets = dict.fromkeys([in_domain or in_domain_target(config), *config.target_names])
    spelled = ",".join(quoted(target) for target in targets)
    return [*(word for word in shared if not word.startswith("targets=")), f"targets=[{spelled}]"]


def in_domain_target(config: TrainConfig) -> str:
    """`NAME:PLACE?option=value...` of the source with the options that it was given: its part `test` as a target.

    Raises OptionError for options that the data set does not have, ConfigError for those that no target can carry.
    """
    given = dict(config.data)
    name = given.pop("name")
    plugin = resolve(DATASETS, "data", name)
    options = make_options(plugin, "data", name, given)
    query = "&".join(f"{k}={_spell(v)}" for k, v in given.items() if k != plugin.located_by)
    argument = getattr(options, plugin.located_by) + (f"?{query}" if query else "")
    if make_options(plugin, "target", name, plugin.options_for_target(argument)) != options:
        raise ConfigError(f"the options of data={name} cannot be written as a target (a space?): give in_domain=")
    return f"{name}:{argument}"


def _spell(value: Any) -> str:  # noqa: ANN401 - what YAML may hold
    if isinstance(value, bool):
        return str(value).lower()
    parts = value if isinstance(value, list | tuple) else [value]
    return "+".join(quote(str(part), safe="/:") for part in parts)


def read_lines(place: Place, session: "GridSession", metric: str, selection: str) -> list[Line]:
    """Every finished run below the grid's MLflow run, the target in domain first. Raises StudyError without any."""
    runs = stored_runs(place.uri, session.records.experiment, place.run_id) if place.run_id else []
    # A run lists its targets in their order, of which the study put the one in domain first.
    in_domain = next(iter(session.done.values()))["results"][0]["target"]
    lines = lines_of(points_of(runs, metric, selection, in_domain))
    if not lines:
        raise StudyError(f"the runs in {session.folder} have no {metric} of selection={selection} in MLflow")
    return in_domain_first(lines)
