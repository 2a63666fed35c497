"""The detector that options name: networks of the Hugging Face hub or of folders, or MediaPipe."""

from collections.abc import Callable, Sequence
from typing import Any

from dg.images.people import Person
from dg.images.settings import MEDIAPIPE, DetectorOptions

Detector = Callable[[Sequence[Any]], list[list[Person]]]


def make_detector(options: DetectorOptions) -> Detector:
    """A detector of people and their 2D joints; it loads only what it needs.

    Args:
        options: `detector=mediapipe`, or the networks.

    Raises:
        DepthCheckpointError: for a checkpoint that is missing, unreachable or of another kind.
        OptionError: where a package is not installed, or a GPU is asked for that is not there.
    """
    if options.detector == MEDIAPIPE:
        from dg.images.mediapipe_detector import MediaPipeDetector

        return MediaPipeDetector(options)
    from dg.images.detector import PersonPoseDetector

    return PersonPoseDetector(options)
