"""`python -m sweeps.reference_depth [key=value ...]`: find d_ref, the reference depth of dscale2d.

Optuna asks for values of d_ref in [3.5, 6.0] metres, first the anchors 3.5, 4.0 ... 6.0, then where a Gaussian process
expects less error; each is one training run a seed. Rendered depth does not depend on d_ref, so the runs share it.

What the sweep can and cannot tell: dscale2d divides x and y by one constant, which the lifter's first layer can undo.
On the source alone the curve may therefore be nearly flat, and its minimum chance. Targets are reported beside it and
never chosen by, unless `objective=oracle:TARGET` says so; then everything is tagged `oracle`.

Exit codes: as dg.train (0 done, 2 configuration, 3 resources, 4 data, 130 interrupted; 1 when no trial succeeded).
"""

import sys
from collections.abc import Sequence

from dg.settings.command import fail
from dg.settings.command_line import parse
from dg.settings.config import ConfigError, TrainConfig
from sweeps.command import run
from sweeps.objective import MPJPE, Objective, parse_objective
from sweeps.options import REFUSED, ReferenceDepthOptions, problems, split_words
from sweeps.plan import SweepPlan
from sweeps.space import Range, Space

PARAMETER = "d_ref"
ANCHORS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
SPACE = Space({PARAMETER: Range(3.5, 6.0, step=0.01)}, tuple({PARAMETER: anchor} for anchor in ANCHORS))
WHAT = """Sweep d_ref, the reference depth of dscale2d: train once for each value and seed, draw the response curve.

keys of the sweep (default; meaning):
  trials=12              values of d_ref in all; 3.5 4.0 4.5 5.0 5.5 6.0 come first
  seeds=[0]              runs of each value; the mean over them counts
  objective=source_val   MPJPE to minimise: source_val (held out of the source) or oracle:TARGET (tagged so)
  concurrency=1          trials at a time; auto: as many as keep the render workers busy
  service=auto           auto: trials that run at once share their render workers; off: each has its own
  study=reference_depth  the same command again goes on with the study of this name
  storage=sqlite:///study.db  also journal:FILE (network file systems), postgresql://USER@HOST/DATABASE
  out=runs/STUDY         trial-N/seed-S in it are the folders of the runs

All other keys are dg.train's and hold for every trial, except d_ref, seed and resume. For other keys, or several at
once: python -m sweeps.search."""


def main(words: list[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h"} & set(words):
        print(WHAT)
        return 0
    refused = {PARAMETER: "the sweep chooses it; for one value use python -m dg.train"} | REFUSED
    try:
        options, shared = split_words(words, ReferenceDepthOptions, refused)
        config = parse(shared)
        objective = check(options, config)
    except ConfigError as error:
        return fail(error, 2)
    print(f"sweeps.reference_depth: {options.trials} values of d_ref by {objective.name}", flush=True)
    if objective.is_oracle:
        print(f"  ORACLE: d_ref is chosen on the target {objective.name.partition(':')[2]}, not domain generalisation")
    return run("sweeps.reference_depth", lambda: _plan(options, shared, config, objective), words)


def check(options: ReferenceDepthOptions, config: TrainConfig) -> Objective:
    """The objective. Raises ConfigError for settings that make no sweep."""
    found = problems(options)
    if config.dscale2d_resolved in ("off", "box"):
        found.append(
            f"dscale2d is {config.dscale2d_resolved} here, so d_ref changes nothing; use inputs=xyd, or dscale2d=focal "
            "or paper"
        )
    if found:
        raise ConfigError("\n".join(found))
    objective = parse_objective(options.objective, config.target_names)
    if objective.figure != MPJPE:
        raise ConfigError(f"the response curve is one of MPJPE, got objective={objective.name!r}; see sweeps.search")
    return objective


def _plan(
    options: ReferenceDepthOptions, shared: Sequence[str], config: TrainConfig, objective: Objective
) -> SweepPlan:
    from dg.settings.command_line import check_plugins
    from sweeps.findings import reference_depth_report

    check_plugins(config)
    rendering = config if config.needs_depth else None
    return SweepPlan(options, tuple(shared), config, (objective,), SPACE, reference_depth_report, rendering)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
