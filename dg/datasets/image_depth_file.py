"""The file of depths at joints that `dg extract-depth` writes.

| array | content |
|---|---|
| `images` | [images] names, UTF-8 bytes |
| `image` | [rows] number of each person's image |
| `size` | [images, 2] px, width and height; 0 where an image could not be read |
| `joints_2d`, `confidence` | [rows, J, 2] px, [rows, J]: the 2D that depth was read at |
| `depth` | [rows, J] median of the disk, or depth right at the joint; NaN where there is none |
| `nearest`, `farthest` | [rows, J], where `inputs=uadd` was extracted |
| `features` | [rows, J, channels] float16, where features were extracted: networks one behind the other |
| `provenance` | JSON: network, size, radii, alignment, versions, channels of each feature |
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Int

from dg.datasets.base import DataError
from dg.datasets.validation import read_arrays
from dg.pose.input_spec import FEATURES
from dg.pose.skeleton import SKELETONS, Skeleton

FORMAT = "image-depth-1"
NEEDED = ("format", "provenance", "images", "image", "size", "joints_2d", "confidence", "depth")
# What protocol ids call depth from images (DESIGN 5.15), by how its metres came about.
LABELS = {"none": "images", "ground": "images-ground", "known": "images-known(oracle)"}


@dataclass(frozen=True)
class ImageDepth:
    """A file's content. depth: metres as the network says, NaN where unknown; spread: nearest and farthest less it.
    features: of the pictures at the joints, sources one behind the other.
    """

    path: str
    skeleton: Skeleton
    names: tuple[str, ...]
    image: Int[np.ndarray, " rows"]
    size: Float32[np.ndarray, "rows 2"]
    joints_px: Float32[np.ndarray, "rows joints 2"]
    confidence: Float32[np.ndarray, "rows joints"]
    depth: Float32[np.ndarray, "rows joints"]
    spread: Float32[np.ndarray, "rows joints 2"] | None
    provenance: dict[str, Any]
    features: Float16[np.ndarray, "rows joints channels"] | None = None

    @property
    def label(self) -> str:
        """In protocol ids."""
        return LABELS[self.provenance["align"]]

    @property
    def feature_sizes(self) -> dict[str, int]:
        """Channels of each feature by its name, in their order."""
        sizes = {} if self.features is None else self.provenance["features"]
        return {name: sizes[name] for name in FEATURES if name in sizes}


def read_image_depth(path: str) -> ImageDepth:
    """Read a file of depths at joints.

    Raises DataError for a file that is damaged or of another kind, and for disparity that was not aligned: it has no
    place relative to a root.
    """
    arrays = read_arrays(path, NEEDED, optional=("nearest", "farthest", "features"))
    try:
        provenance = json.loads(str(arrays["provenance"]))
    except ValueError as error:
        raise DataError(f"{path}: provenance: expected JSON, got {str(arrays['provenance'])[:40]!r}") from error
    if str(arrays["format"]) != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT!r} of dg.extract_depth, got {str(arrays['format'])!r}")
    if provenance["unit"] != "m" or provenance["align"] not in LABELS:
        raise DataError(
            f"{path}: holds {provenance['unit']} of a relative network (align={provenance['align']}), which "
            "has no metres, and no place relative to the root; extract it with align=ground, align=known or a metric "
            "checkpoint"
        )
    values = {name: arrays[name].astype(np.float32) for name in ("joints_2d", "confidence", "depth")}
    spread = None
    if "nearest" in arrays:
        ends = np.stack([arrays["nearest"], arrays["farthest"]], -1).astype(np.float32)
        spread = ends - values["depth"][..., None]
    return ImageDepth(
        path=path,
        skeleton=SKELETONS[provenance["skeleton"]],
        names=tuple(name.decode() for name in arrays["images"].tolist()),
        image=arrays["image"].astype(np.int64),
        size=arrays["size"][arrays["image"]].astype(np.float32),
        joints_px=values["joints_2d"],
        confidence=values["confidence"],
        depth=values["depth"],
        spread=spread,
        provenance=provenance,
        features=_features(arrays, provenance, path),
    )


def _features(arrays: dict[str, np.ndarray], provenance: dict[str, Any], path: str) -> np.ndarray | None:
    """Raises DataError where they are not those that the file describes."""
    if "features" not in arrays:
        return None
    values, sizes = arrays["features"], provenance.get("features", {})
    wanted = (*arrays["depth"].shape, sum(sizes.values()))
    if values.shape != wanted or values.dtype != np.float16:
        raise DataError(
            f"{path}: features: expected float16 {list(wanted)} of {sizes}, got {values.dtype} {list(values.shape)}"
        )
    return values
