"""`dg evaluate CHECKPOINT [targets=[NAME:ARGUMENT,...]] [key=value ...]`: a lifter on test sets."""

import sys

from dg.settings.command import Command
from dg.settings.errors import DATA, QUARANTINED, RESOURCES
from dg.trained.settings import EvaluateOptions, lifter_options

COMMAND = Command(
    name="evaluate",
    about="""Evaluate a lifter on test sets, each under its protocol.

CHECKPOINT is a best.pt or checkpoint-STEP.pt that dg train wrote, or the folder of its run. It tells its own lifter and
input.""",
    settings=EvaluateOptions,
    usage="[CHECKPOINT] [key=value ...]",
    train_keys="of dg train's keys those that do not change the lifter: targets, depth, body, render, pool, address, "
    "cache, tracking, device, threads, data.checks (pool=local, targets those of the run). Depth is drawn where the "
    "input needs it. Places are not taken from CHECKPOINT: tracking and cache are the defaults, and files that it "
    "names must be given (an error says how).",
    codes=(RESOURCES, DATA, QUARANTINED),
    needs=True,
    examples=(
        "dg evaluate runs/mine 'targets=[npz:FILE1,npz:FILE2?stride=5]'",
        "dg evaluate published=FILE.pth.tar lifter=video_pose_3d inputs=xy targets=npz:FILE",
    ),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = lifter_options(EvaluateOptions, args)
    # After the help, which needs no torch.
    from dg.datasets.laws import line
    from dg.evaluation.predictions import not_drawn
    from dg.runs.display import Display
    from dg.trained.evaluation_run import run

    summary = run(options)
    display = Display()
    display.say(line(summary["data_checks"]))
    display.results(summary["results"])
    for row in summary["results"]:
        if row["not_drawn"]:
            display.say(not_drawn(row["target"], row["not_drawn"], int(row["n"])))
    display.say(f"{summary['wall_s']:.1f} s; written to {summary['out']} and, frame by frame, {summary['errors']}")
    if summary["note"]:
        display.say(summary["note"])
    if summary["see"]:
        display.say(f"see it: {summary['see']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
