"""Frames per second of each stage of `dg predict`, of one person in 1,000 frames, one thread.

    python -m tests.bench.predict

MediaPipe is measured where its environment is there (docs/predict.md), decoding where PyAV is.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dg.images.keypoint_file import read_keypoint_file
from dg.images.mediapipe_detector import MediaPipeDetector, mediapipe_python
from dg.images.people import joints_on
from dg.images.settings import DetectorOptions
from dg.images.tracker import track_people
from dg.images.video import Video, write_video
from dg.predict.clips import People2d, lift_clip, person_of, with_tracks, write_clip
from dg.predict.overlay import draw_over
from dg.predict.predictor import ImagePredictor
from dg.predict.settings import predict_options
from tests.images.keypoint_files import truth
from tests.images.photo_maker import photograph, two_people

FRAMES, VIDEO_FRAMES, WIDTH, HEIGHT = 1000, 60, 1920, 1080


def main() -> None:
    """Print a line for each stage."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        people(Path(folder))
        pictures(Path(folder))


def people(folder: Path) -> None:
    """From a keypoint file to the files of the result."""
    made = truth()
    row = np.nan_to_num(np.concatenate([made.joints[0, 0], made.confidence[0, 0, :, None]], -1)).reshape(-1).tolist()
    tree = [{"image_id": f"{n}.jpg", "category_id": 1, "keypoints": row, "score": 1.0, "idx": 1} for n in range(FRAMES)]
    (folder / "k.json").write_text(json.dumps(tree))
    predictor = ImagePredictor(
        predict_options([f"keypoints={folder}/k.json", f"out={folder}", "device=cpu"]), detects=False
    )
    found = timed("read keypoints", FRAMES, lambda: read_keypoint_file(folder / "k.json", (WIDTH, HEIGHT)))
    joints, confidence = joints_on(found.joints_2d, found.confidence, found.skeleton, predictor.skeleton)
    track = timed("track", FRAMES, lambda: track_people(joints, found.frame, found.frames))
    each = [person_of(found.joints_2d[n], found.confidence[n], found.skeleton, None) for n in range(FRAMES)]
    cameras = [predictor.camera((WIDTH, HEIGHT))] * FRAMES
    flat = People2d(found.frames, found.frame, with_tracks(each, track), joints, confidence, cameras)
    lift_clip(predictor, flat)
    clip = timed("lift, starter lifter", FRAMES, lambda: lift_clip(predictor, flat))
    timed("write JSON, archive and page", FRAMES, lambda: write_clip(predictor, clip, folder / "k", "k", {}))
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    shown = [lifted for _, lifted in clip.frames[:VIDEO_FRAMES]]
    over = timed("draw over 1080p", VIDEO_FRAMES, lambda: [draw_over(grey, p, predictor.skeleton) for p in shown])
    try:
        timed("encode 1080p", VIDEO_FRAMES, lambda: write_video(folder / "o.mp4", iter(over), 30.0))
    except ValueError as error:
        print(f"encode 1080p: {error}")


def pictures(folder: Path) -> None:
    """Decoding and MediaPipe."""
    try:
        grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        write_video(folder / "v.mp4", iter([grey] * VIDEO_FRAMES), 30.0)
        timed("decode 1080p", VIDEO_FRAMES, lambda: sum(1 for _ in Video(folder / "v.mp4").frames()))
    except ValueError as error:
        print(f"decode 1080p: {error}")
    if mediapipe_python() is not None:
        detector = MediaPipeDetector(DetectorOptions(detector="mediapipe"))
        photo = photograph(two_people()[:1] - torch.tensor([-0.5, 0.1, 1.2]), 640, 720, 640.0)
        for what, picture in (("one person", photo.rgb), ("nobody", np.full((720, 640, 3), 90, np.uint8))):
            detector([picture])
            timed(f"MediaPipe, {what} in 640 x 720", 10, lambda picture=picture: detector([picture] * 10))
        detector.close()


def timed(what: str, frames: int, work: Callable):
    """Do a stage and print its frames per second."""
    start = time.perf_counter()
    made = work()
    print(f"{what}: {frames / (time.perf_counter() - start):,.0f} frames/s")
    return made


if __name__ == "__main__":
    main()
