"""Human3.6M's joints of 3DPW's people, regressed from the surface of their SMPL bodies (METHODS 4.5 and 7).

This is the J_regressor protocol of the human-mesh literature: each person's own gendered SMPL body, shaped and posed,
and `J_regressor_h36m.npy` [17, vertices] applied to its vertices. The matrix that circulates with SPIN has the left leg
before the right one, a corrected one has Human3.6M's order; which one it is can be seen from the body at rest.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.smpl_file import BodyFileError
from dg.body.smpl_model import SMPLModel, SurfaceJoints, read_smpl_model
from dg.datasets.base import DataError
from dg.datasets.pw3d_sequences import Person, Sequence
from dg.datasets.validation import check_shape
from dg.pose.skeleton import H36M_17

# Metres. A body of the other gender or without its shape lies closer; another convention of poses lies farther.
LARGEST_GAP_M = 0.1
SIDE_M = 0.02  # least distance of a hip or shoulder from the middle
_FIRST_LEG, _FIRST_ARM, _LIMB = 1, 11, 3


class RegressedJoints:
    """Joints of 3DPW's people in Human3.6M's order, from a SMPL file for each gender and a regressor.

    smpl: path of the model, `{gender}` in it standing for MALE or FEMALE.
    """

    def __init__(self, smpl: str, regressor: str) -> None:
        self.smpl = smpl
        self.regressor_path = regressor
        self.regressor = read_regressor(regressor)
        self.gaps: list[Tensor] = []
        self._bodies = cache(self._body)

    def of(self, sequence: Sequence, person: Person) -> Float[Tensor, "valid 17 3"]:
        """Regress the joints of a person in the frames with a valid camera.

        Args:
            sequence: the sequence, for the message.
            person: one of its people, with SMPL's parameters.

        Returns:
            Joints in the world frame, metres.

        Raises:
            DataError: when the SMPL files are not those that the sequence was made with.
        """
        body = person.body
        assert body is not None
        kept = person.valid
        try:
            surface = self._bodies(self.smpl.format(gender=body.gender))
            own, regressed = surface.of(body.poses[kept], body.betas, body.place[kept])
        except ValueError as error:
            raise DataError(f"{sequence.path}: {error}") from error
        gap = (own - person.joints[kept]).norm(dim=-1).flatten()
        if len(gap) and gap.median() > LARGEST_GAP_M:
            raise DataError(
                f"{sequence.path}: the joints of {self.smpl} lie typically {gap.median():.2f} m from jointPositions "
                f"(limit {LARGEST_GAP_M}); expected the SMPL model that the sequence was made with"
            )
        self.gaps.append(gap)
        return regressed.float()

    def note(self) -> str:
        """Say how far SMPL's joints lie from those of the files."""
        return f"{1000 * float(torch.cat(self.gaps).median()):.1f} mm (median) from the body's joints to jointPositions"

    def _body(self, path: str) -> SurfaceJoints:
        try:
            model = read_smpl_model(path)
        except BodyFileError as error:
            raise DataError(f"{error}; data.smpl must be a SMPL file, {{gender}} in it for MALE and FEMALE") from error
        if self.regressor.shape[1] != len(model.vertices):
            raise DataError(
                f"{self.regressor_path}: expected a column for each of the {len(model.vertices)} vertices of {path}, "
                f"got {self.regressor.shape[1]}"
            )
        return SurfaceJoints(model, self.regressor[_human36m_order(self.regressor, model, self.regressor_path)])


def read_regressor(path: str) -> Float[Tensor, "17 vertices"]:
    """Raises DataError for a file that is no such matrix; pickled content is not loaded."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; data.regressor must be J_regressor_h36m.npy")
    try:
        values = np.load(path, allow_pickle=False)
    # A damaged header fails as text, as numbers or as a size.
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise DataError(f"{path}: expected a .npy matrix of numbers, but it cannot be read ({error})") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"{path}: expected a .npy matrix [17, vertices], got an archive")
    check_shape(values, (len(H36M_17), None), path)
    if not np.isfinite(values).all() or np.abs(values.sum(1) - 1).max() > 0.01:
        raise DataError(f"{path}: expected rows of finite weights that sum to one")
    return torch.from_numpy(values.astype(np.float64))


def _human36m_order(regressor: Float[Tensor, "17 vertices"], model: SMPLModel, path: str) -> list[int]:
    """The rows of the matrix in Human3.6M's order: right leg first, left arm first."""
    to_the_left = (regressor @ model.vertices)[:, 0].tolist()
    order = list(range(len(H36M_17)))
    for start, right_first in ((_FIRST_LEG, True), (_FIRST_ARM, False)):
        one, other = to_the_left[start], to_the_left[start + _LIMB]
        if min(abs(one), abs(other)) < SIDE_M or one * other > 0:
            raise DataError(
                f"{path}: rows {start} and {start + _LIMB}: expected the two hips and the two shoulders, on both sides "
                f"of the body, but they lie {one:.2f} m and {other:.2f} m to its left"
            )
        if (one < 0) != right_first:
            order[start : start + 2 * _LIMB] = [*range(start + _LIMB, start + 2 * _LIMB), *range(start, start + _LIMB)]
    return order
