"""One call of `dg predict`: photographs, keypoints or a video to 3D, and the files that tell of it."""

import time
from pathlib import Path
from typing import Any

import torch

from dg.files.atomic import write_json
from dg.images.keypoint_formats.content import open_content
from dg.images.video import Video, is_video
from dg.predict.keypoints import lift_keypoints
from dg.predict.photographs import lift_photographs, photographs
from dg.predict.predictor import Detector, ImagePredictor
from dg.predict.rerun_file import load_rerun
from dg.predict.scenes import DepthOfImage
from dg.predict.settings import PredictOptions
from dg.predict.tally import Say, Tally
from dg.predict.videos import lift_video

SUMMARY = "summary.json"


def run(
    options: PredictOptions, say: Say, detector: Detector | None = None, depth: DepthOfImage | None = None
) -> dict[str, Any]:
    """Lift the people in every image, frame or keypoint file and write the files.

    Args:
        options: of the command.
        say: prints a line.
        detector: as for `ImagePredictor`.
        depth: as for `ImagePredictor`.

    Returns:
        What `summary.json` holds.

    Raises:
        ImageError: where no image can be read.
        FileFormatError: for a video or a keypoint file that cannot be read.
        ConfigError, CheckpointError, DepthCheckpointError: as `ImagePredictor` does.
    """
    start = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    from_file = bool(options.keypoints)
    _look_for_input(options)
    predictor = ImagePredictor(options, detector, depth, detects=not from_file)
    lift = lift_keypoints if from_file else lift_video if is_video(Path(options.images)) else lift_photographs
    tally = Tally()
    made_with = lift(predictor, say, tally)
    summary = {
        "images": tally.images, "people": tally.people, "left_out": predictor.left_out,
        "without_people": tally.without_people, "unreadable": tally.unreadable, "out": str(options.out),
        "wall_s": round(time.monotonic() - start, 3), **made_with,
    }  # fmt: skip
    write_json(Path(options.out) / SUMMARY, summary, allow_nan=False)
    return summary


def _look_for_input(options: PredictOptions) -> None:
    """Raise for an input that is not there before networks are loaded or fetched."""
    if options.rerun:
        load_rerun()
    if options.keypoints:
        open_content(Path(options.keypoints))
    if options.images and is_video(Path(options.images)):
        Video(Path(options.images))
    elif options.images:
        photographs(Path(options.images))
