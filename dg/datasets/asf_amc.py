"""Acclaim's ASF skeletons and AMC motions, the CMU motion capture database's own format, and their joints.

Each bone names its direction and length at rest (in the root's frame), the axes about which it turns (Euler angles in a
stated order) and its degrees of freedom. An angle order such as `XYZ` turns about x first: R = Rz Ry Rx. A bone's turn
relative to its parent is C M C^-1, C from its axes and M from the motion (Acclaim's format description, 1993).
"""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.base import DataError
from dg.pose.rotation import rotation_from_axis_angle

ROOT = "root"
INCH_M = 0.0254  # lengths are inches times the file's own `length` unit: 0.0254 / 0.45 m in CMU's
TURNS = {"rx": 0, "ry": 1, "rz": 2}
MOVES = {"tx": 0, "ty": 1, "tz": 2}
LARGEST_FILE = 1 << 29  # bytes after unpacking; CMU's largest motion has a tenth of it


@dataclass(frozen=True)
class AsfBone:
    """One bone. offset: at rest, from its start to its end, metres. axes: C. dof: `rx`, `ry`, `rz` in file order."""

    name: str
    parent: str
    offset: Float[Tensor, "3"]
    axes: Float[Tensor, "3 3"]
    dof: tuple[str, ...]


@dataclass(frozen=True)
class AsfSkeleton:
    """A skeleton. bones: each after its parent, without the root. order: the root's channels (`tx` ... `rz`).

    unit_m: metres of one length unit; degrees: whether angles are in degrees. axes: the root's C.
    """

    path: str
    unit_m: float
    degrees: bool
    order: tuple[str, ...]
    axes: Float[Tensor, "3 3"]
    bones: tuple[AsfBone, ...]

    def channels(self, bone: str) -> tuple[str, ...]:
        """Return the names of the numbers that a motion gives for a bone, in order."""
        return self.order if bone == ROOT else next(b.dof for b in self.bones if b.name == bone)


def read_asf(path: str | Path) -> AsfSkeleton:
    """Read a skeleton. Raises DataError naming the file and what is wrong with it."""
    sections = _sections(_text(path), path)
    try:
        units = dict(line.split()[:2] for line in sections["units"])
        root = {line.split()[0]: line.split()[1:] for line in sections[ROOT]}
        degrees = units["angle"] == "deg"
        unit_m = INCH_M / float(units["length"])
        order = tuple(channel.lower() for channel in root["order"])
        axes = _rotation(torch.tensor([float(v) for v in root["orientation"]]), _axis_order(root["axis"][0]), degrees)
        parents = _parents(sections["hierarchy"])
        bones = {b["name"][0]: b for b in _blocks(sections["bonedata"])}
        made = {name: _bone(bone, parents[name], unit_m, degrees) for name, bone in bones.items()}
        ordered = tuple(made[name] for name in parents)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(
            f"{path}: expected an ASF skeleton with units, root, bonedata and hierarchy, but a part is missing or "
            f"malformed ({type(error).__name__}: {error})"
        ) from error
    if not ordered or set(order) - set(MOVES) - set(TURNS):
        raise DataError(f"{path}: expected bones and a root of tx ty tz rx ry rz, got {len(ordered)} and {list(order)}")
    return AsfSkeleton(str(path), unit_m, degrees, order, axes, ordered)


def read_amc(path: str | Path, skeleton: AsfSkeleton) -> dict[str, Float[Tensor, "frames channels"]]:
    """Read the motion of a skeleton.

    Args:
        path: the file, `.amc` or gzipped `.amc.gz`.
        skeleton: the skeleton that the motion belongs to.

    Returns:
        The channels of each bone that moves, in the file's own units.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    text = _text(path)
    start = re.search(r"^1\s*$", text, re.MULTILINE)
    if start is None:
        raise DataError(f"{path}: expected an AMC motion, but it has no frame 1: truncated, or of another kind")
    if skeleton.degrees is not (":DEGREES" in text[: start.start()].upper()):
        raise DataError(f"{path}: expected angles in the unit of {skeleton.path}; one has degrees, the other radians")
    known = {ROOT, *(b.name for b in skeleton.bones)}
    second = re.search(r"^2\s*$", text[start.end() :], re.MULTILINE)
    first = text[start.end() : start.end() + second.start() if second else None]
    layout = [(line.split()[0], len(line.split()) - 1) for line in first.splitlines() if line.strip()]
    for name, count in layout:
        if name not in known or count != len(skeleton.channels(name)):
            raise DataError(f"{path}: {skeleton.path} does not describe the line {name!r} of {count} numbers")
    if ROOT not in dict(layout):
        raise DataError(f"{path}: expected the root in frame 1, got {[name for name, _ in layout]}")
    return _frames(text[start.start() :], layout, path)


def _frames(text: str, layout: list[tuple[str, int]], path: str | Path) -> dict[str, Float[Tensor, "frames channels"]]:
    """All frames at once: the words of a file whose frames are all alike form a table."""
    words = np.array(text.split())
    width = 1 + sum(1 + count for _, count in layout)
    frames = len(words) // width
    table = words[: frames * width].reshape(frames, width)
    names, number = np.cumsum([1, *(1 + count for _, count in layout[:-1])]), table[:, 0]
    whole = (number == np.arange(1, frames + 1).astype(str)) & (table[:, names] == [n for n, _ in layout]).all(1)
    if not whole.all() or frames * width != len(words):
        at = frames if whole.all() else int(np.argmin(whole))
        raise DataError(f"{path}: frame {at + 1} is not like frame 1: truncated, or its lines are in another order")
    moved = {}
    for column, (name, count) in zip(names, layout, strict=True):
        try:
            values = table[:, column + 1 : column + 1 + count].astype(np.float64)
        except ValueError as error:
            raise DataError(f"{path}: {name}: expected numbers ({error})") from error
        if not np.isfinite(values).all():
            raise DataError(f"{path}: {name}: expected finite numbers, found NaN or infinity")
        moved[name] = torch.from_numpy(values)
    return moved


def bone_ends(
    skeleton: AsfSkeleton, motion: dict[str, Float[Tensor, "frames channels"]]
) -> dict[str, Float[Tensor, "frames 3"]]:
    """Compute where each bone ends, by forward kinematics in float64.

    Args:
        skeleton: the skeleton.
        motion: the channels of each bone that moves, as `read_amc` returns them.

    Returns:
        The end of each bone, and the root's position, in the database's world frame (y up), metres.
    """
    channels = motion[ROOT]
    place = [skeleton.order.index(name) for name in MOVES]
    turn = _motion_turn(channels, skeleton.order, skeleton.axes, skeleton.degrees)
    turns, ends = {ROOT: turn}, {ROOT: channels[:, place] * skeleton.unit_m}
    for bone in skeleton.bones:
        turn = turns[bone.parent]
        if bone.name in motion:
            turn = turn @ _motion_turn(motion[bone.name], bone.dof, bone.axes, skeleton.degrees)
        turns[bone.name] = turn
        ends[bone.name] = ends[bone.parent] + turn @ bone.offset
    return ends


def _motion_turn(
    channels: Float[Tensor, "frames channels"], names: tuple[str, ...], axes: Float[Tensor, "3 3"], degrees: bool
) -> Float[Tensor, "frames 3 3"]:
    turning = [i for i, name in enumerate(names) if name in TURNS]
    order = [TURNS[names[i]] for i in turning]
    return axes @ _rotation(channels[:, turning], order, degrees) @ axes.T


def _rotation(angles: Float[Tensor, "*batch turns"], order: list[int], degrees: bool) -> Float[Tensor, "*batch 3 3"]:
    """Turns about fixed axes, the first named first."""
    angles = angles.double()
    angles = angles.deg2rad() if degrees else angles
    turned = torch.eye(3, dtype=torch.float64).expand(*angles.shape[:-1], 3, 3)
    for axis, angle in zip(order, angles.unbind(-1), strict=True):
        unit = torch.nn.functional.one_hot(torch.tensor(axis), 3).to(angle)
        turned = rotation_from_axis_angle(angle[..., None] * unit) @ turned
    return turned


def _axis_order(letters: str) -> list[int]:
    return ["XYZ".index(letter) for letter in letters.upper()]


def _bone(block: dict[str, list[str]], parent: str, unit_m: float, degrees: bool) -> AsfBone:
    *angles, order = block["axis"]
    direction = torch.tensor([float(v) for v in block["direction"]], dtype=torch.float64)
    if direction.shape != (3,) or not 0.99 < float(direction.norm()) < 1.01:
        raise ValueError(f"bone {block['name'][0]}: direction {block['direction']} is no unit vector")
    return AsfBone(
        name=block["name"][0],
        parent=parent,
        offset=direction * float(block["length"][0]) * unit_m,
        axes=_rotation(torch.tensor([float(v) for v in angles]), _axis_order(order), degrees),
        dof=tuple(name.lower() for name in block.get("dof", []) if name.lower() in TURNS),
    )


def _sections(text: str, path: str | Path) -> dict[str, list[str]]:
    """Lines by section; a section starts at a line `:name`."""
    sections: dict[str, list[str]] = {}
    name = ""
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith(":"):
            name = line[1:].split()[0].lower()
            sections[name] = []
        elif line and name:
            sections[name].append(line)
    if not sections:
        raise DataError(f"{path}: expected an ASF skeleton, whose sections start with a colon; found none")
    return sections


def _blocks(lines: list[str]) -> list[dict[str, list[str]]]:
    """`begin` ... `end` blocks as dictionaries of each line's words; an unfinished block is left out."""
    blocks, block = [], {}
    for line in lines:
        first, *rest = line.split()
        if first == "begin":
            block = {}
        elif first == "end":
            blocks.append(block)
        else:
            block[first] = rest
    return blocks


def _parents(lines: list[str]) -> dict[str, str]:
    """Bone -> parent, every parent before its children. Raises ValueError for a bone whose parent comes later."""
    parents: dict[str, str] = {}
    for line in lines:
        parent, *children = line.split()
        if parent in ("begin", "end"):
            continue
        if parent != ROOT and parent not in parents:
            raise ValueError(f"{parent} has children before it has a parent")
        parents |= dict.fromkeys(children, parent)
    return parents


def _text(path: str | Path) -> str:
    """The text of a plain or gzipped file. Raises DataError for one that is missing, empty, damaged or no text."""
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        text = data.decode("latin1" if b"\0" not in data else "ascii")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: truncated or of another kind ({error}); fetch it again") from error
    if not text.strip() or len(data) > LARGEST_FILE:
        raise DataError(f"{path}: expected text of 1 to {LARGEST_FILE} bytes, got {len(data)}")
    return text
