"""`python -m dg.export CHECKPOINT format=torchscript|onnx out=FILE`: a lifter as a file that needs nothing of this
repository.

CHECKPOINT is a best.pt or checkpoint-STEP.pt that dg.train wrote, or the folder of its run. The file takes the run's
input, such as width-normalised 2D [batch, joints, 2], and gives root-relative joints [batch, joints, 3] in metres; with
frames above 1 the input is [batch, frames, joints, channels]. What the channels are (dscale2d is applied before) is
written into the file and beside it, FILE.json. `python -m dg.evaluate model=FILE` evaluates it.

options (key=default):
  format=torchscript        torchscript | onnx (onnx needs the extra `export`)
  out=                      the file to write: .pt for torchscript, .onnx for onnx
  weights=auto              in a run's folder: best (by source validation) | last; auto: best where there is one
  published=                instead of CHECKPOINT: a published PoseAug checkpoint; say lifter=NAME inputs=xy with it

exit codes: 0 done, 2 wrong option, 4 a checkpoint that cannot be used
"""

import sys
from collections.abc import Sequence

from dg.settings.command_line import fail
from dg.settings.exit_codes import exit_code


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"-h", "--help", "help"} & set(words):
        print(__doc__)
        return 0 if words else 2
    # After the help, which needs no torch.
    from dg.trained.exporting import ExportOptions, export
    from dg.trained.options import split_words

    try:
        checkpoint, given, rest = split_words(words, ExportOptions)
        path = export(ExportOptions(checkpoint, words=tuple(rest), **given))
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    print(f"written to {path}, described in {path}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
