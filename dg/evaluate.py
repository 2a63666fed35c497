"""`python -m dg.evaluate CHECKPOINT [targets=[NAME:ARGUMENT,...]] [key=value ...]`: a lifter on test sets, each under
its protocol.

CHECKPOINT is a best.pt or checkpoint-STEP.pt that dg.train wrote, or the folder of its run. It tells its own lifter and
input; given may be what does not change them: targets, depth, body, render, pool, address, cache, tracking, device,
threads (as for dg.train; pool=local, targets those of the run). Depth is drawn where the input needs it.

options (key=default):
  published=                instead of CHECKPOINT: a published PoseAug checkpoint; say lifter=NAME inputs=xy with it
  model=                    instead of CHECKPOINT: a TorchScript or ONNX file that lifts [batch, joints, channels]; say
                            inputs=xy|xyd, and skeleton=, frames=, dscale2d=, ... where they are not the defaults; files
                            of dg.export tell all that themselves
  unit=m                    m | mm, of such a file's output
  trust=false               true: a TorchScript file may run; it is a program, with all the rights that you have
  weights=auto              in a run's folder: best (by source validation) | last; auto: best where there is one
  tta=protocol              none | flip | reverse | flip+reverse, instead of the test set's own; reverse turns windows
                            around in time
  label=                    what tables call the lifter of published= or model=; empty: the file's name
  regime=DG                 DG | DA, of the same
  out=                      JSON file for the results, with the errors of every frame beside it (.errors.npz); empty:
                            runs/evaluate-NAME-TIME/evaluation.json

exit codes: 0 done, 2 wrong option, 3 resources, 4 data or file that cannot be used, 6 too many quarantined poses
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
    from dg.runs.display import Display
    from dg.trained.evaluation_run import EvaluateOptions, run
    from dg.trained.options import split_words

    try:
        checkpoint, given, rest = split_words(words, EvaluateOptions)
        summary = run(EvaluateOptions(checkpoint, words=tuple(rest), **given))
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    display = Display()
    display.results(summary["results"])
    display.say(f"{summary['wall_s']:.1f} s; written to {summary['out']} and, frame by frame, {summary['errors']}")
    if summary["see"]:
        display.say(f"see it: {summary['see']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
