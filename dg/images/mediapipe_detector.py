"""`detector=mediapipe`: people and their 2D joints by the models of MediaPipe's own package; nothing is fetched.

Its last wheel with the models (0.10.21; Apache-2.0) wants protobuf 4 and numpy 1, so that it runs in a process of an
environment of its own: the one that the variable DG_MEDIAPIPE_PYTHON names, or `.venv-mediapipe` here or beside our own
environment. `make mediapipe` makes it, 150 MB large. BlazePose: Bazarevsky et al., 2020.

It finds one person; that person is then painted over for the next one, up to `max_people` (5 unless given). People who
overlap are better left to RT-DETR and ViTPose.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dg.files.plain_text import one_line
from dg.images.people import Person
from dg.images.settings import DetectorOptions
from dg.pose.skeleton import MEDIAPIPE_33
from dg.settings.errors import OptionError

Image = UInt8[np.ndarray, "_ _ 3"]
VARIABLE = "DG_MEDIAPIPE_PYTHON"
FOLDER = ".venv-mediapipe"
VERSION = "0.10.21"
_WORKER = Path(__file__).with_name("mediapipe_worker.py")
_PEOPLE = 5
_MARGIN = 0.1  # of a box around the landmarks
_SEEN = 0.05  # visibility below which a landmark was not found
_ENV = {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONNOUSERSITE": "1"}


def mediapipe_python() -> Path | None:
    """The interpreter of the environment that has MediaPipe; None where there is none."""
    named = os.environ.get(VARIABLE, "")
    places = [Path(named)] if named else [root / FOLDER / "bin/python" for root in (Path(), Path(sys.prefix).parent)]
    return next((place for place in places if place.is_file()), None)


class MediaPipeDetector:
    """Finds people and MediaPipe's 33 landmarks.

    Args:
        options: `max_people` of an image.

    Raises:
        OptionError: where its environment is missing or MediaPipe does not start in it.
    """

    name = "mediapipe"

    def __init__(self, options: DetectorOptions) -> None:
        self.people = options.max_people or _PEOPLE
        python = mediapipe_python()
        if python is None:
            raise OptionError(
                f"detector=mediapipe: no environment with MediaPipe; make mediapipe, or python3.11 -m venv {FOLDER} && "
                f"{FOLDER}/bin/pip install mediapipe=={VERSION}, or name its interpreter in {VARIABLE}"
            )
        self._process = subprocess.Popen(
            [str(python), str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | _ENV,
        )  # fmt: skip
        atexit.register(self.close)
        self.version = str(self._answer().get("ready"))

    def __call__(self, images: Sequence[Image]) -> list[list[Person]]:
        """The people in each image, the largest and surest first.

        Args:
            images: RGB, of any sizes.
        """
        return [self._found(image) for image in images]

    def record(self) -> dict[str, Any]:
        """The detector, for the file of an image."""
        return {"detector": {"checkpoint": f"mediapipe {self.version}, pose_landmark_full"}}

    def close(self) -> None:
        """End its process."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _found(self, image: Image) -> list[Person]:
        height, width = image.shape[:2]
        asked = json.dumps({"width": width, "height": height, "people": self.people})
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(asked.encode() + b"\n" + np.ascontiguousarray(image).tobytes())
            self._process.stdin.flush()
        except OSError:
            self._died()
        people = [_person(np.array(person, np.float32), width, height) for person in self._answer()]
        return sorted(people, key=lambda person: -person.size)

    def _answer(self) -> Any:  # noqa: ANN401 - what the worker says
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._died()
        return json.loads(line)

    def _died(self) -> None:
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        raise OptionError(
            f"detector=mediapipe: its process ended: {one_line(said[-1] if said else 'without a word')}; "
            f"the environment needs mediapipe=={VERSION}"
        )


def _person(landmarks: np.ndarray, width: int, height: int) -> Person:
    joints, confidence = landmarks[:, :2], landmarks[:, 2].clip(0, 1)
    low, high = joints.min(0), joints.max(0)
    margin = _MARGIN * (high - low)
    box = np.concatenate([low - margin, high + margin]).clip(0, [width, height, width, height]).astype(np.float32)
    # Landmarks outside of the image, and those that it says are not to be seen, are guesses of the network.
    guessed = ((joints < 0) | (joints > [width, height])).any(-1) | (confidence < _SEEN)
    joints = np.where(guessed[:, None], np.nan, joints).astype(np.float32)
    confidence = np.where(guessed, 0, confidence).astype(np.float32)
    return Person(box, float(confidence.mean()), joints, confidence, MEDIAPIPE_33)
