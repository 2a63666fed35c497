"""`dg grid methods=[...] lifters=[...] inputs=[...] frames=[...] seeds=[...] [key=value ...]`: a comparison."""

import sys
from typing import TYPE_CHECKING

from dg.grid.cells import GridOptions, read_grid
from dg.settings.command import Command
from dg.settings.errors import FAILED, RESOURCES

if TYPE_CHECKING:
    from dg.grid.plan import GridPlan

COMMAND = Command(
    name="grid",
    about="""Compare methods: train all of methods x lifters x inputs x frames x seeds, some at once, under one parent
run in MLflow, then show the table of `dg compare`.

The same command again keeps finished runs, resumes half-done ones and tries failed ones again; with further methods,
lifters, inputs, frames or seeds and out=FOLDER it adds them. In most shells the lists need quotes.""",
    settings=GridOptions,
    train_keys="""All other keys are those of `dg train` and hold for every run (pool=local threads=1 unless given);
adapt_to and adapt_part go to the methods alone that are domain adaptation.""",
    codes=(FAILED, RESOURCES),
    needs=True,
    examples=("dg grid 'methods=[erm,poseaug]' 'inputs=[xy,xyd]' 'seeds=[0,1,2]'", "dg grid 'methods=[erm]' out=g"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options, shared = read_grid(args)
    # After the help, which needs none of it.
    from dg.grid.session import run_grid

    return run_grid(options, shared, "dg grid", args, lambda plan: _introduce(options, plan))


def _introduce(options: GridOptions, plan: "GridPlan") -> None:
    lists = [(n, len(getattr(options, n))) for n in ("methods", "lifters", "inputs", "frames", "seeds")]
    lists = [(name, count) for name, count in lists if name != "frames" or count > 1]
    spelled = " x ".join(f"{count} {name if count > 1 or name == 'inputs' else name[:-1]}" for name, count in lists)
    print(f"dg grid: {len(plan.cells)} runs = {spelled}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
