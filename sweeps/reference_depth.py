"""`dg sweep reference_depth [key=value ...]`: find d_ref, the reference depth of dscale2d.

Optuna asks for values of d_ref in [3.5, 6.0] metres, first the anchors 3.5, 4.0 ... 6.0, then where a Gaussian process
expects less error; each is one training run a seed. Rendered depth does not depend on d_ref, so the runs share it.

What the sweep can and cannot tell: dscale2d divides x and y by one constant, which the lifter's first layer can undo.
On the source alone the curve may therefore be nearly flat, and its minimum chance. Targets are reported beside it and
never chosen by, unless `objective=oracle:TARGET` says so; then everything is tagged `oracle`.
"""

import sys
from collections.abc import Sequence

from dg.grid.child_run import read_with_train
from dg.settings.command import Command
from dg.settings.command_line import parse
from dg.settings.config import TrainConfig
from dg.settings.errors import DATA, FAILED, RESOURCES, ConfigError
from sweeps.objective import MPJPE, Objective, parse_objective
from sweeps.options import REFUSED, ReferenceDepthOptions, SweepPlan, problems
from sweeps.space import Range, Space

PARAMETER = "d_ref"
ANCHORS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
SPACE = Space({PARAMETER: Range(3.5, 6.0, step=0.01)}, tuple({PARAMETER: anchor} for anchor in ANCHORS))
COMMAND = Command(
    name="sweep reference_depth",
    about="""Sweep d_ref, the reference depth of dscale2d: train once for each value and seed, draw the response curve.
The values 3.5 4.0 4.5 5.0 5.5 6.0 come first.""",
    settings=ReferenceDepthOptions,
    train_keys="""All other keys are those of `dg train` and hold for every trial, except d_ref, seed and resume. For
other keys, or several at once: dg sweep search.""",
    codes=(FAILED, RESOURCES, DATA),
    examples=("dg sweep reference_depth method=random_rigid seeds=[0,1,2]", "dg sweep reference_depth trials=6"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    refused = {PARAMETER: "the sweep chooses it; for one value use dg train"} | REFUSED
    options, shared = read_with_train(ReferenceDepthOptions, args, refused, problems)
    config = parse(shared)
    objective = check(options, config)
    print(f"dg sweep reference_depth: {options.trials} values of d_ref by {objective.name}", flush=True)
    if objective.is_oracle:
        print(f"  ORACLE: d_ref is chosen on the target {objective.name.partition(':')[2]}, not domain generalisation")
    from sweeps.session import run

    return run("dg sweep reference_depth", lambda: _plan(options, shared, config, objective), args)


def check(options: ReferenceDepthOptions, config: TrainConfig) -> Objective:
    """The objective. Raises ConfigError for settings that make no sweep."""
    if config.dscale2d_resolved in ("off", "box"):
        raise ConfigError(
            f"dscale2d is {config.dscale2d_resolved} here, so d_ref changes nothing; use inputs=xyd, or dscale2d=focal "
            "or paper"
        )
    objective = parse_objective(options.objective, config.target_names)
    if objective.figure != MPJPE:
        raise ConfigError(f"the response curve is one of MPJPE, got objective={objective.name!r}; see dg sweep search")
    return objective


def _plan(
    options: ReferenceDepthOptions, shared: Sequence[str], config: TrainConfig, objective: Objective
) -> SweepPlan:
    from dg.settings.command_line import check_plugins
    from sweeps.report import reference_depth_report

    check_plugins(config)
    rendering = config if config.needs_depth else None
    return SweepPlan(options, tuple(shared), config, (objective,), SPACE, reference_depth_report, rendering)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
