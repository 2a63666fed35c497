"""2D joints of people in named images, from a file.

| file | content |
|---|---|
| `.npz`, pixels | `image` [rows] names, `joints_2d` [rows, J, 2] px from the image's corner; may have `confidence` [rows, J] in [0, 1], `skeleton` (a name; else 17 joints are Human3.6M's and 16 are it without the neck), `size` [rows, 2] or [2] px of the images that the 2D was made on, `depth` [rows, J] metres where it is known |
| `.npz`, a data set (`dg.datasets.npz`) | `image` [rows], `pose2d` [rows, 17, 2] divided by the longer image side (without it, `pose3d` and `intrinsics` are projected); may have `confidence`, `res` |
| `.json` | COCO keypoints: `images` (`id`, `file_name`, `width`, `height`) and `annotations` (`image_id`, 51 `keypoints`) |

An image may be named by several rows: as many people. NaN, and 0 as COCO's third number, is a joint that is unknown.
COCO's other flags, 1 and 2, are a joint that is certain; thirds that are no whole numbers are confidences.
"""  # noqa: E501 - rows of a table

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int

from dg.datasets.base import DataError
from dg.datasets.image_rows import LARGEST_ASPECT_GAP
from dg.datasets.validation import check_shape, read_arrays
from dg.files.plain_text import one_line
from dg.files.safe_load import FileFormatError, load_json, npz_names
from dg.pose.camera import denormalise_pixels
from dg.pose.joint_map import joint_map, skeleton_named
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17, SKELETONS, Skeleton

_ARRAYS = ("joints_2d", "confidence", "skeleton", "size", "depth", "pose2d", "pose3d", "intrinsics", "res")
_BY_COUNT = {len(H36M_17): H36M_17, len(H36M_16): H36M_16}


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of people, one person a row.

    Attributes:
        names: names of the images.
        image: number of each row's image, into `names`.
        joints_2d: joints in pixels of an image of `size`, or of the image as it is where `size` is None; normalised by
            the longer side where `normalised` is set.
        depth: depth at the joints, metres, where it is known.
    """

    names: tuple[str, ...]
    image: Int[np.ndarray, " rows"]
    joints_2d: Float32[np.ndarray, "rows joints 2"]
    skeleton: Skeleton
    confidence: Float32[np.ndarray, "rows joints"] | None = None
    size: Float32[np.ndarray, "rows 2"] | None = None
    depth: Float32[np.ndarray, "rows joints"] | None = None
    normalised: bool = False

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Int[np.ndarray, " kept"]) -> "Keypoints":
        """Some rows, with all the names."""
        some = {
            name: None if (value := getattr(self, name)) is None else value[rows]
            for name in ("image", "joints_2d", "confidence", "size", "depth")
        }
        return replace(self, **some)  # type: ignore[arg-type]

    def convert(self, skeleton: Skeleton) -> "Keypoints":
        """On another skeleton (METHODS 1.2); a joint made from an unknown one is unknown, as is depth of one that is
        no copy. Raises DataError for a conversion that is not defined.
        """
        if skeleton == self.skeleton:
            return self
        try:
            matrix = joint_map(self.skeleton, skeleton).numpy()
        except ValueError as error:
            raise DataError(f"keypoints: {error}") from error
        copied = np.where((matrix == 1).any(1), 0.0, np.nan).astype(np.float32)
        return replace(
            self,
            joints_2d=_mapped(matrix, self.joints_2d),
            confidence=None if self.confidence is None else _mapped(matrix, self.confidence[..., None])[..., 0],
            depth=None if self.depth is None else _mapped(matrix, self.depth[..., None])[..., 0] + copied,
            skeleton=skeleton,
        )

    def pixels(self, width: int, height: int) -> Float32[np.ndarray, "rows joints 2"]:
        """In an image of that size. Raises DataError where the 2D was made on images of another shape."""
        now = np.array([width, height], np.float32)
        if self.size is not None:
            before = self.size / self.size.max(-1, keepdims=True)
            if len(before) and np.abs(before - now / now.max()).max() > LARGEST_ASPECT_GAP:
                w, h = self.size[np.abs(before - now / now.max()).max(-1).argmax()]
                raise DataError(f"it is {width} x {height}, but its keypoints were made on {w:.0f} x {h:.0f} pixels")
        if self.normalised:
            size = torch.from_numpy(now).expand(len(self), 2)
            return denormalise_pixels(torch.from_numpy(self.joints_2d), size, longer_side=True).numpy()
        return self.joints_2d if self.size is None else self.joints_2d * (now / self.size)[:, None]


def is_file_of_keypoints(text: str) -> bool:
    """Whether a value of an option `keypoints` is such a file, and not the name of a detector."""
    return text.lower().endswith((".npz", ".json"))


def read_keypoints(path: Path, skeleton: Skeleton | None = None) -> Keypoints:
    """The people of a keypoint file.

    Args:
        path: an .npz or COCO .json file; the module's docstring lists what it may hold.
        skeleton: that the joints are converted to; None: the file's own.

    Raises:
        DataError: that names the file and what is wrong with it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; keypoints= is an .npz or COCO .json file, or the word `detector`")
    found = _read_coco(path) if path.suffix.lower() == ".json" else _read_npz(path)
    for name in ("joints_2d", "size", "depth"):
        values = getattr(found, name)
        if values is not None and np.isinf(values).any():
            raise DataError(f"{path}: {name}: expected finite numbers, or NaN where one is unknown; found infinity")
    if found.confidence is not None:
        known = found.confidence[np.isfinite(found.joints_2d).all(-1)]
        if not (np.isfinite(known) & (known >= 0) & (known <= 1)).all():
            raise DataError(f"{path}: confidence: expected numbers from 0 to 1")
    return found if skeleton is None else found.convert(skeleton)


def _mapped(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of joints, NaN only where one of their own parts is."""
    unknown = np.isnan(values).astype(np.float32)
    mean = matrix @ np.nan_to_num(values)
    return np.where((matrix > 0).astype(np.float32) @ unknown > 0, np.nan, mean).astype(np.float32)


# -- npz


def _read_npz(path: Path) -> Keypoints:
    arrays = read_arrays(path, ["image"], optional=_ARRAYS)
    names, image = _named(arrays["image"], path)
    of_data_set = "joints_2d" not in arrays
    joints = _of_data_set(arrays, path) if of_data_set else arrays["joints_2d"]
    count = joints.shape[1] if joints.ndim == 3 and not of_data_set else len(H36M_17)
    check_shape(joints, (None, count, 2), f"{path}: {'pose2d' if of_data_set else 'joints_2d'}")
    if len(image) != len(joints):
        raise DataError(f"{path}: image: expected one name for each of {len(joints)} poses, got {len(image)}")
    return Keypoints(
        names,
        image,
        _floats(joints),
        H36M_17 if of_data_set else _skeleton(arrays, count, path),
        confidence=_of_joints(arrays, "confidence", joints, path),
        size=_sizes(arrays, "res" if of_data_set else "size", len(joints), path),
        depth=None if of_data_set else _of_joints(arrays, "depth", joints, path),
        normalised=of_data_set,
    )


def _of_data_set(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """The 2D of a data set's own archive, or the projection of its 3D."""
    if "pose2d" in arrays:
        return arrays["pose2d"]
    if {"pose3d", "intrinsics"} <= set(arrays):
        camera = np.broadcast_to(arrays["intrinsics"], (len(arrays["pose3d"]), 4))[:, None]
        return arrays["pose3d"][..., :2] / arrays["pose3d"][..., 2:] * camera[..., :2] + camera[..., 2:]
    raise DataError(
        f"{path}: expected joints_2d in pixels, or a data set's pose2d, or its pose3d and intrinsics, beside "
        f"image; it has {npz_names(path)}"
    )


def _of_joints(
    arrays: dict[str, np.ndarray], name: str, joints: np.ndarray, path: Path
) -> Float32[np.ndarray, "rows joints"] | None:
    if name not in arrays:
        return None
    if arrays[name].shape != joints.shape[:2] or arrays[name].dtype.kind not in "fiu":
        raise DataError(f"{path}: {name}: expected {list(joints.shape[:2])}, got {list(arrays[name].shape)}")
    return _floats(arrays[name])


def _skeleton(arrays: dict[str, np.ndarray], joints: int, path: Path) -> Skeleton:
    if "skeleton" in arrays:
        name = str(arrays["skeleton"])
        if name not in SKELETONS:
            raise DataError(f"{path}: skeleton: expected one of {sorted(SKELETONS)}, got {name!r}")
        found = skeleton_named(name)
    else:
        found = _BY_COUNT.get(joints)
    if found is None or len(found) != joints:
        expected = f"{len(found)} of {found.name}" if found else f"{sorted(_BY_COUNT)}, or a name in `skeleton`"
        raise DataError(f"{path}: joints_2d: expected {expected} joints, got {joints}")
    return found


def _named(values: np.ndarray, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names in order of appearance, and each row's number into them."""
    if values.ndim != 1 or values.dtype.kind not in "US" or not len(values):
        raise DataError(f"{path}: image: expected a name for each row, got {values.dtype} {list(values.shape)}")
    texts = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    number = {name: i for i, name in enumerate(dict.fromkeys(texts.tolist()))}
    return tuple(number), np.array([number[name] for name in texts.tolist()], np.int64)


def _sizes(arrays: dict[str, np.ndarray], name: str, rows: int, path: Path) -> Float32[np.ndarray, "rows 2"] | None:
    if name not in arrays:
        return None
    if arrays[name].shape not in ((2,), (rows, 2)) or not (arrays[name] > 0).all():
        raise DataError(f"{path}: {name}: expected [2] or [{rows}, 2] pixels above 0, got {list(arrays[name].shape)}")
    return _floats(np.broadcast_to(arrays[name], (rows, 2)))


def _floats(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    return np.ascontiguousarray(values, np.float32)


# -- COCO


def _read_coco(path: Path) -> Keypoints:
    try:
        tree = load_json(path)
    except FileFormatError as error:
        raise DataError(f"{error} (expected COCO keypoints)") from error
    try:
        return _coco_rows(tree, path)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected `images` with id and file_name, and `annotations` with image_id and 51 keypoints, "
            f"but {type(error).__name__}: {error}"
        ) from error


def _coco_rows(tree: Any, path: Path) -> Keypoints:  # noqa: ANN401
    images = {image["id"]: image for image in tree["images"]}
    people = [a for a in tree["annotations"] if any(a["keypoints"][2::3])]
    if not people:
        raise DataError(f"{path}: expected annotations with keypoints, found none")
    with np.errstate(over="ignore"):  # what is too large for a pixel is found next
        values = np.array([a["keypoints"] for a in people], np.float32)
    values = values.reshape(len(people), len(COCO_17), 3)
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).any((1, 2)).argmax())
        raise DataError(
            f"{path}: annotations: expected finite keypoints, but those of annotation "
            f"{one_line(people[row].get('id', row))} hold NaN or a number that is too large"
        )
    third = values[..., 2]
    flags = bool((third == np.rint(third)).all())
    names, image = _named(np.array([str(images[a["image_id"]]["file_name"]) for a in people]), path)
    own = [images[a["image_id"]] for a in people]
    sized = all("width" in i and "height" in i for i in own)
    return Keypoints(
        names,
        image,
        np.where(third[..., None] > 0, values[..., :2], np.nan).astype(np.float32),
        COCO_17,
        confidence=(third > 0).astype(np.float32) if flags else third,
        size=np.array([[i["width"], i["height"]] for i in own], np.float32) if sized else None,
    )
