"""`python -m dg.predict IMAGE_OR_FOLDER checkpoint=CHECKPOINT [key=value ...]`: people in photographs lifted to 3D.

CHECKPOINT is a best.pt or checkpoint-STEP.pt that dg.train wrote, or the folder of its run. RT-DETR finds the people,
ViTPose their 2D joints; where the lifter's input has depth, Depth Anything V2 estimates it. Of IMAGE.jpg are written
OUT/IMAGE.jpg.json (2D, confidence, depth, 3D in metres relative to the pelvis) and OUT/IMAGE.jpg.prediction.png, of all
OUT/summary.json. The networks come from the Hugging Face hub or from local folders; see docs/images.md.

options (key=default):
  checkpoint=               the lifter; required
  weights=auto              in a run's folder: best (by source validation) | last; auto: best where there is one
  out=predictions           folder for the results; folders below IMAGE_OR_FOLDER are kept in it
  people=all                all | best: the one with the surest joints
  max_people=0              of an image, the largest and surest first; 0: all
  person_score=0.3          least score of a person's box
  detector=PekingU/rtdetr_v2_r18vd                folder or hub id of an RT-DETR or RT-DETR v2 network
  pose=usyd-community/vitpose-base-simple         folder or hub id of a ViTPose network with COCO's 17 keypoints
  depth=depth_anything_v2   where depth comes from; no other source needs nothing but an image
  depth.checkpoint=         folder or hub id; default: the metric indoor small one. A lifter that was trained with
                            another needs it named. Others:
                            depth.input_px=518 depth.precision=auto depth.trained_focal=1.1547
  focal=                    focal length in pixels of the image. Give one of the three, or none: then 2.29 of half the
                            longer side is assumed, and people are not placed in space
  fov=                      horizontal field of view, degrees
  camera=                   fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's distortion)
  sequence=false            true: the images of the folder are one clip, in order, for a lifter of windows (people=best)
  tta=none                  none | flip | reverse | flip+reverse
  picture=true              false: JSON alone
  batch=8                   people at once through the pose network
  device=auto               auto | cpu | cuda
  threads=0                 of torch on the CPU; 0: its own choice

exit codes: 0 done (unreadable images are left out and listed), 2 wrong option, 4 a checkpoint that cannot be used, or
no image that can be read
"""

import sys
from collections.abc import Sequence

from dg.settings.command import fail
from dg.settings.errors import exit_code


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"-h", "--help", "help"} & set(words):
        print(__doc__)
        return 0 if words else 2
    # After the help, which needs no torch.
    from dg.predict.options import parse_words
    from dg.predict.run import run

    try:
        summary = run(parse_words(words), print)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    print(_conclusion(summary))
    return 0


def _conclusion(summary: dict) -> str:
    nobody, unreadable = len(summary["without_people"]), len(summary["unreadable"])
    left = [f"{nobody} without people"] * (nobody > 0) + [f"{unreadable} unreadable"] * (unreadable > 0)
    counts = f"{summary['people']} people in {summary['images']} images" + "".join(f", {text}" for text in left)
    return f"{counts}; {summary['wall_s']:.1f} s; written to {summary['out']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
