"""2D that a detector found, as any file gives it: what was not found, what cannot be, and what was mixed up.

A detector's 2D may lie anywhere near the person, so that no single joint is wrong by itself. But where the same 2D lies
much nearer to the projected 3D in another order of joints, with the sides swapped, some frames earlier or divided by
another side of the image, that is what it is, and the message says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.datasets.base import DataError
from dg.pose.boxes import box_size
from dg.pose.joint_map import convert_joints, convertible, joint_map
from dg.pose.joint_order import orders_of
from dg.pose.skeleton import H36M_17, Skeleton

ROUNDING = 1e-3  # of a confidence, and of a corner's place
OUTSIDE = 3.0  # no detector places a joint a whole picture outside of the picture, whose sides lie at 1
FARTHEST = 0.25  # median distance from the projected 3D, in half sides (125 px of 1000)
FARTHEST_OF_BOX = 0.15  # and as a share of the person's size; another person in the same place is at 0.22 and more
CLIPPED = 1.0  # distances count up to this, so that a few wild rows do not decide
# A mix-up is one that brings this share of the rows nearer, by this factor and by more than this distance.
SHARE, NEARER, LEAST = 0.2, 0.6, 3e-3
ROWS, IN_TIME = 4000, 4  # that are looked at, and which share of them in time
LONGEST_SHIFT = 60  # rows
FEW = 0.1  # share of the rows that must have their shifted row in their own clip
STRETCH = 16  # rows that are judged together: a detector's own mistakes are shorter, a mix-up may be part of a file
GAP = 15  # rows over which a joint that was not found is drawn between those in which it was
ARMS, LEGS = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")


@dataclass(frozen=True)
class Found:
    """2D with what was missing filled in. empty: rows in which nothing was found."""

    joints_2d: Float[Tensor, "rows joints 2"]
    missing: Bool[Tensor, "rows joints"]
    empty: Bool[Tensor, " rows"]

    def notes(self) -> dict[str, str]:
        """What readers of a data set's facts should know; nothing where everything was found."""
        if not self.missing.any():
            return {}
        some = self.missing & ~self.empty[:, None]
        told = (
            f"{int(some.sum()):,} joints in {int(some.any(1).sum()):,} rows were not found; put between the rows "
            "around them, or at the next joint of their limb"
        )
        left_out = int(self.empty.sum())
        return {
            "missing_2d": told + (f"; {left_out:,} rows in which nothing was found are left out" if left_out else "")
        }


def check_confidence(confidence: Tensor, what: str) -> None:
    """Raise DataError for confidences outside of 0 to 1, which mean something else."""
    low, high = float(confidence.min()), float(confidence.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        hint = "divide percent by 100" if 1 + ROUNDING < high <= 100 else "scale scores to that range"
        raise DataError(f"{what}: expected confidence in [0, 1], found {low:.3g} to {high:.3g}; {hint}")


def fill_missing(
    joints_2d: Float[Tensor, "rows joints 2"],
    confidence: Float[Tensor, "rows joints"] | None,
    extent: Float[Tensor, "rows 2"],
    clip: Int[Tensor, " rows"],
    skeleton: Skeleton,
) -> Found:
    """Joints that a detector did not find, which files write as pixel (0, 0), put where they may have been.

    Args:
        joints_2d: Normalised.
        confidence: In [0, 1]; a joint in the corner that has some is where it is. Without confidences every joint
            exactly in the corner counts as not found.
        extent: Width and height over the side by which the 2D is divided; pixel (0, 0) is at minus these.
        clip: Number of each row's clip.
        skeleton: The order of the joints.
    """
    corner = (joints_2d + extent[:, None]).abs().amax(-1) < (ROUNDING if confidence is not None else 1e-6)
    if confidence is not None:
        unplaced = (joints_2d == 0).all(-1) | (joints_2d.abs() > OUTSIDE).any(-1)
        corner = (corner | unplaced) & (confidence <= 0)
    empty = corner.all(1)
    if not corner.any():
        return Found(joints_2d, corner, empty)
    filled, known = _between_rows(joints_2d, ~corner, clip)
    centre = torch.where(known[..., None], filled, 0.0).sum(1) / known.sum(1).clamp_min(1)[:, None]
    for joint in skeleton.order:
        parent = skeleton.parents[joint]
        place = centre if parent < 0 else filled[:, parent]
        filled[:, joint] = torch.where(known[:, joint, None], filled[:, joint], place)
    return Found(filled, corner, empty & ~known.any(1))


def _between_rows(
    joints_2d: Float[Tensor, "rows joints 2"], known: Bool[Tensor, "rows joints"], clip: Int[Tensor, " rows"]
) -> tuple[Float[Tensor, "rows joints 2"], Bool[Tensor, "rows joints"]]:
    """Joints drawn between the nearest rows of their clip that have them, and which are known then."""
    rows = torch.arange(len(clip))[:, None].expand_as(known)
    last = torch.where(known, rows, -1).cummax(0).values
    coming = torch.where(known, rows, len(clip)).flip(0).cummin(0).values.flip(0)
    there = (last >= 0) & (coming < len(clip))
    last, coming = last.clamp_min(0), coming.clamp_max(len(clip) - 1)
    there &= (clip[last] == clip[:, None]) & (clip[coming] == clip[:, None]) & (coming - last <= GAP)
    share = ((rows - last) / (coming - last).clamp_min(1))[..., None]
    joint = torch.arange(known.shape[1])[None].expand_as(known)
    between = joints_2d[last, joint].lerp(joints_2d[coming, joint], share)
    use = there & ~known
    return torch.where(use[..., None], between, joints_2d), known | there


def check_places(joints_2d: Float[Tensor, "rows joints 2"], what: str) -> None:
    """Raise DataError for joints far outside of the picture, naming the first row."""
    wild = (joints_2d.abs() > OUTSIDE).flatten(1).any(1)
    if wild.any():
        raise DataError(
            f"{what}: {int(wild.sum())} of {len(wild)} rows have a joint farther than {OUTSIDE:g} half sides from the "
            f"middle of the image (up to {float(joints_2d.abs().max()):.3g}), the first is row "
            f"{int(wild.nonzero()[0])}; leave those rows out, or give joints that were not found confidence 0"
        )


def check_fit(
    given: Float[Tensor, "rows joints 2"],
    stated: Skeleton,
    projected: Float[Tensor, "rows target 2"],
    clip: Int[Tensor, " rows"],
    what: str,
    extent: Float[Tensor, "rows 2"] | None = None,
    size_px: Float[Tensor, "rows 2"] | None = None,
    known: Bool[Tensor, "rows joints"] | None = None,
    most: int = ROWS,
) -> None:
    """Compare 2D with the projection of its 3D, as it is and as it would be after the likely mix-ups.

    Args:
        given: Normalised as stated, in the order of `stated`.
        stated: The skeleton in whose joint order the 2D is said to be.
        projected: The 3D's projection, in Human3.6M's order of 17 joints.
        clip: Number of each row's clip; rows of a clip are in time order.
        what: File and array, for the message.
        extent: Width and height over the side by which the 2D is said to be divided. Without it (and without `size_px`)
            other normalisations are not tried.
        size_px: Width and height of the images, pixels.
        known: Joints that were found; the others do not count.
        most: Rows that are looked at.

    Raises:
        DataError: Another reading of the 2D fits clearly better, and which; or none does and the 2D is far off.
    """
    every = max(1, -(-len(given) // most))
    rows = torch.arange(0, len(given), every)
    sample = _Sample(given, stated, projected, clip, known, rows)
    before = sample.distance(given[rows])
    best: tuple[float, float, str] | None = None
    for words, distance in _readings(sample, extent, size_px):
        share, after = _gain(before, distance)
        if share >= SHARE and (best is None or (-round(share, 1), after) < best[:2]):
            best = (-round(share, 1), after, words)
    if best is not None:
        raise DataError(
            f"{what}: the joints lie {float(before.nanmean()):.3f} of half a side from the projected 3D on average, "
            f"but {best[1]:.3f} {best[2]}{'' if best[0] <= -0.95 else f' in {-best[0]:.0%} of the rows'}; check the "
            "file, or what made it"
        )
    gaps = sample.gaps(given[rows])
    gap, of_box = float(gaps.nanmedian()), float((gaps / box_size(projected[rows])[:, None]).nanmedian())
    if gap > FARTHEST or of_box > FARTHEST_OF_BOX:
        raise DataError(
            f"{what}: half of the joints lie more than {gap:.2f} of half a side ({of_box:.0%} of the person's size) "
            "from the projected 3D: other frames, other people, another camera order, another image size or another "
            "normalisation"
        )


@dataclass(frozen=True)
class _Sample:
    """The rows that are looked at, and how far a reading of their 2D lies from their projected 3D."""

    given: Float[Tensor, "rows joints 2"]
    stated: Skeleton
    projected: Float[Tensor, "rows target 2"]
    clip: Int[Tensor, " rows"]
    known: Bool[Tensor, "rows joints"] | None
    rows: Int[Tensor, " some"]

    def gaps(
        self, given: Tensor, order: Skeleton | None = None, flip: list[int] | None = None, at: Tensor | None = None
    ) -> Float[Tensor, "some target"]:
        """Of each joint; NaN where a joint that it is made of was not found."""
        order, at = order or self.stated, self.rows if at is None else at
        found = convert_joints(given, order, H36M_17)
        if self.known is not None:
            lost = (~self.known[self.rows]).to(found) @ joint_map(order, H36M_17).T.to(found)
            found = torch.where(lost[..., None] > 0, torch.nan, found)
        return (found[:, flip] if flip else found).sub(self.projected[at]).norm(dim=-1)

    def distance(
        self, given: Tensor, order: Skeleton | None = None, flip: list[int] | None = None, at: Tensor | None = None
    ) -> Float[Tensor, " some"]:
        return self.gaps(given, order, flip, at).clamp_max(CLIPPED).nanmean(1)


def _readings(
    sample: _Sample, extent: Float[Tensor, "rows 2"] | None, size_px: Float[Tensor, "rows 2"] | None
) -> Iterator[tuple[str, Float[Tensor, " some"]]]:
    """Other readings of the 2D in words, and how far each lies from the projection."""
    given = sample.given[sample.rows]
    for order in orders_of(len(sample.stated)):
        if order.name != sample.stated.name and convertible(order, H36M_17):
            yield f"if they are in the order of {order.name}, not {sample.stated.name}", sample.distance(given, order)
    for words, parts in (("", (*ARMS, *LEGS)), (" of the arms", ARMS), (" of the legs", LEGS)):
        yield f"with left and right{words} swapped", sample.distance(given, flip=_swap(parts))
    mirror = given.new_tensor([-1.0, 1.0])
    yield "with the image mirrored", sample.distance(given * mirror)
    both = sample.distance(given * mirror, flip=_swap((*ARMS, *LEGS)))
    yield "with the image mirrored and left and right swapped", both
    yield "if their y points up", sample.distance(given * -mirror)
    if extent is not None:
        size = None if size_px is None else size_px[sample.rows]
        for words, changed in _normalisations(given, extent[sample.rows], size):
            yield f"if they are {words}", sample.distance(changed)
    yield from _shifted(sample)


def _normalisations(given: Tensor, extent: Tensor, size_px: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    whole = extent[:, None]
    yield "in [0, 1] of width and height", (2 * given - 1) * whole
    yield "in [0, 1] of the longer side", 2 * given - whole
    yield "in [-1, 1] of width and height", given * whole
    yield "divided by the width", given * whole[..., :1]
    yield "divided by the shorter side", given * whole.amin(-1, keepdim=True)
    if size_px is not None:
        side = size_px.amax(-1)[:, None, None]
        yield "pixels", 2 * given / side - whole


def _shifted(sample: _Sample) -> Iterator[tuple[str, Float[Tensor, " some"]]]:
    """The 2D of other frames; rows whose clip ends before do not count."""
    total = len(sample.given)
    every = IN_TIME if len(sample.rows) >= IN_TIME * STRETCH else 1
    looked_at = torch.zeros(len(sample.rows), dtype=torch.bool)
    looked_at[::every] = True
    some = _Sample(sample.given, sample.stated, sample.projected, sample.clip, sample.known, sample.rows[::every])
    given = sample.given[some.rows]
    for shift in (n for step in range(1, LONGEST_SHIFT + 1) for n in (step, -step)):
        at = some.rows + shift
        inside = (at >= 0) & (at < total)
        of_clip = inside & (sample.clip[at.clamp(0, total - 1)] == sample.clip[some.rows])
        # Where clips are shorter than that, the whole file may have been shifted.
        inside = of_clip if float(of_clip.float().mean()) > FEW else inside
        if int(inside.sum()) < STRETCH:
            continue
        near = some.distance(given, at=at.clamp(0, total - 1)).masked_fill(~inside, torch.nan)
        distance = near.new_full((len(sample.rows),), torch.nan)
        distance[looked_at] = near
        yield f"if the 2D stands {abs(shift)} rows too {'early' if shift > 0 else 'late'}", distance


def _gain(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Share of the rows, stretch by stretch, that come clearly nearer, and how near they then are on average."""
    both = before.isfinite() & after.isfinite()
    if not both.any():
        return 0.0, float("inf")
    before, after = before[both], after[both]
    number = torch.arange(len(before)) // STRETCH
    rows, was, now = (
        torch.zeros(int(number[-1]) + 1).index_add(0, number, values)
        for values in (torch.ones_like(before), before, after)
    )
    nearer = (now < NEARER * was) & (was - now > LEAST * rows) & (now < FARTHEST * rows)
    share = float(rows[nearer].sum() / len(before))
    return share, float(now[nearer].sum() / rows[nearer].sum()) if share else float("inf")


def _swap(parts: tuple[str, ...]) -> list[int]:
    """Human3.6M's joints with left and right exchanged for some parts of the body."""
    order = list(range(len(H36M_17)))
    for part in parts:
        left, right = H36M_17.index(f"left_{part}"), H36M_17.index(f"right_{part}")
        order[left], order[right] = right, left
    return order
