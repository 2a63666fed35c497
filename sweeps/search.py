"""`python -m sweeps.search space.KEY=... [key=value ...]`: search any keys of dg.train for what serves an objective.

    python -m sweeps.search space.lr=log:1e-4..1e-2 'space.method=erm|poseaug' space.d_ref=3.5..6.0 trials=30
    python -m sweeps.search space=space.yaml objectives=[source_val,seconds] concurrency=3

The first trial is what dg.train would do without the search, where the space holds that. Then Optuna asks: TPE, or a
Gaussian process for a single number. Targets are reported and never chosen by, unless an objective is named
`oracle:TARGET`; then everything is tagged `oracle`.

Exit codes: as dg.train (0 done, 2 configuration, 3 resources, 4 data, 130 interrupted; 1 when no trial succeeded).
"""

import sys
from collections.abc import Mapping, Sequence

from dg.settings.command import fail
from dg.settings.config import ConfigError
from sweeps.command import run
from sweeps.objective import SECONDS, any_oracle, names_of, parse_objectives
from sweeps.options import REFUSED, SearchOptions, problems, pruner_of, split_words
from sweeps.plan import SweepPlan
from sweeps.space import Parameter, read_space

WHAT = """Search any keys of dg.train, options of plug-ins included, for what serves one objective or two.

what to search, one word a key, or all in one:
  space.lr=log:1e-4..1e-2             a number, every scale alike
  space.d_ref=3.5..6.0                a number in between; 3.5..6.0:0.5 in steps
  space.epochs=5..30                  a whole number, as both ends are
  'space.method=erm|poseaug'          one of these; 'space.lifter.width=256|512' likewise
  space=FILE.yaml                     lines such as `lr: log:1e-4..1e-2` and `method: [erm, poseaug]`

keys of the search (default; meaning):
  trials=40              settings tried in all, pruned ones included
  seeds=[0]              runs of each; the mean over them counts
  objectives=source_val  one or two of: source_val (MPJPE held out of the source), oracle:TARGET (tagged so), both also
                         with :FIGURE behind (pa_mpjpe_mm, n_mpjpe_mm, pck150, auc), and seconds; two: [A,B]
  pruner=auto            median | hyperband | off; ends trials early that are worse than others were at that epoch.
                         auto: median; off with two objectives or seconds
  prune_after=5          epochs in which no trial is pruned; give more than the method's pre-training takes
  concurrency=1          trials at a time; auto: as many as keep the render workers busy
  service=auto           auto: trials that run at once share their render workers; off: each has its own
  study=search           the same command again goes on with the study of this name
  storage=sqlite:///study.db  also journal:FILE (network file systems), postgresql://USER@HOST/DATABASE
  out=runs/STUDY         trial-N/seed-S in it are the folders of the runs

All other keys are dg.train's and hold for every trial, except seed and resume."""


def main(words: list[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h"} & set(words):
        print(WHAT)
        return 0
    is_space = [word.startswith(("space=", "space.")) for word in words]
    try:
        given = read_space([word for word, mine in zip(words, is_space, strict=True) if mine])
        rest = [word for word, mine in zip(words, is_space, strict=True) if not mine]
        options, shared = split_words(rest, SearchOptions, REFUSED)
        found = problems(options)
        if found:
            raise ConfigError("\n".join(found))
    except ConfigError as error:
        return fail(error, 2)
    return run("sweeps.search", lambda: make_plan(options, shared, given), words)


def make_plan(options: SearchOptions, shared: Sequence[str], given: Mapping[str, Parameter]) -> SweepPlan:
    """Check everything, say what will be done. Raises ConfigError."""
    from sweeps.findings import search_report
    from sweeps.space_check import check_space, idle_keys, renders

    settings = check_space(given, shared)
    objectives = parse_objectives(options.objectives, settings.base.target_names)
    pruner = pruner_of(options, objectives)
    idle = idle_keys(settings)
    if idle and all(objective.figure != SECONDS for objective in objectives):
        raise ConfigError(
            f"nothing depends on {', '.join(idle)} here, so searching it cannot help {names_of(objectives)}"
        )
    space = settings.space
    print(f"sweeps.search: {options.trials} trials by {names_of(objectives)}, pruner {pruner}", flush=True)
    for name, text in space.described().items():
        print(f"  {name}: {text}")
    if any_oracle(objectives):
        print(f"  ORACLE: {', '.join(space.names)} chosen by {names_of(objectives)}: not domain generalisation")
    return SweepPlan(
        options, tuple(shared), settings.base, objectives, space, search_report, renders(settings), pruner,
        options.prune_after,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
