"""Runs MediaPipe's pose in a process, and mostly in an environment, of its own; imports nothing of this project.

MediaPipe's last version whose wheel carries the models wants protobuf 4 and numpy 1, which the pinned set does not
have. Asked on the standard input: a line of JSON `{"width", "height", "people"}` and the RGB bytes of an image. Answers
on the standard output: a line of JSON, people of 33 `[x, y, visibility]` in pixels.
"""

import importlib.util
import json
import os
import sys
import types
from typing import Any

import numpy as np

_MARGIN = 0.15  # by which a person's box is larger than the landmarks', when it is painted over
_SAME = 0.25  # of a person's size: nearer landmarks are the same person again
_LEAST = 0.5  # mean visibility of a person's shoulders, or of the hips
_SHOULDERS, _HIPS = [11, 12], [23, 24]


def main() -> None:
    """Answer images until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not come between the answers
    _stand_in("cv2")
    _stand_in("matplotlib", "matplotlib.pyplot")
    import mediapipe  # pyright: ignore[reportMissingImports] - it is in this process's own environment

    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1) as pose:
        print(json.dumps({"ready": mediapipe.__version__}), file=answers, flush=True)
        while line := sys.stdin.buffer.readline():
            asked = json.loads(line)
            shape = asked["height"], asked["width"], 3
            data = sys.stdin.buffer.read(shape[0] * shape[1] * 3)
            found = people(pose, np.frombuffer(data, np.uint8).reshape(shape), asked["people"])
            print(json.dumps(found), file=answers, flush=True)


def _stand_in(package: str, *modules: str) -> None:
    """An empty module for a package that is not installed; MediaPipe imports it for drawings, which nobody asks for."""
    if importlib.util.find_spec(package) is None:
        for name in (package, *modules):
            sys.modules[name] = types.ModuleType(name)


def people(pose: Any, image: np.ndarray, most: int) -> list[list[list[float]]]:  # noqa: ANN401 - not installed here
    """The people in an image, one after the other: MediaPipe finds one, who is then painted over.

    Args:
        pose: MediaPipe's pose solution.
        image: uint8, (height, width, 3), RGB.
        most: people to look for at most.

    Returns:
        One list of landmarks per person, each [x, y, visibility] in pixels.
    """
    rest, found = image.copy(), []
    for _ in range(most):
        person = _one(pose, rest)
        if person is None or any(_same(person, other) for other in found):
            break
        if max(person[_SHOULDERS, 2].mean(), person[_HIPS, 2].mean()) < _LEAST:
            break
        found.append(person)
        low, high = person[:, :2].min(0), person[:, :2].max(0)
        margin = _MARGIN * (high - low)
        left, top = np.maximum(low - margin, 0).astype(int)
        right, bottom = np.maximum(high + margin, 0).astype(int)
        rest[top:bottom, left:right] = image.reshape(-1, 3).mean(0)
    return [person.round(3).tolist() for person in found]


def _one(pose: Any, image: np.ndarray) -> "np.ndarray | None":  # noqa: ANN401
    answer = pose.process(image).pose_landmarks
    if answer is None:
        return None
    height, width = image.shape[:2]
    return np.array([[mark.x * width, mark.y * height, mark.visibility] for mark in answer.landmark])


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    size = max(float(np.ptp(other[:, :2], axis=0).max()), 1.0)
    return bool(np.linalg.norm(one[:, :2] - other[:, :2], axis=-1).mean() < _SAME * size)


if __name__ == "__main__":
    main()
