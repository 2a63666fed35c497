"""`python -m sweeps.reference_depth [key=value ...]`: find d_ref, the reference depth of dscale2d.

Optuna asks for values of d_ref in [3.5, 6.0] metres, first the anchors 3.5, 4.0 ... 6.0, then where a Gaussian process
expects less error; each is one training run a seed. Rendered depth does not depend on d_ref, so the runs share it.

What the sweep can and cannot tell: dscale2d divides x and y by one constant, which the lifter's first layer can undo.
On the source alone the curve may therefore be nearly flat, and its minimum chance. Targets are reported beside it and
never chosen by, unless `objective=oracle:TARGET` says so; then everything is tagged `oracle`.

Exit codes: as dg.train (0 done, 2 configuration, 3 resources, 4 data, 130 interrupted; 1 when no trial succeeded).
"""

import shlex
import sys
from collections.abc import Sequence

from dg.command_line import fail, help_text, parse
from dg.config import ConfigError, TrainConfig
from sweeps.objective import Objective
from sweeps.options import SweepOptions, check, split_words

PARAMETER, UNIT = "d_ref", "m"
LOW, HIGH, STEP = 3.5, 6.0, 0.01
ANCHORS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
WHAT = """Sweep d_ref, the reference depth of dscale2d: train once for each value and seed, draw the response curve.

keys of the sweep (default; meaning):
  trials=12              values of d_ref in all; 3.5 4.0 4.5 5.0 5.5 6.0 come first
  seeds=[0]              runs of each value; the mean over them counts
  objective=source_val   MPJPE to minimise: source_val (held out of the source) or oracle:TARGET (tagged so)
  concurrency=1          trials at a time
  study=reference_depth  the same command again goes on with the study of this name
  storage=sqlite:///study.db  also journal:FILE (network file systems), postgresql://...
  out=runs/STUDY         trial-N/seed-S in it are the folders of the runs

All other keys are dg.train's and hold for every trial, except d_ref, seed and resume."""


def main(words: list[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h"} & set(words):
        print(help_text("sweeps.reference_depth", WHAT))
        return 0
    try:
        options, shared = split_words(words, PARAMETER)
        config = parse(shared)
        objective = check(options, config)
    except ConfigError as error:
        return fail(error, 2)
    print(f"sweeps.reference_depth: {options.trials} values of d_ref by {objective.name}", flush=True)
    if objective.is_oracle:
        print(f"  ORACLE: d_ref is chosen on the target {objective.name.partition(':')[2]}, not domain generalisation")
    return run(options, shared, config, objective, words)


def run(
    options: SweepOptions, shared: Sequence[str], config: TrainConfig, objective: Objective, words: Sequence[str]
) -> int:
    """Go on with the study, or begin it, until its trials are done. Returns the exit code."""
    from dg.child_run import stopped_by_signals
    from dg.command_line import check_plugins
    from dg.tracking import TrackingError, tracking_uri
    from dg.train import exit_code
    from sweeps.session import Session, StudyBusyError
    from sweeps.study import Space, SweepError

    space = Space(PARAMETER, LOW, HIGH, STEP, ANCHORS)
    session = None
    try:
        check_plugins(config)
        tracking_uri(config.tracking.uri)
        session = Session(options, shared, config, objective, space, UNIT)
        with stopped_by_signals(session.driver, "trials"):
            done = session.run()
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    except SweepError as error:
        return fail(error, error.code)
    except StudyBusyError as error:
        return fail(error, 3)
    except TrackingError as error:
        return fail(error, 2)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    if not done:
        again = " ".join(["python -m sweeps.reference_depth", *map(shlex.quote, words)])
        print(f"interrupted; go on with\n  {again}", flush=True)
        return 130
    return 0 if session.points() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
