"""The default body: no licence, no download. Made by `dg.body.bake_open_body`; origin and licence: assets/ORIGIN.md."""

from dataclasses import dataclass
from pathlib import Path

import torch

from dg.body.mesh_body import BoneScale, MeshBody
from dg.body.rest import RestBody, human36m_landmarks
from dg.files.safe_load import load_npz

ASSET = Path(__file__).parent / "assets" / "open_body.npz"


class OpenBody(MeshBody):
    """A mean adult of 1,229 vertices and 2,454 triangles, height 1.63 m at rest."""

    @dataclass(frozen=True)
    class Options:
        """bone_scale: `absolute` (joints land on their targets) or `relative` (AugLift's paper); METHODS 4.4."""

        bone_scale: BoneScale = "absolute"

    def __init__(self, options: Options = Options()) -> None:
        super().__init__(load_open_body(), options.bone_scale)
        self.options = options


def load_open_body() -> RestBody:
    """Load the open body at rest; raise FileFormatError when the package's own file is damaged."""
    arrays = load_npz(ASSET)
    vertices = torch.from_numpy(arrays["v_template"])
    weights = torch.from_numpy(arrays["weights"])
    return RestBody(
        vertices=vertices,
        faces=torch.from_numpy(arrays["f"].astype("int64")),
        joints=human36m_landmarks(torch.from_numpy(arrays["J"]), vertices),
        weights=weights / weights.sum(1, keepdim=True),
    )
