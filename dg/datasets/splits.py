"""Which clips and people belong to train, validation and test, the same on every machine and for every subset."""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from math import ceil
from pathlib import Path

from dg.datasets.base import DataError

VALIDATION_SHARE = 0.05


def held_out(subject: str, clips: Collection[str]) -> set[str]:
    """Choose the 5 % of a person's clips that validate; none where there is a single one.

    The choice is by a hash, not by a generator: a clip stays on its side whatever else the file holds.

    Args:
        subject: name of the person.
        clips: names of the person's clips.
    """
    count = ceil(VALIDATION_SHARE * len(clips)) if len(clips) > 1 else 0
    return set(sorted(clips, key=lambda c: blake2b(f"{subject}/{c}".encode(), digest_size=8).digest())[:count])


def clips_of(split: str, subject: str, clips: Collection[str]) -> list[str]:
    """Return a training person's clips in `train` or `val`, in the given order.

    Args:
        split: `train` or `val`.
        subject: name of the person.
        clips: names of all of the person's clips.
    """
    chosen = held_out(subject, clips)
    return [clip for clip in clips if (clip in chosen) == (split == "val")]


def files_of(
    split: str, files: Mapping[str, Mapping[str, Path]], trained_on: Collection[str], where: str
) -> list[tuple[str, str, Path]]:
    """List the files of a split; people in `trained_on` train and validate, the others are tested.

    Args:
        split: `train`, `val` or `test`.
        files: the files by person and clip.
        trained_on: names of the people who train and validate.
        where: the place of the files, for the message.

    Returns:
        Person, clip and file of each clip.

    Raises:
        DataError: for names that are not there, that leave none to test, or for a split without a clip.
    """
    if trained_on and not set(trained_on) < set(files):
        raise DataError(
            f"{where}: subjects_train: expected some, not all, of the subjects there {list(files)[:40]}, got "
            f"{sorted(trained_on)}"
        )
    found = []
    for person in (name for name in files if (name in trained_on) == (split != "test")):
        clips = list(files[person]) if split == "test" else clips_of(split, person, list(files[person]))
        found += [(person, clip, files[person][clip]) for clip in clips]
    if not found:
        raise DataError(f"{where}: no clip is left for {split!r} with subjects_train={sorted(trained_on)}")
    return found
