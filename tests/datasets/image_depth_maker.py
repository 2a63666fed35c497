"""Files as `dg extract-depth` writes them, made from known numbers."""

import json
from pathlib import Path

import numpy as np

PROVENANCE = {
    "unit": "m", "align": "none", "skeleton": "h36m_17", "trained_focal": 0.0, "source_2d": "some-detector",
    "checkpoint": "tiny", "network_digest": "0123", "input_px": 518, "inputs": "uadd",
}  # fmt: skip


def names_of(rows: int) -> np.ndarray:
    return np.array([f"images/{number:04d}.jpg" for number in range(rows)])


def pixels_of(arrays: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The 2D of a data set that is normalised by the longer side, in pixels of images of that size."""
    return (arrays["pose2d"] * max(size) + np.array(size)) / 2


def write_image_depth(
    path: Path, names: np.ndarray, size: tuple[int, int], joints_px: np.ndarray, depth: np.ndarray, **changes: object
) -> Path:
    """One row an image. The nearest surface is 0.1 m before the median, the farthest 1 m behind."""
    arrays = {
        "format": np.array("image-depth-1"), "images": np.char.encode(names, "utf-8"), "image": np.arange(len(names)),
        "size": np.tile(np.array(size, np.int32), (len(names), 1)), "joints_2d": joints_px.astype(np.float32),
        "confidence": np.full(depth.shape, 0.5, np.float32), "depth": depth.astype(np.float32),
        "nearest": (depth - 0.1).astype(np.float32), "farthest": (depth + 1).astype(np.float32),
    }  # fmt: skip
    provenance = PROVENANCE | {name: value for name, value in changes.items() if name in PROVENANCE}
    arrays |= {name: value for name, value in changes.items() if name not in PROVENANCE}
    kept = {name: value for name, value in arrays.items() if value is not None}
    np.savez(path, provenance=np.array(json.dumps(provenance)), **kept)
    return path
