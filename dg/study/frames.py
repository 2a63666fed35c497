"""Error against the number of frames that a lifter sees, in its own domain and across, with and without depth.

The question of AugLift's Table 15 and Figure 6 (Appendices F and D). Trains the lifter for every window, input and seed
as one grid (dg.grid), then reads the results from MLflow and ends in frames.md, frames.csv and frames.png, in the
grid's folder and in its MLflow run. The same command again goes on; with more frames, inputs or seeds and the same
out= it adds them. Published, with detected 2D and estimated depth on Human3.6M: depth and confidence lower the error
in domain by 5.0, 4.3, 2.7, 1.4 % at 1, 9, 27, 243 frames, and across by 11.7, 7.6, 7.5, 8.3 % (Table 15).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from dg.compare.results import RunResult
from dg.compare.sheets import Sheet
from dg.datasets import DATASETS
from dg.grid.cells import REFUSED, GridOptions, without_adaptation
from dg.grid.child_run import read_with_train
from dg.settings.command_line import parse
from dg.settings.config import CountOrZero, TrainConfig
from dg.settings.errors import ConfigError
from dg.settings.plugins import make_options, resolve
from dg.settings.reader import quoted
from dg.study.base import GridStudy
from dg.study.results import averaged, frame_of, labels_of, protocols, table, twins
from dg.tracking.names import HIGHER_IS_BETTER, Metric, Selection

if TYPE_CHECKING:
    from pandas import DataFrame

    from dg.grid.session import GridSession

BLIND = "xy"
IN_DOMAIN = " (in domain)"


@dataclass(frozen=True)
class FramesOptions(GridOptions):
    """The settings of `dg study frames`; targets= are the sets across domains."""

    methods: tuple[str, ...] = ("erm",)  # DG methods that take windows
    lifters: tuple[str, ...] = ("video_pose_3d",)  # with options after a ?: 'lifters=[video_pose_3d?width=256]'
    inputs: tuple[str, ...] = (BLIND, "xyd")  # what the lifter sees; depth is drawn from the ground truth (an oracle)
    frames: tuple[int, ...] = (1, 9, 27, 81)  # lengths of the windows, odd
    seeds: tuple[CountOrZero, ...] = (0, 1, 2)  # runs of each; tables show mean and standard deviation over them
    training: Literal["original", "common"] = "common"  # common: one way of training for every window; original is
    # another for one frame than for more
    in_domain: str = ""  # NAME:ARGUMENT of the target in the source's domain; empty: the source's own part `test`
    metric: Metric = "mpjpe_mm"
    selection: Selection = "source_val"


class Frames(GridStudy):
    """See the module's docstring."""

    Options = FramesOptions
    name = "frames"
    heading = "{metric} against the number of frames, weights {selection}"

    def run(self, args: Sequence[str]) -> int:
        """Train every window, input and seed as one grid, with the in-domain target first, and write the tables."""
        options, shared = read_with_train(FramesOptions, args, REFUSED)
        shared = with_targets([*shared, f"training={options.training}"], options.in_domain)
        return self.run_grid(options, shared, options.metric, options.selection, args)

    def frame(self, session: "GridSession", runs: Sequence[RunResult]) -> "DataFrame":
        """Return one row for each run and target, the in-domain target first."""
        # A run lists its targets in their order, of which the study put the one in domain first.
        in_domain = next(iter(session.done.values()))["results"][0]["target"]
        return in_domain_first(frame_of(rows_of(runs, in_domain)))

    def sheets(self, frame: "DataFrame", metric: str, heading: str) -> list[Sheet]:
        """The errors, and what depth changes in them."""
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        errors = table(heading, frame, [f"mean ± standard deviation (seeds), {better} is better", *protocols(frame)])
        changes = depth_changes(frame)
        if changes.empty:
            return [errors]
        notes = ["of the means over the seeds; depth is drawn from the ground truth (an oracle)"]
        title = f"Change of {metric} by depth, in percent of {BLIND}'s"
        return [errors, table(title, changes, notes, lambda values: f"{values[0]:+.1f}")]


def with_targets(shared: Sequence[str], in_domain: str) -> list[str]:
    """The arguments of every run with the target of the source's domain before the others."""
    config = parse(without_adaptation(shared))
    targets = dict.fromkeys([in_domain or in_domain_target(config), *config.target_names])
    spelled = ",".join(quoted(target) for target in targets)
    return [*(arg for arg in shared if not arg.startswith("targets=")), f"targets=[{spelled}]"]


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


def rows_of(runs: Sequence[RunResult], in_domain: str) -> list[dict[str, Any]]:
    """Return a row for each run and target.

    Args:
        runs: results of the grid's runs.
        in_domain: the target of the source's domain, which is marked.
    """
    return [
        {
            "target": target + IN_DOMAIN if target == in_domain else target,
            "method": run.method,
            "lifter": run.lifter,
            "input": run.input_label,
            "protocol": run.protocols[target],
            "x": int(run.params["frames"]),
            "seed": run.seed,
            "error": error,
        }
        for run in runs
        for target, error in sorted(run.values.items())
    ]


def in_domain_first(frame: "DataFrame") -> "DataFrame":
    """The rows of the target in domain before the others, which are in the order of their names."""
    return frame_of(frame.sort_values("target", kind="stable", key=lambda t: t.where(~t.str.endswith(IN_DOMAIN), "")))


def depth_changes(frame: "DataFrame") -> "DataFrame":
    """By how many percent depth changes the mean error on each target, and the mean of that over those across domains,
    at those lengths that every such target has. Empty without lines that differ in depth alone.
    """
    from pandas import concat

    changes = twins(averaged(frame), "input", BLIND)
    changes["error"] = 100 * (changes["error"] / changes.pop("there") - 1)
    across = changes[~changes["target"].str.endswith(IN_DOMAIN)]
    others = [name for name in labels_of(changes) if name != "target"]
    across = across.assign(targets=across.groupby(others)["target"].transform("nunique"))
    means = across.groupby([*others, "x", "targets"], sort=False)["error"].agg(error="mean", there="size").reset_index()
    means = means[(means["targets"] > 1) & (means["targets"] == means["there"])].drop(columns=["targets", "there"])
    return frame_of(concat([changes, means.assign(target="mean across domains", protocol="", seed="")]))
