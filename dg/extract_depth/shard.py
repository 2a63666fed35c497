"""A worker of an extraction: it holds the networks, and turns a shard of images into a file of depths at joints."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dg.datasets.base import DataError
from dg.extract_depth.alignment import AlignmentError, align_to_ground, align_to_joints
from dg.extract_depth.attempts import Attempts
from dg.extract_depth.plan import Shard
from dg.extract_depth.settings import ExtractOptions
from dg.files.atomic import replace_file
from dg.images.detector import PersonPoseDetector
from dg.images.joint_depth import JointDepths, depth_at_joints, joint_depths, torso_px
from dg.images.joint_features import features_at_joints, rgb_batch
from dg.images.people import to_skeleton
from dg.images.reading import ImageError, read_image
from dg.pose.skeleton import SKELETONS
from render_workers.depth.network_source import MappedDepthSource
from render_workers.feature_maps import FeatureMap

# What became of an image.
FINE, UNREADABLE, NO_PERSON, NOT_ALIGNED = range(4)
# Attempts that may end in one image before it is left out. More than one: workers die for other reasons too.
TRIES = 3
READINGS = ("depth", "nearest", "farthest")
FEATURES = "features"
_SMALLEST = np.finfo(np.float32).tiny

Image = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class People:
    """The people of one image.

    Attributes:
        joints_px: joints on the skeleton in pixels, NaN where unknown.
        known: depth at the joints, where the file has it.
    """

    rows: np.ndarray
    joints_px: Float32[np.ndarray, "people joints 2"]
    confidence: Float32[np.ndarray, "people joints"]
    known: Float32[np.ndarray, "people joints"] | None = None


@dataclass
class _Found:
    """What a shard yields, image by image."""

    state: list[int]
    reason: list[str]
    size: list[tuple[int, int]]
    frame: list[int] = field(default_factory=list)
    people: list[People] = field(default_factory=list)
    readings: list[list[np.ndarray]] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)

    def leave_out(self, number: int, state: int, reason: str) -> None:
        self.state[number], self.reason[number] = state, reason

    def arrays(self, joints: int, readings: int, channels: int = 0) -> dict[str, np.ndarray]:
        """For the shard's file. Rows are people, in the order of the images. channels: of their features."""
        shape = (0, joints)
        parts: dict[str, np.ndarray] = {
            "state": np.array(self.state, np.int8),
            "reason": np.array([text.encode() for text in self.reason], "S"),
            "size": np.array(self.size, np.int32).reshape(-1, 2),
            "frame": np.repeat(np.array(self.frame, np.int64), [len(p.rows) for p in self.people]),
            "row": np.concatenate([np.zeros(0, np.int64), *[p.rows for p in self.people]]),
            "joints_2d": np.concatenate([np.zeros((*shape, 2), np.float32), *[p.joints_px for p in self.people]]),
            "confidence": np.concatenate([np.zeros(shape, np.float32), *[p.confidence for p in self.people]]),
        }
        for kind, name in enumerate(READINGS[:readings]):
            parts[name] = np.concatenate([np.zeros(shape, np.float32), *[r[kind] for r in self.readings]])
        if channels:
            parts[FEATURES] = np.concatenate([np.zeros((*shape, channels), np.float16), *self.features])
        return parts


class ShardWorker:
    """Extracts shards; the networks are loaded on construction.

    Args:
        options: of the command.
        parts: folder for the shards' files, which every node sees.
        device: `cpu` or `cuda`.

    Raises:
        DepthCheckpointError: for a network that cannot be used.
    """

    def __init__(self, options: ExtractOptions, parts: Path, device: str) -> None:
        self.options, self.parts, self.device = options, parts, torch.device(device)
        self.skeleton = SKELETONS[options.skeleton]
        choice = options.depth_choice
        self.metric, self.source = choice.facts().metric, choice.load()
        features = options.feature_options
        self.reader = None if features is None else features.build()
        self.channels = 0 if features is None else sum(features.sizes(choice.name, choice.options))
        self.detector = PersonPoseDetector(replace(options.detection, device=device)) if options.detects else None

    def work(self, shard: Shard) -> dict[str, Any]:
        """Extract a shard and store it; a shard that is stored already is not extracted again. Returns figures."""
        start, path = time.monotonic(), shard_file(self.parts, shard.number)
        if not path.is_file():
            attempts = Attempts(path.with_suffix(".trying"))
            arrays = self.extract(shard, attempts)
            replace_file(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
            attempts.finish()
        return {"shard": shard.number, "images": len(shard.frames), "seconds": time.monotonic() - start}

    def extract(self, shard: Shard, attempts: Attempts) -> dict[str, np.ndarray]:
        """The arrays of a shard's file (see `_Found`)."""
        count = len(shard.frames)
        found = _Found([FINE] * count, [""] * count, [(0, 0)] * count)
        for first in range(0, count, self.options.batch):
            numbers = range(first, min(first + self.options.batch, count))
            images = dict(self._read(shard, numbers, attempts, found))
            for part in self._portions(images, first, attempts, found):
                self._measure(shard, part, found)
        return found.arrays(len(self.skeleton), 3 if self.options.inputs == "uadd" else 1, self.channels)

    def _read(self, shard: Shard, numbers: range, attempts: Attempts, found: _Found) -> Iterator[tuple[int, Image]]:
        for number in numbers:
            step = f"read {number}"
            if attempts.deaths(step) >= TRIES:
                found.leave_out(number, UNREADABLE, f"reading it killed the process {TRIES} times")
                continue
            attempts.begin(step)
            try:
                image = read_image(shard.frames[number].path)
            except ImageError as error:
                found.leave_out(number, UNREADABLE, str(error).removeprefix(f"{shard.frames[number].path}: "))
                continue
            found.size[number] = (image.shape[1], image.shape[0])
            yield number, image

    @staticmethod
    def _portions(
        images: dict[int, Image], first: int, attempts: Attempts, found: _Found
    ) -> Iterator[dict[int, Image]]:
        """All images at once; one by one, without those that kill, where that has ended several processes."""
        if attempts.deaths(f"estimate {first}") < TRIES:
            attempts.begin(f"estimate {first}")
            yield images
            return
        for number, image in images.items():
            step = f"estimate alone {number}"
            if attempts.deaths(step) >= TRIES:
                found.leave_out(number, UNREADABLE, f"the networks on it killed the process {TRIES} times")
                continue
            attempts.begin(step)
            yield {number: image}

    def _measure(self, shard: Shard, images: dict[int, Image], found: _Found) -> None:
        people = self._people(shard, images, found)
        for number, depth, depth_map in self._estimates({n: images[n] for n in people}):
            try:
                readings = self._readings(depth, people[number])
            except AlignmentError as error:
                found.leave_out(number, NOT_ALIGNED, str(error))
                continue
            found.frame.append(number)
            found.people.append(people[number])
            found.readings.append(readings)
            if self.reader is not None:
                joints = people[number].joints_px
                found.features.append(features_at_joints(self.reader, images[number], joints, depth_map, self.device))

    # -- people

    def _people(self, shard: Shard, images: dict[int, Image], found: _Found) -> dict[int, People]:
        if self.detector is not None:
            return self._detected(images, found)
        people: dict[int, People] = {}
        for number, image in images.items():
            try:
                people[number] = _from_file(shard, number, image)
            except DataError as error:
                found.leave_out(number, UNREADABLE, str(error))
        return people

    def _detected(self, images: dict[int, Image], found: _Found) -> dict[int, People]:
        """Of each image the person with the largest mean joint score (METHODS 4.2)."""
        assert self.detector is not None
        answers = self.detector(list(images.values()))
        people: dict[int, People] = {}
        for number, persons in zip(images, answers, strict=True):
            if not persons:
                found.leave_out(number, NO_PERSON, "nobody was detected")
                continue
            best = max(persons, key=lambda person: float(person.confidence.mean()))
            joints, confidence = to_skeleton(best, self.skeleton)
            people[number] = People(np.array([-1]), joints[None], confidence[None])
        return people

    # -- depth

    def _estimates(
        self, images: dict[int, Image]
    ) -> Iterator[tuple[int, Float32[np.ndarray, "height width"], FeatureMap | None]]:
        """Depth of the network, image by image, and its feature map; neighbours of one size go through it together."""
        for _, some in groupby(images.items(), key=lambda item: item[1].shape):
            numbers, pixels = zip(*some, strict=True)
            rgb = rgb_batch(np.stack(pixels), self.device)
            if self.reader is None or not self.reader.options.of_depth:
                maps: list[FeatureMap | None] = [None] * len(numbers)
                depth = self.source.estimate_images(rgb)
            else:
                assert isinstance(self.source, MappedDepthSource)
                depth, joined = self.source.estimate_images_with_map(rgb)
                maps = [joined[n : n + 1] for n in range(len(numbers))]
            yield from zip(numbers, depth.cpu().numpy(), maps, strict=True)

    def _readings(self, answer: Float32[np.ndarray, "height width"], people: People) -> list[np.ndarray]:
        """Of every person: depth at each joint, or the median, nearest and farthest in its disk."""
        if self.metric:
            return self._at_joints(answer, people)
        align = self.options.align
        if align == "off":
            values = self._at_joints(np.maximum(answer, _SMALLEST), people)
            # The larger a disparity, the nearer.
            return [values[0], *values[:0:-1]]
        if align == "known":
            assert people.known is not None
            at_joints = self._disks(np.maximum(answer, _SMALLEST), people).median
            return self._at_joints(align_to_joints(answer, at_joints, people.known), people)
        assert self.options.ground is not None
        return self._at_joints(align_to_ground(answer, people.joints_px, self.options.ground), people)

    def _at_joints(self, depth: Float32[np.ndarray, "height width"], people: People) -> list[np.ndarray]:
        if self.options.inputs == "xyd":
            return [depth_at_joints(depth, people.joints_px, self.options.min_pool)]
        found = self._disks(depth, people)
        return [found.median, found.nearest, found.farthest]

    def _disks(self, depth: Float32[np.ndarray, "height width"], people: People) -> JointDepths:
        torso = torso_px(people.joints_px, self.skeleton)
        return joint_depths(depth, people.joints_px, people.confidence, self.options.law, torso)


def shard_file(parts: Path, number: int) -> Path:
    """Return the path of a shard's file in the folder of parts."""
    return parts / f"shard-{number:06d}.npz"


def _from_file(shard: Shard, number: int, image: Image) -> People:
    """Raises DataError where image and keypoints are of different shapes."""
    assert shard.keypoints is not None
    own = np.flatnonzero(shard.keypoints.image == number)
    keypoints = shard.keypoints.take(own)
    joints = keypoints.pixels(image.shape[1], image.shape[0]).astype(np.float32)
    unknown = ~np.isfinite(joints).all(-1)
    sure = np.ones(joints.shape[:2], np.float32) if keypoints.confidence is None else keypoints.confidence
    return People(shard.rows[own], joints, np.where(unknown, 0, sure).astype(np.float32), keypoints.depth)
