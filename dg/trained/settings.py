"""The settings of `dg evaluate` and `dg export`. Loads no torch, so that their help is quick."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from dg.evaluation.augmentation_names import Tta
from dg.settings.config import ConfigError
from dg.settings.reader import NO_KEY, read_own

Weights = Literal["auto", "best", "last"]
Options = TypeVar("Options", "EvaluateOptions", "ExportOptions")
SUFFIXES = {"torchscript": (".pt", ".pth", ".ts", ".jit", ".torchscript"), "onnx": (".onnx",)}


@dataclass(frozen=True)
class EvaluateOptions:
    """Which lifter is evaluated, and how. args: of the configuration, as `dg train` takes them.

    Raises ConfigError unless one lifter is named.
    """

    checkpoint: str = field(default="", metadata=NO_KEY)
    published: str = ""  # instead of CHECKPOINT: a published PoseAug checkpoint; say lifter=NAME inputs=xy with it
    model: str = ""  # instead of CHECKPOINT: a TorchScript or ONNX file that lifts [batch, joints, channels]; say
    # inputs=xy|xyd, and skeleton=, frames=, dscale2d=, ... where they are not the defaults; files of dg export tell
    # all that themselves
    unit: Literal["m", "mm"] = "m"  # of such a file's output
    trust: bool = False  # true: a TorchScript file may run; it is a program, with all the rights that you have
    weights: Weights = "auto"  # of a run's folder: best by source validation, or last; auto: best where there is one
    tta: Literal["protocol", Tta] = "protocol"  # instead of the test set's own;
    # reverse turns windows around in time
    label: str = ""  # what tables call the lifter of published= or model=; empty: the file's name
    regime: Literal["DG", "DA"] = "DG"  # of the same
    out: str = ""  # JSON file for the results, with the errors of every frame beside it (.errors.npz); empty:
    # runs/evaluate-NAME-TIME/evaluation.json
    args: tuple[str, ...] = field(default=(), metadata=NO_KEY)

    def __post_init__(self) -> None:
        one_source(checkpoint=self.checkpoint, published=self.published, model=self.model)

    @property
    def name(self) -> str:
        """Of the lifter, in tables and default paths."""
        place = Path(self.checkpoint or self.published or self.model).absolute()
        own = place.name if place.is_dir() else place.parent.name
        return self.label or (own if self.checkpoint else place.stem)

    @property
    def place(self) -> Path:
        """The results' JSON file."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return Path(self.out or f"runs/evaluate-{self.name}-{stamp}/evaluation.json").absolute()


@dataclass(frozen=True)
class ExportOptions:
    """Which lifter is written, and how. args: what describes a published checkpoint's lifter.

    Raises ConfigError for a file name that does not tell its format.
    """

    checkpoint: str = field(default="", metadata=NO_KEY)
    format: Literal["torchscript", "onnx"] = "torchscript"  # onnx needs the extra `export`
    out: str = ""  # the file to write: .pt for torchscript, .onnx for onnx
    weights: Weights = "auto"  # of a run's folder: best by source validation, or last; auto: best where there is one
    published: str = ""  # instead of CHECKPOINT: a published PoseAug checkpoint; say lifter=NAME inputs=xy with it
    args: tuple[str, ...] = field(default=(), metadata=NO_KEY)

    def __post_init__(self) -> None:
        if not self.out:
            raise ConfigError("say where to write to: out=FILE")
        if Path(self.out).suffix.lower() not in SUFFIXES[self.format]:
            raise ConfigError(
                f"out={self.out}: format={self.format} expects a name that ends in one of {SUFFIXES[self.format]}, by "
                "which it is recognised again"
            )


def lifter_options(kind: type[Options], args: Sequence[str]) -> Options:
    """The settings of `dg evaluate` or `dg export`.

    Args:
        kind: `EvaluateOptions` or `ExportOptions`.
        args: `key=value` each, and the checkpoint.

    Raises:
        ConfigError: with every problem.
    """
    options, rest = read_own(kind, args, "checkpoint")
    return replace(options, args=tuple(rest))


def one_source(**given: str) -> None:
    """Check that one of the places that a lifter may come from is named.

    Args:
        given: places by key, empty where not given.

    Raises:
        ConfigError: for none or several.
    """
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        ways = " or ".join("CHECKPOINT" if name == "checkpoint" else f"{name}=FILE" for name in given)
        raise ConfigError(f"expected one lifter, {ways}; got {named or 'none'}")
