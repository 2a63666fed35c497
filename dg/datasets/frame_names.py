"""What each data set's frames are called, by which their rows find depth and detections from images.

`dg.extract_depth.layouts` gives files these names; the tables of both are in docs/images.md. Frames of Human3.6M, Fit3D
and MPI-INF-3DHP count from 1, as whoever cuts their videos counts; those of 3DPW from 0, as their files do.
"""

from collections.abc import Iterable


def h36m_frames(subject: str, action: str, camera: str, frames: Iterable[int]) -> list[str]:
    """Names of frames of Human3.6M.

    Args:
        subject: such as `S9`.
        action: as VideoPose3D's files spell it, such as `Directions 1`.
        camera: the camera's number.
        frames: numbers, the first of a take is 0.
    """
    return [f"{subject}/{action}.{camera}/{frame + 1:06d}" for frame in frames]


def fit3d_frames(subject: str, camera: str, action: str, frames: Iterable[int]) -> list[str]:
    """Names of frames of Fit3D.

    Args:
        subject: such as `s03`.
        camera: the camera's number.
        action: the exercise.
        frames: numbers, the first of an exercise is 0.
    """
    return [f"{subject}/{camera}/{action}/{frame + 1:06d}" for frame in frames]


def mpi_inf_3dhp_test_frames(sequences: Iterable[str], frames: Iterable[int]) -> list[str]:
    """Names of frames of MPI-INF-3DHP's test set.

    Args:
        sequences: `TS1` to `TS6`, of each row.
        frames: numbers, the first of a sequence is 0.
    """
    return [f"{name}/imageSequence/img_{frame + 1:06d}.jpg" for name, frame in zip(sequences, frames, strict=True)]


def mpi_inf_3dhp_train_frames(subject: str, sequence: str, camera: int, frames: Iterable[int]) -> list[str]:
    """Names of frames of MPI-INF-3DHP's training part.

    Args:
        subject: such as `S1`.
        sequence: such as `Seq1`.
        camera: number of the video.
        frames: numbers, the first of a video is 0.
    """
    return [f"{subject}/{sequence}/video_{camera}/{frame + 1:06d}" for frame in frames]


def pw3d_frames(sequence: str, frames: Iterable[int]) -> list[str]:
    """Names of frames of 3DPW.

    Args:
        sequence: such as `downtown_walking_00`.
        frames: numbers, the first of a sequence is 0.
    """
    return [f"{sequence}/image_{frame:05d}.jpg" for frame in frames]
