"""What a lifter file takes and gives: written into every file that `dg.export` makes, and beside it as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dg.files.checkpoint import CheckpointError
from dg.pose.batch import InputSpec
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import Skeleton
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.config_check import validate
from dg.training.build import inputs_of

FORMAT = "dg-lifter/1"
METADATA_KEY = "dg_lifter"  # in ONNX's metadata, and with `.json` among a TorchScript archive's extra files
INPUT_NAME, OUTPUT_NAME = "joints_2d", "joints_3d"
UNITS = {"m": 1.0, "mm": 1e-3}  # metres in one unit
SETTINGS = ("inputs", "dscale2d", "d_ref", "f_ref", "depth_clip", "skeleton", "frames")  # of a TrainConfig
_OPTIONAL = ("box_ref", "feature_sizes")  # likewise, where they mean something
_DSCALE2D = {
    "off": "x, y: pixels over half the longer image side, less 1 (the shorter side: less its share of the longer)",
    "paper": "x, y: as width-normalised, relative to the principal point, times d_root / d_ref",
    "focal": "x, y: as width-normalised, relative to the principal point, times d_root / d_ref * f_ref / f",
    "box": "x, y: as for off, scaled about the joints' mean until half of width plus height of their box is box_ref",
    "crop": "x, y: in the joints' own box, each of its sides from -1 to 1",
    "square": "x, y: in the joints' own box, its larger side from -1 to 1",
}
_CHANNELS = {
    "c": "c: confidence of the 2D, from [0, 1] to [-1, 1]",
    "d": "d: depth less the root's, clipped to +-depth_clip metres, over depth_clip",
    "dmin": "dmin, dmax: likewise the least and the greatest depth in a disk around the joint, whose median is d",
    "depth_features": "depth_features: of the depth network's last backbone map at the joint, bilinear",
    "image_features": "image_features: of the 2D pose network's last backbone map at the joint, bilinear",
}


@dataclass(frozen=True)
class LifterDescription:
    """Input and output of a lifter file.

    Attributes:
        frames: length of a window.
        unit: unit of the output, `m` or `mm`.

    Raises:
        ValueError: another unit, or a window without frames.
        KeyError: an unknown skeleton.
    """

    skeleton: Skeleton
    inputs: InputSpec
    frames: int = 1
    unit: str = "m"
    made_from: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {list(UNITS)}, got {self.unit!r}")
        if self.frames < 1:
            raise ValueError(f"a window needs at least one frame, got frames={self.frames}")

    @staticmethod
    def of_config(config: TrainConfig, unit: str = "m", made_from: Mapping[str, Any] | None = None):  # noqa: ANN205
        """What a run's lifter takes."""
        return LifterDescription(
            skeleton_named(config.skeleton), inputs_of(config), config.frames, unit, made_from or {}
        )

    @property
    def settings(self) -> dict[str, Any]:
        """As the keys of a TrainConfig."""
        spec = self.inputs
        own = {"inputs": spec.channels, "skeleton": self.skeleton.name, "frames": self.frames}
        more: dict[str, Any] = {"box_ref": spec.box_ref} if spec.dscale2d == "box" else {}
        more |= {"feature_sizes": list(spec.feature_sizes)} if spec.features else {}
        return {key: own[key] if key in own else getattr(spec, key) for key in SETTINGS} | more

    def document(self, answers: slice) -> dict[str, Any]:
        """Return the whole description as plain containers.

        Args:
            answers: which frames of a window the output stands for.
        """
        joints, spec = len(self.skeleton), self.inputs
        window = [] if self.frames == 1 else [self.frames]
        answered = len(range(self.frames)[answers])
        channels = [*spec.names, *(f"{name}[{size}]" for name, size in spec.sources.items())]
        meanings = [_CHANNELS[c] for c in (*spec.names, *spec.features) if c in _CHANNELS]
        meaning = "; ".join([_DSCALE2D[spec.dscale2d], *meanings])
        return {
            "format": FORMAT,
            "settings": self.settings,
            "unit": self.unit,
            "input": {
                "name": INPUT_NAME,
                "shape": ["batch", *window, joints, spec.size],
                "dtype": "float32",
                "channels": channels,
                "meaning": meaning,
            },
            "output": {
                "name": OUTPUT_NAME,
                "shape": ["batch", *([answered] if answered > 1 else []), joints, 3],
                "dtype": "float32",
                "meaning": f"joints less the {self.skeleton.joints[self.skeleton.root]}, {self.unit}, in the camera's "
                "axes: x right, y down, z forward",
                "frames": list(range(self.frames)[answers]),
            },
            "joints": list(self.skeleton.joints),
            "parents": list(self.skeleton.parents),
            "made_from": dict(self.made_from),
            "posebench3d": self._harness(),
        }

    def _harness(self) -> dict[str, Any] | str:
        """The lines of PoseBench3D's configuration that fit this file, or why none do.

        Its `output_3d: millimeters` names the unit of the data, which it then takes to the metres of the output.
        """
        if self.frames > 1 or self.inputs.size > 2 or self.inputs.dscale2d != "off":
            return "its harness gives single frames of plain (x, y), which is not this lifter's input"
        shape = {"batch_size": 64, "num_frames": None, "num_joints": len(self.skeleton)}
        return {
            "input_shape": shape | {"coordinates": 2},
            "output_shape": shape | {"coordinates": 3},
            "model_info": {
                "flattened_coordinate_model": False,
                "output_3d": "millimeters",
                "root_center_2d_test_input": False,
                "normalize_2d_to_minus_one_to_one": True,
                "trained_on_normalized_data": False,
                "video_model": False,
            },
        }


def parse_description(text: str, where: str) -> LifterDescription:
    """Read the description of a lifter back from its JSON document.

    Args:
        text: the document.
        where: name of the file, for messages.

    Raises:
        CheckpointError: the document is not valid; the message names the file and what is wrong.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT!r}, got {document['format']!r}; export it again")
        more = {key: document["settings"][key] for key in _OPTIONAL if key in document["settings"]}
        config = TrainConfig(**{key: document["settings"][key] for key in SETTINGS}, **more)
        validate(config)
        return LifterDescription.of_config(config, document["unit"], document.get("made_from"))
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{where}: its description of input and output cannot be used: {error!r}") from error
