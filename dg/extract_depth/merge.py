"""Joins the files of all shards into one, and reports what is not in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dg.datasets.image_depth_file import FORMAT
from dg.extract_depth.plan import ExtractionPlan
from dg.extract_depth.shard import FEATURES, FINE, NO_PERSON, NOT_ALIGNED, READINGS, UNREADABLE, shard_file
from dg.files.atomic import replace_file, write_json
from dg.files.safe_load import load_npz

_LISTS = {UNREADABLE: "unreadable", NO_PERSON: "no_person", NOT_ALIGNED: "not_aligned"}


@dataclass(frozen=True)
class Report:
    """What an extraction achieved, by image.

    Attributes:
        counts: images planned, fine and of each list.
        lists: name -> reason of every image that gave nothing.
    """

    counts: dict[str, int]
    lists: dict[str, dict[str, str]]

    @property
    def failed(self) -> int:
        """Images that gave nothing though they should have; nobody in an image is no failure."""
        return sum(len(found) for name, found in self.lists.items() if name != "no_person")


def report_file(out: Path) -> Path:
    """Return the path of the report that is written beside the merged file."""
    return out.with_name(f"{out.name}.report.json")


def merge(plan: ExtractionPlan, parts: Path, out: Path, figures: Mapping[str, Any]) -> Report:
    """Write the result and its report.

    Args:
        plan: of the extraction.
        parts: folder of the shards' files.
        out: file to write.
        figures: of this run, such as its speed. They go into the report alone, so that the result is the same to the
            byte whenever it is made.
    """
    shards = [load_npz(shard_file(parts, number)) for number in range(plan.shard_count)]
    joined = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]} if shards else {}
    report = _report(plan, joined)
    # Number of the frame that each row belongs to, among all.
    numbers = [shard["frame"] + number * plan.options.shard for number, shard in enumerate(shards)]
    frame = np.concatenate([np.zeros(0, np.int64), *numbers])
    arrays = (_of_detections if plan.keypoints is None else _of_keypoints)(plan, joined, frame)
    dtype = np.dtype(plan.options.dtype)
    arrays |= {name: arrays[name].astype(dtype) for name in READINGS if name in arrays}
    provenance = plan.provenance | {"digest": plan.digest}
    arrays |= {"format": np.array(FORMAT), "provenance": np.array(json.dumps(provenance, sort_keys=True))}
    replace_file(out, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    write_json(report_file(out), {"counts": report.counts, **figures, **report.lists, "provenance": provenance})
    return report


def _of_detections(plan: ExtractionPlan, joined: Mapping[str, np.ndarray], frame: np.ndarray) -> dict[str, Any]:
    """A row for each image in which someone was found."""
    kept = {name: joined[name] for name in ("joints_2d", "confidence", *READINGS, FEATURES) if name in joined}
    names = np.array([plan.frames[number].name.encode() for number in frame], "S")
    return {"images": names, "size": joined["size"][frame], "image": np.arange(len(frame), dtype=np.int32)} | kept


def _of_keypoints(plan: ExtractionPlan, joined: Mapping[str, np.ndarray], frame: np.ndarray) -> dict[str, Any]:
    """A row for each of the keypoint file, in its order; NaN where its image gave nothing."""
    assert plan.keypoints is not None
    keypoints, rows = plan.keypoints, joined.get("row", np.zeros(0, np.int64))
    shape = keypoints.joints_2d.shape[:2]
    found: dict[str, Any] = {
        "images": np.array([name.encode() for name in keypoints.names], "S"),
        "size": np.zeros((len(keypoints.names), 2), np.int32),
        "image": keypoints.image.astype(np.int32),
    }
    found["size"][keypoints.image[rows]] = joined["size"][frame] if len(rows) else 0
    readings = READINGS if plan.options.inputs == "uadd" else READINGS[:1]
    for name in ("joints_2d", "confidence", *readings):
        found[name] = np.full((*shape, 2) if name == "joints_2d" else shape, np.nan, np.float32)
        if len(rows):
            found[name][rows] = joined[name]
    if FEATURES in joined:
        found[FEATURES] = np.zeros((*shape, joined[FEATURES].shape[-1]), np.float16)
        found[FEATURES][rows] = joined[FEATURES]
    return found


def _report(plan: ExtractionPlan, joined: Mapping[str, np.ndarray]) -> Report:
    lists: dict[str, dict[str, str]] = {name: {} for name in _LISTS.values()}
    lists["missing"] = {name: "no such frame below images=" for name in plan.missing}
    state = joined.get("state", np.zeros(0, np.int8))
    for number in np.flatnonzero(state != FINE):
        reason = joined["reason"][number].decode()
        lists[_LISTS[int(state[number])]][plan.frames[number].relative] = reason
    counts = {"images": len(plan.frames) + len(plan.missing), "fine": int((state == FINE).sum())}
    counts |= {name: len(found) for name, found in lists.items()} | {"without_keypoints": plan.unused}
    return Report(counts, lists)
