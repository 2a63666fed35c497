"""`dg sweep search space.KEY=... [key=value ...]`: search any keys of dg train for what serves an objective.

The first trial is what dg train would do without the search, where the space holds that. Then Optuna asks: TPE, or a
Gaussian process for a single number. Targets are reported and never chosen by, unless an objective is named
`oracle:TARGET`; then everything is tagged `oracle`.
"""

import sys
from collections.abc import Mapping, Sequence

from dg.grid.child_run import read_with_train
from dg.settings.command import Command
from dg.settings.errors import DATA, FAILED, RESOURCES, ConfigError
from sweeps.objective import SECONDS, any_oracle, names_of, parse_objectives
from sweeps.options import REFUSED, SearchOptions, SweepPlan, problems, pruner_of
from sweeps.space import Parameter, read_space

COMMAND = Command(
    name="sweep search",
    about="""Search any keys of `dg train`, options of plug-ins included, for what serves one objective or two.

what to search, one argument a key, or all in one:
  space.lr=log:1e-4..1e-2             a number, every scale alike
  space.d_ref=3.5..6.0                a number in between; 3.5..6.0:0.5 in steps
  space.epochs=5..30                  a whole number, as both ends are
  'space.method=erm|poseaug'          one of these; 'space.lifter.width=256|512' likewise
  space=FILE.yaml                     lines such as `lr: log:1e-4..1e-2` and `method: [erm, poseaug]`""",
    settings=SearchOptions,
    train_keys="All other keys are those of `dg train` and hold for every trial, except seed and resume.",
    codes=(FAILED, RESOURCES, DATA),
    examples=(
        "dg sweep search space.lr=log:1e-4..1e-2 'space.method=erm|poseaug' space.d_ref=3.5..6.0 trials=30",
        "dg sweep search space=space.yaml 'objectives=[source_val,seconds]' concurrency=3",
    ),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    space = [arg for arg in args if arg.startswith(("space=", "space."))]
    given = read_space(space)
    options, shared = read_with_train(SearchOptions, [arg for arg in args if arg not in space], REFUSED, problems)
    from sweeps.session import run

    return run("dg sweep search", lambda: make_plan(options, shared, given), args)


def make_plan(options: SearchOptions, shared: Sequence[str], given: Mapping[str, Parameter]) -> SweepPlan:
    """Check the settings of a search and return what will be done.

    Args:
        options: of the search.
        shared: arguments of every run, `key=value` each.
        given: searched parameters by key.

    Raises:
        ConfigError: settings that make no search.
    """
    from sweeps.report import search_report
    from sweeps.space_check import check_space, idle_keys, renders

    checked = check_space(given, shared)
    objectives = parse_objectives(options.objectives, checked.base.target_names)
    pruner = pruner_of(options, objectives)
    idle = idle_keys(checked)
    if idle and all(objective.figure != SECONDS for objective in objectives):
        raise ConfigError(
            f"nothing depends on {', '.join(idle)} here, so searching it cannot help {names_of(objectives)}"
        )
    space = checked.space
    print(f"dg sweep search: {options.trials} trials by {names_of(objectives)}, pruner {pruner}", flush=True)
    for name, text in space.described().items():
        print(f"  {name}: {text}")
    if any_oracle(objectives):
        print(f"  ORACLE: {', '.join(space.names)} chosen by {names_of(objectives)}: not domain generalisation")
    return SweepPlan(
        options, tuple(shared), checked.base, objectives, space, search_report, renders(checked), pruner,
        options.prune_after,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
