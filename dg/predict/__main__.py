"""`dg predict INPUT [checkpoint=CHECKPOINT] [key=value ...]`: photographs, videos and keypoints lifted to 3D."""

import sys
from typing import Any

from dg.predict.settings import PredictOptions, predict_options
from dg.settings.command import Command
from dg.settings.errors import DATA

COMMAND = Command(
    name="predict",
    about="""Lift the people in photographs, videos and keypoint files to 3D.

RT-DETR and ViTPose, or detector=mediapipe, find people and their 2D joints; keypoints=FILE brings them from another
tool instead. Where the lifter's input has depth, a depth network estimates it. Without checkpoint= a small lifter of
the package is used.

Of IMAGE.jpg are written OUT/IMAGE.jpg.json (2D, confidence, depth, 3D in metres relative to the pelvis), .html (the 3D
to be turned by the mouse) and .prediction.png; of a video or a keypoint file one of each, with people numbered over
time; of all OUT/summary.json. What cannot be read is left out and listed. See docs/predict.md.""",
    settings=PredictOptions,
    usage="[IMAGE | FOLDER | VIDEO] [key=value ...]",
    plugin_options="ImageOptions",
    codes=(DATA,),
    needs=True,
    examples=(
        "dg predict photo.jpg detector=mediapipe",
        "dg predict keypoints=alphapose-results.json size=1920x1080 bvh=true",
        "dg predict photos/ checkpoint=runs/mine focal=1145",
        "dg predict clip/ checkpoint=runs/mine/best.pt sequence=true people=best out=lifted",
    ),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = predict_options(args)
    # After the help, which needs no torch.
    from dg.predict.run import run

    print(_conclusion(run(options, print)))
    return 0


def _conclusion(summary: dict[str, Any]) -> str:
    nobody, unreadable, few = len(summary["without_people"]), len(summary["unreadable"]), summary["left_out"]
    left = [f"{nobody} without people"] * (nobody > 0) + [f"{unreadable} unreadable"] * (unreadable > 0)
    left += [f"{few} people with too few joints left out"] * (few > 0)
    counts = f"{summary['people']} people in {summary['images']} images" + "".join(f", {text}" for text in left)
    return f"{counts}; {summary['wall_s']:.1f} s; written to {summary['out']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
