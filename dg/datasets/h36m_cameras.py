"""Human3.6M's four cameras: facts of the data set (Ionescu et al., TPAMI 2014), which the VideoPose3D file lacks.

Intrinsics are the same for every subject; the cameras were set up anew for each, so extrinsics are per subject.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.camera import Camera, world_to_camera


@dataclass(frozen=True)
class _Intrinsics:
    """Pixels; `distortion` is k1, k2, k3, p1, p2."""

    id: str
    size: tuple[float, float]
    focal: tuple[float, float]
    center: tuple[float, float]
    distortion: tuple[float, float, float, float, float]


INTRINSICS = (
    _Intrinsics(
        "54138969",
        size=(1000.0, 1002.0),
        focal=(1145.0494, 1143.7811),
        center=(512.5415, 515.4515),
        distortion=(-0.20709892, 0.24777518, -0.0030751503, -0.0009756989, -0.0014244716),
    ),
    _Intrinsics(
        "55011271",
        size=(1000.0, 1000.0),
        focal=(1149.6757, 1147.5917),
        center=(508.84863, 508.0649),
        distortion=(-0.19421363, 0.24040854, 0.0068199756, -0.0016190266, -0.0027408944),
    ),
    _Intrinsics(
        "58860488",
        size=(1000.0, 1000.0),
        focal=(1149.1407, 1148.799),
        center=(519.81586, 501.40265),
        distortion=(-0.20833819, 0.255488, -0.0024604974, 0.001484387, -0.0007599993),
    ),
    _Intrinsics(
        "60457274",
        size=(1000.0, 1002.0),
        focal=(1145.5114, 1144.7739),
        center=(514.9682, 501.88202),
        distortion=(-0.19838409, 0.21832368, -0.008947807, -0.0005872056, -0.001813362),
    ),
)

# subject -> the four cameras' (orientation as a quaternion w, x, y, z; position in the room in metres, z up).
EXTRINSICS = {
    "S1": (
        ((0.14070565, -0.15007018, -0.7552408, 0.62232804), (1.8411071, 4.9552847, 1.5634454)),
        ((0.6157188, -0.7648363, -0.14833826, 0.11794741), (1.7612786, -5.0780068, 1.606265)),
        ((0.14651473, -0.14647852, 0.76530236, -0.60941756), (-1.8467777, 5.2150464, 1.4919724)),
        ((0.58340085, -0.7853162, 0.14548823, -0.14749594), (-1.7947897, -3.722699, 1.5748927)),
    ),
    "S5": (
        ((0.14673772, -0.16237096, -0.7551893, 0.6178939), (2.0973916, 4.8809448, 1.6057324)),
        ((0.61597586, -0.7626792, -0.15728192, 0.1189815), (2.0317008, -5.1679331, 1.6129231)),
        ((0.14291371, -0.12907842, 0.7678385, -0.6110143), (-1.6205948, 5.1716587, 1.496437)),
        ((0.592048, -0.7814218, 0.12747486, -0.15036418), (-1.6371737, -3.8673174, 1.5470332)),
    ),
    "S6": (
        ((0.13378978, -0.15692396, -0.75710905, 0.61988795), (1.9354518, 4.9502456, 1.6180839)),
        ((0.61471975, -0.7628813, -0.16174768, 0.11819245), (1.969804, -5.1287388, 1.6327788)),
        ((0.15299481, -0.13529131, 0.76460963, -0.6112781), (-1.7695964, 5.1853613, 1.4769934)),
        ((0.59161013, -0.7804774, 0.1283227, -0.15615939), (-1.7216687, -3.8841313, 1.5404879)),
    ),
    "S7": (
        ((0.14352418, -0.16313368, -0.75483286, 0.6188825), (1.9745129, 4.9263545, 1.5978326)),
        ((0.6141673, -0.76382625, -0.15966456, 0.117792994), (1.9370585, -5.11979, 1.6315665)),
        ((0.1455006, -0.12874816, 0.76605165, -0.61271393), (-1.7418112, 5.2082495, 1.4648246)),
        ((0.5912848, -0.78217643, 0.12445474, -0.15196487), (-1.7347106, -3.8324214, 1.548583)),
    ),
    "S8": (
        ((0.14110588, -0.15589868, -0.75619173, 0.61964405), (2.1506519, 4.8961611, 1.6119047)),
        ((0.61696017, -0.7647668, -0.1484635, 0.11158158), (2.2199656, -5.1484531, 1.6130441)),
        ((0.1471444, -0.1337712, 0.76701283, -0.61003697), (-1.5712216, 5.1370186, 1.4981761)),
        ((0.59278244, -0.78258705, 0.12147816, -0.14631996), (-1.4769133, -3.8967412, 1.5479722)),
    ),
    "S9": (
        ((0.15540588, -0.15548216, -0.75320953, 0.6199595), (2.0444585, 4.9351172, 1.4812275)),
        ((0.6187845, -0.7634735, -0.14132239, 0.11933968), (1.9909597, -5.1238105, 1.5688048)),
        ((0.13357827, -0.13671005, 0.76894546, -0.61007386), (-1.6709922, 5.2119858, 1.5283879)),
        ((0.5879399, -0.7823407, 0.14276144, -0.1479487), (-1.6960435, -3.8270999, 1.5914127)),
    ),
    "S11": (
        ((0.15232472, -0.1544232, -0.75475633, 0.619107), (2.0984402, 4.9265547, 1.5002786)),
        ((0.61894494, -0.7600917, -0.15300633, 0.12552583), (2.0831824, -4.9121729, 1.5610786)),
        ((0.14943229, -0.15650228, 0.7681234, -0.60263044), (-1.6098153, 5.1773359, 1.5378967)),
        ((0.58942515, -0.7818877, 0.13991211, -0.14715362), (-1.590738, -3.8541689, 1.5780176)),
    ),
}


def intrinsics() -> Camera:
    """Return the four cameras, width-normalised, with their distortion; one row each."""
    focal, center, size, distortion = (
        torch.tensor([getattr(c, name) for c in INTRINSICS]) for name in ("focal", "center", "size", "distortion")
    )
    return Camera.from_pixels(focal, center, size, distortion)


def see(world: Float[Tensor, "frames joints 3"], subject: str) -> Float[Tensor, "cameras frames joints 3"]:
    """Move world points into the frames of the four cameras as they stood for one subject.

    Args:
        world: joints in the world frame (z up), metres.
        subject: name of the subject, such as `S1`.

    Returns:
        The joints in each camera's frame, metres.

    Raises:
        KeyError: for a subject whose cameras are not published (S2, S3, S4 and S10 have no 3D).
    """
    views = []
    for orientation, position in EXTRINSICS[subject]:
        views.append(world_to_camera(world, world.new_tensor(orientation), world.new_tensor(position)))
    return torch.stack(views)
