"""A recording for the viewer Rerun (the extra `rerun`): people in 3D, and pictures with their 2D, over time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dg.drawing.pose import side_colour
from dg.drawing.viewer import ViewerFrame
from dg.pose.skeleton import Skeleton
from dg.settings.errors import OptionError

RECORDING = ".rrd"
_RADIUS_M, _RADIUS_PX = 0.012, 1.5


def write_rerun(path: Path, frames: Sequence[ViewerFrame], skeleton: Skeleton, fps: float = 0.0) -> None:
    """Write a recording, whole or not at all.

    Args:
        path: of the file.
        frames: what is shown at each time; people are told apart by their labels.
        skeleton: of their joints.
        fps: of a clip; 0 where it is none, which has no times.

    Raises:
        OptionError: where Rerun is not installed.
    """
    rerun = load_rerun()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    recording = rerun.RecordingStream("dg predict")
    try:
        recording.save(str(aside))
        recording.log("people", rerun.ViewCoordinates.RDF, static=True)
        before: set[str] = set()
        for number, frame in enumerate(frames):
            recording.set_time("frame", sequence=number)
            if fps > 0:
                recording.set_time("time", duration=number / fps)
            before = _log_frame(rerun, recording, frame, skeleton, before)
        recording.flush()
        recording.disconnect()
        aside.replace(path)
    finally:
        recording.disconnect()
        aside.unlink(missing_ok=True)


def _log_frame(
    rerun: Any,  # noqa: ANN401 - an extra
    recording: Any,  # noqa: ANN401
    frame: ViewerFrame,
    skeleton: Skeleton,
    before: set[str],
) -> set[str]:
    """Log one frame; who was there before and is not any more is cleared. Returns who is there."""
    if frame.picture is not None:
        kind = "image/png" if frame.picture.startswith(b"\x89PNG") else "image/jpeg"
        recording.log("picture", rerun.EncodedImage(contents=frame.picture, media_type=kind))
    there = set()
    for number, label in enumerate(frame.labels):
        there.add(label)
        strips, colours = _bones(frame.poses[number], skeleton)
        recording.log(f"people/{label}", rerun.LineStrips3D(strips, colors=colours, radii=_RADIUS_M))
        if number < len(frame.joints_2d):
            strips, colours = _bones(frame.joints_2d[number], skeleton)
            recording.log(f"picture/{label}", rerun.LineStrips2D(strips, colors=colours, radii=_RADIUS_PX))
    for label in before - there:
        for place in ("people", "picture"):
            recording.log(f"{place}/{label}", rerun.Clear(recursive=True))
    return there


def _bones(joints: np.ndarray, skeleton: Skeleton) -> tuple[list[np.ndarray], list[list[int]]]:
    """The two ends of each bone whose joints were found, and its colour."""
    ends = {bone: joints[list(bone)] for bone in skeleton.bones}
    known = [bone for bone in skeleton.bones if np.isfinite(ends[bone]).all()]
    colours = [side_colour(skeleton, child) for _, child in known]
    return [ends[bone] for bone in known], [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in colours]


def load_rerun() -> Any:  # noqa: ANN401
    """The package Rerun. Raises OptionError where it is not installed."""
    try:
        import rerun  # pyright: ignore[reportMissingImports] - an extra that the tests' environment may lack
    except ImportError as error:
        raise OptionError("rerun=true needs Rerun: pip install -c constraints.txt -e '.[rerun]'") from error
    return rerun
