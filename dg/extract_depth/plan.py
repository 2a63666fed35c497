"""The plan of an extraction: which frames, with which keypoints, in which shards, by which network; and its digest."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dg
from dg.datasets.keypoints import Keypoints, read_keypoints
from dg.extract_depth.layouts import Frame, by_any_name, find_frames
from dg.extract_depth.settings import ExtractOptions
from dg.images.networks import transformers_version
from dg.pose.skeleton import SKELETONS
from dg.settings.errors import ConfigError
from dg.settings.networks import RT_DETR, VIT_POSE
from render_workers.depth.checkpoint_files import content_digest, find_checkpoint
from render_workers.depth.network_source import NetworkFacts

# Part of what a result is: to be raised when the same images and options come out otherwise.
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """Frames that are worked on and stored together.

    Attributes:
        keypoints: keypoints of these frames, by the frames' number; None where they are to be detected.
        rows: the row of each person in the keypoint file.
    """

    number: int
    frames: tuple[Frame, ...]
    keypoints: Keypoints | None
    rows: np.ndarray


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction is to do.

    Attributes:
        frames: frames with keypoints, or all frames for a detector.
        frame_of_row: number of the frame of each row of the keypoint file; -1 where it has none.
        missing: names in the keypoint file that no frame has.
        unused: number of frames that the keypoint file does not name.
        provenance: everything that decides a value, for the result.
    """

    options: ExtractOptions
    frames: tuple[Frame, ...]
    keypoints: Keypoints | None
    frame_of_row: np.ndarray
    missing: tuple[str, ...]
    unused: int
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of everything that decides a value in the result."""
        digest = hashlib.blake2b(json.dumps(self.provenance, sort_keys=True).encode(), digest_size=16)
        for frame in self.frames:
            digest.update(f"{frame.name}\n".encode())
        if self.keypoints is not None:
            for value in (self.frame_of_row, self.keypoints.joints_2d, self.keypoints.confidence, self.keypoints.depth):
                digest.update(b"none" if value is None else np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    @property
    def shard_count(self) -> int:
        """The number of shards: frames divided by the size of a shard, rounded up."""
        return -(-len(self.frames) // self.options.shard)

    def shards(self, numbers: list[int]) -> Iterator[Shard]:
        """Those of these numbers."""
        size = self.options.shard
        order = np.argsort(self.frame_of_row, kind="stable")
        sorted_frames = self.frame_of_row[order]
        for number in numbers:
            first, last = number * size, min((number + 1) * size, len(self.frames))
            rows = np.sort(order[np.searchsorted(sorted_frames, first) : np.searchsorted(sorted_frames, last)])
            keypoints = None if self.keypoints is None else self._of_shard(rows, first)
            yield Shard(number, self.frames[first:last], keypoints, rows)

    def _of_shard(self, rows: np.ndarray, first: int) -> Keypoints:
        assert self.keypoints is not None
        part = self.keypoints.take(rows)
        return Keypoints(
            (), self.frame_of_row[rows] - first, part.joints_2d, part.skeleton, part.confidence, part.size, part.depth,
            part.normalised,
        )  # fmt: skip


def make_plan(options: ExtractOptions) -> ExtractionPlan:
    """Look at the folder of images, the keypoints and the network's checkpoint; reads no image.

    Raises:
        ConfigError: where network and alignment do not go together.
        DataError: for keypoints that cannot be used, and for a folder without images.
        DepthCheckpointError: for a checkpoint that cannot be used.
    """
    choice = options.depth_choice
    facts = choice.facts()
    check_alignment(options, facts)
    skeleton = SKELETONS[options.skeleton]
    keypoints = None if options.detects else read_keypoints(Path(options.keypoints), skeleton)
    frames = find_frames(Path(options.images), options.layout)
    missing: tuple[str, ...] = ()
    frame_of_row, unused = np.zeros(0, np.int64), 0
    if keypoints is not None:
        if options.align == "known" and keypoints.depth is None:
            raise ConfigError(f"align=known needs `depth` in {options.keypoints} (docs/images.md)")
        number = by_any_name(frames)
        wanted = np.array([number.get(name, -1) for name in keypoints.names], np.int64)
        missing = tuple(n for n, w in zip(keypoints.names, wanted, strict=True) if w < 0)
        used = np.unique(wanted[wanted >= 0])
        unused = len(frames) - len(used)
        place = np.full(len(frames), -1, np.int64)
        place[used] = np.arange(len(used))
        frame_of_row = np.where(wanted >= 0, place[wanted], -1)[keypoints.image]
        frames = [frames[i] for i in used]
    provenance = _provenance(options, choice.name, facts)
    return ExtractionPlan(options, tuple(frames), keypoints, frame_of_row, missing, unused, provenance)


def check_alignment(options: ExtractOptions, facts: NetworkFacts) -> None:
    """Raise ConfigError where network and align do not go together."""
    if facts.metric and options.align in ("ground", "known"):
        raise ConfigError(f"{facts.checkpoint} answers metres, which need no align={options.align}")
    if not facts.metric and options.align == "auto":
        raise ConfigError(
            f"{facts.checkpoint} is a relative network: it answers disparity without unit. Say "
            "align=ground camera_height=1.6 horizon=0.45 focal=1.2 for a camera of known height over a flat floor, "
            "align=known for keypoints with `depth`, align=off to keep disparity (which no lifter takes), or take a "
            "metric checkpoint"
        )


def _provenance(options: ExtractOptions, depth: str, facts: NetworkFacts) -> dict[str, Any]:
    """What the result says about itself; nothing about where files lie on this machine."""
    import torch

    metric = facts.metric
    unit = "m" if metric or options.align != "off" else "disparity"
    found: dict[str, Any] = {
        "version": VERSION, "dg": dg.__version__, "torch": torch.__version__,
        "transformers": transformers_version() or "absent",
        "depth": depth, "checkpoint": facts.checkpoint, "network_digest": facts.weights, "metric": metric,
        "trained_focal": facts.trained_focal if metric else 0.0,
        "batch": options.batch, "shard": options.shard, "unit": unit, "align": "none" if metric else options.align,
        "inputs": options.inputs, "skeleton": options.skeleton, "source_2d": options.named_2d,
        "layout": options.layout, "dtype": options.dtype,
    }  # fmt: skip
    # Other sources may have options of any name.
    found |= {f"depth.{name}" if name in found else name: value for name, value in facts.settings.items()}
    found |= {"radius": asdict(options.law)} if options.inputs == "uadd" else {"min_pool": options.min_pool}
    if options.ground is not None:
        found["ground"] = asdict(options.ground)
    if options.detects:
        found["detector"] = _detector(options)
    features = options.feature_options
    if features is not None:
        sizes = features.sizes(depth, options.depth_choice.options)
        found |= {"features": dict(zip(features.names, sizes, strict=True)), "feature_networks": features.digest()}
    return found


def _detector(options: ExtractOptions) -> dict[str, Any]:
    people = options.detector
    return {
        "detector": content_digest(find_checkpoint(people.detector, option="detector.detector", example=RT_DETR)),
        "pose": content_digest(find_checkpoint(people.pose, option="detector.pose", example=VIT_POSE)),
        "person_score": people.person_score,
    }
