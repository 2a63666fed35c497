"""Evaluation protocols: what has to agree before two numbers may stand side by side (DESIGN 5.9, METHODS 7).

`BENCHMARKS` holds the field's test sets under the names that data sets give them, so that every loader, the tables of
`dg.compare` and the published numbers mean the same by a name.
"""

from dataclasses import dataclass, fields
from typing import Literal

NOT_STATED = "not stated"
POSEBENCH = "posebench"
Normalise = Literal["frame", "posebench"]  # by what the 2D is divided
# Detectors by the names of their files, as the published numbers call them.
DETECTORS = {"cpn_ft_h36m_dbb": "cpn", "detectron_ft_h36m": "det", "hr": "hrnet"}
# Parts of an id that say by content which data a number was measured on, and from which file its depth was read.
DATA, DEPTH_DATA = "data=", "depth_data="


@dataclass(frozen=True)
class Protocol:
    """The parts of a protocol id. None: whoever gave the number did not say, and it agrees with nothing.

    dataset: without the choice of frames (`3DHP`, not `3DHP-2929`). flavour: which ground truth. joints: the skeleton.
    source_2d: `gt` or the detector, at test time. depth: the source, `none` without depth. tta: `none` or `flip`.
    time: `recorded`, or how the clips were changed (`reversed`). norm: by what the 2D is divided, `frame` for the width
    or the longer side of each frame, `posebench` for PoseBench3D's one frame of 1080 x 1920 px for all of 3DPW.
    """

    dataset: str | None = None
    flavour: str | None = None
    frames: int | None = None
    joints: str | None = None
    source_2d: str | None = None
    depth: str | None = None
    tta: str | None = None
    time: str | None = "recorded"
    norm: str | None = "frame"

    @classmethod
    def parse(cls, text: str) -> "Protocol":
        """Read an id as `PoseDataset.protocol` writes it: `NAME/FLAVOUR/nFRAMES/JOINTS/2d=../depth=../tta=../data=..`.

        A part that is not there stays unknown: an id of another form never agrees with anything by accident. The digest
        of the data is left out: no paper states one.
        """
        name, *rest = text.split("/")
        found: dict[str, str | int] = {"dataset": BENCHMARKS[name].dataset if name in BENCHMARKS else name}
        plain = []
        for part in rest:
            if part.startswith((DATA, DEPTH_DATA)):
                continue
            key, equals, value = part.partition("=")
            if equals and key in _KEYS:
                found[_KEYS[key]] = DETECTORS.get(value, value) if key == "2d" else value
            elif part[:1] == "n" and part[1:].isdigit():
                found["frames"] = int(part[1:])
            else:
                plain.append(part)
        found |= dict(zip(("flavour", "joints"), plain, strict=False))
        return cls(**found)  # type: ignore[arg-type]

    def differences(self, other: "Protocol", leave_out: tuple[str, ...] = ()) -> list[str]:
        """Say why numbers under two protocols may not stand side by side.

        Args:
            other: the protocol to compare with.
            leave_out: names of the fields that are not compared.

        Returns:
            Texts such as `frames 2,929 against 2,875`, our own value first; the last one names the fields that are not
            stated. The list is empty where the numbers may stand side by side.
        """
        names = [f.name for f in fields(self) if f.name not in leave_out]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        found = [
            f"{_WORDS[name]} {_spell(ours)} against {_spell(theirs)}"
            for name, (ours, theirs) in pairs.items()
            if None not in (ours, theirs) and ours != theirs
        ]
        missing = [_WORDS[name] for name, pair in pairs.items() if None in pair]
        return found + ([f"{NOT_STATED}: {', '.join(missing)}"] if missing else [])

    def unknown(self) -> list[str]:
        """Return the parts that are not stated, in words."""
        return [_WORDS[f.name] for f in fields(self) if getattr(self, f.name) is None]

    def __str__(self) -> str:
        return ", ".join(f"{_WORDS[f.name]} {_spell(getattr(self, f.name))}" for f in fields(self))


@dataclass(frozen=True)
class Benchmark:
    """One test set as the field uses it. name: a data set's own (`PoseDataset.name`); dataset: its family."""

    name: str
    dataset: str
    flavour: str
    frames: int
    joints: str
    tta: str
    source_2d: str = "gt"
    norm: str = "frame"

    def protocol(self, depth: str) -> Protocol:
        """Return the benchmark's evaluation protocol for a given depth source, by its name, or `none`."""
        return Protocol(
            self.dataset, self.flavour, self.frames, self.joints, self.source_2d, depth, self.tta, norm=self.norm
        )


# METHODS 7, table; frame counts of 3DHP-all: METHODS 1.6 (AdaptPose leaves out the first 100 of TS3 and of TS4).
# Where detections are usual too, the 2D source here is the one that the DG papers take.
BENCHMARKS = {
    b.name: b
    for b in (
        Benchmark("h36m", "H36M", "camera-frame", 543_344, "h36m_16", "none"),
        Benchmark("3DHP-2929", "3DHP", "univ_annot3", 2_929, "h36m_16", "flip"),
        Benchmark("3DHP-valid", "3DHP", "annot3", 2_875, "h36m_17", "flip"),
        Benchmark("3DHP-all", "3DHP", "annot3", 24_888, "h36m_16", "none"),
        Benchmark("3DHP-all-24688", "3DHP", "annot3", 24_688, "h36m_16", "none"),
        Benchmark("3DPW-PB", "3DPW", "smpl24", 35_515, "h36m_16", "none", norm="posebench"),
        Benchmark("3DPW-jreg", "3DPW", "smpl-jreg", 35_515, "h36m_16", "none"),
    )
}

_KEYS = {"2d": "source_2d", "depth": "depth", "tta": "tta", "time": "time", "norm": "norm"}
_WORDS = {
    "dataset": "data set",
    "flavour": "ground truth",
    "frames": "frames",
    "joints": "joints",
    "source_2d": "2D",
    "depth": "depth",
    "tta": "TTA",
    "time": "time",
    "norm": "2D divided by",
}


def _spell(value: str | int | None) -> str:
    if value is None:
        return NOT_STATED
    return f"{value:,}" if isinstance(value, int) else value


def data_of(protocol: str) -> str:
    """Return the digest of the data in a protocol id; it is empty in ids from before there was one."""
    return next((part.removeprefix(DATA) for part in protocol.split("/") if part.startswith(DATA)), "")


def without_data(protocol: str) -> str:
    """Return a protocol id without the digest of its data."""
    return "/".join(part for part in protocol.split("/") if not part.startswith(DATA))
