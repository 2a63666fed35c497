"""`python -m dg.grid methods=[...] lifters=[...] inputs=[...] frames=[...] seeds=[...] [key=value ...]`: a comparison.

Every combination is one `python -m dg.train`, several at once, under one parent run in MLflow; the end is the table of
`dg.compare`. The same command again skips what is finished and goes on with the rest.

Exit codes: 0 every run finished, 1 some failed, 2 configuration, 3 another driver is at work, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dg.grid.cells import GridOptions, split_words
from dg.settings.command import fail
from dg.settings.config import ConfigError

if TYPE_CHECKING:
    from dg.grid.plan import Plan

WHAT = """Compare methods: train all of methods x lifters x inputs x frames x seeds, some at once, then show
dg.compare's table.

keys of the grid (default; meaning):
  methods=[...]            to compare, with options after a ?: 'methods=[erm,poseaug?feedback=eval&b=2]'
  lifters=[simple_baseline]    likewise
  inputs=[xyd]             what the lifter sees (dg.train's inputs); each may carry dscale2d and the depth source:
                           'inputs=[xy,xyd?dscale2d=focal,xyd?depth=noisy_zbuffer&depth.shift_m=0.1]'
  frames=[1]               lengths of the windows that the lifters see
  seeds=[0]                runs of each; the table shows mean and standard deviation over them
  parallel=0               runs at once; 0: as many as the machine carries, at least 1. With pool=local (the default
                           here) that is cores / threads, no more than memory allows (2 GiB a run) and four to a GPU;
                           with address=... the cluster's CPUs / (1 + render.actors), and its GPUs likewise
  out=                     folder of the grid; empty: the newest runs/grid-* of these very cells, else runs/grid-TIME

The same command again skips finished runs, goes on with half-done ones and tries failed ones again; with further
methods, lifters, inputs, frames or seeds and out=FOLDER it adds them. All other keys are dg.train's and hold for every
run (pool=local threads=1 unless given); adapt_to and adapt_part go to the methods alone that are domain adaptation.
In most shells the lists need quotes."""


def main(words: list[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h"} & set(words):
        print(WHAT)
        return 0
    try:
        options, shared = split_words(words)
        return run(options, shared, words)
    except ConfigError as error:
        return fail(error, 2)
    except KeyboardInterrupt:  # before there was anything to stop
        return 130


def run(options: GridOptions, shared: Sequence[str], words: Sequence[str]) -> int:
    """Go on with the grid, or begin it, until every cell has ended. Returns the exit code; raises ConfigError."""
    from dg.grid.session import GridBusyError
    from dg.grid.sitting import again, run_grid
    from dg.tracking import TrackingError

    try:
        session, complete = run_grid(options, shared, lambda plan: _introduce(options, plan))
    except TrackingError as error:
        return fail(error, 2)
    except GridBusyError as error:
        return fail(error, 3)
    if complete and not session.failed:
        return 0
    what = "interrupted; go on with" if not complete else f"{len(session.failed)} failed; try them again with"
    print(f"{what}\n  {again('dg.grid', words, session.folder)}", flush=True)
    return 1 if complete else 130


def _introduce(options: GridOptions, plan: "Plan") -> None:
    lists = [(n, len(getattr(options, n))) for n in ("methods", "lifters", "inputs", "frames", "seeds")]
    lists = [(name, count) for name, count in lists if name != "frames" or count > 1]
    spelled = " x ".join(f"{count} {name if count > 1 or name == 'inputs' else name[:-1]}" for name, count in lists)
    print(f"dg.grid: {len(plan.cells)} runs = {spelled}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
