"""`dg export CHECKPOINT format=torchscript|onnx out=FILE`: a lifter as a file that needs nothing of this project."""

import sys

from dg.settings.command import Command
from dg.settings.errors import DATA
from dg.trained.settings import ExportOptions, lifter_options

COMMAND = Command(
    name="export",
    about="""Write a lifter as a file that needs nothing of this project.

CHECKPOINT is a best.pt or checkpoint-STEP.pt that dg train wrote, or the folder of its run. The file takes the run's
input, such as width-normalised 2D [batch, joints, 2], and gives root-relative joints [batch, joints, 3] in metres; with
frames above 1 the input is [batch, frames, joints, channels]. What the channels are (dscale2d is applied before) is
written into the file and beside it, FILE.json. `dg evaluate model=FILE` evaluates it.""",
    settings=ExportOptions,
    usage="[CHECKPOINT] [key=value ...]",
    codes=(DATA,),
    needs=True,
    examples=(
        "dg export runs/mine format=onnx out=lifter.onnx",
        "dg export published=FILE.pth.tar lifter=video_pose_3d inputs=xy out=lifter.pt",
    ),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = lifter_options(ExportOptions, args)
    # After the help, which needs no torch.
    from dg.trained.exporting import export

    path = export(options)
    print(f"written to {path}, described in {path}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
