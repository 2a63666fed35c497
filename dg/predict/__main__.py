"""`dg predict IMAGE_OR_FOLDER checkpoint=CHECKPOINT [key=value ...]`: people in photographs lifted to 3D."""

import sys
from collections.abc import Sequence
from typing import Any

from dg.predict.settings import PredictOptions, predict_options
from dg.settings.command import Command, run_command
from dg.settings.errors import DATA

COMMAND = Command(
    name="predict",
    about="""Lift the people in photographs to 3D.

RT-DETR finds the people and ViTPose their 2D joints; where the lifter's input has depth, a depth network estimates it.
Of IMAGE.jpg are written OUT/IMAGE.jpg.json (2D, confidence, depth, 3D in metres relative to the pelvis) and
OUT/IMAGE.jpg.prediction.png, of all images OUT/summary.json. Images that cannot be read are left out and listed.

Networks come from the Hugging Face hub or from local folders; see docs/images.md.""",
    settings=PredictOptions,
    usage="IMAGE_OR_FOLDER checkpoint=CHECKPOINT [key=value ...]",
    plugin_options="ImageOptions",
    codes=(DATA,),
    needs=True,
    examples=(
        "dg predict photos/ checkpoint=runs/mine focal=1145",
        "dg predict clip/ checkpoint=runs/mine/best.pt sequence=true people=best out=lifted",
    ),
)


def main(args: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    return run_command(COMMAND, args, _main)


def _main(args: list[str]) -> int:
    options = predict_options(args)
    # After the help, which needs no torch.
    from dg.predict.run import run

    print(_conclusion(run(options, print)))
    return 0


def _conclusion(summary: dict[str, Any]) -> str:
    nobody, unreadable = len(summary["without_people"]), len(summary["unreadable"])
    left = [f"{nobody} without people"] * (nobody > 0) + [f"{unreadable} unreadable"] * (unreadable > 0)
    counts = f"{summary['people']} people in {summary['images']} images" + "".join(f", {text}" for text in left)
    return f"{counts}; {summary['wall_s']:.1f} s; written to {summary['out']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
