"""Lifters of any maker from TorchScript and ONNX files.

An ONNX file is data, which onnxruntime computes. A TorchScript file is a program: it runs with the rights of whoever
loads it, so it is loaded only on the word that it is trusted.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.files.checkpoint import CheckpointError
from dg.files.errors import FileFormatError
from dg.files.integrity import read_verified
from dg.settings.config import ConfigError
from dg.trained.description import METADATA_KEY, UNITS, LifterDescription, parse_description
from dg.trained.settings import SUFFIXES
from lifters.base import Lifter

ONNX, TORCHSCRIPT = SUFFIXES["onnx"], SUFFIXES["torchscript"]
NEEDS_EXPORT = "install it: pip install 'dg-lift[export]'"
_PROBE = 2


@dataclass(frozen=True)
class LifterProgram:
    """What a file computes.

    Attributes:
        shape: shape of its input as the file declares it, None for a free size; empty where it is not declared.
    """

    path: Path
    run: Callable[[Tensor], Any]
    description: LifterDescription | None
    shape: tuple[int | None, ...] = ()
    module: nn.Module | None = None  # to be moved between devices with the lifter


def open_program(path: Path, trust: bool) -> LifterProgram:
    """Open a TorchScript or ONNX file, told apart by their suffix.

    Args:
        path: the file.
        trust: whether a TorchScript file may run; it is a program.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
        ConfigError: a TorchScript file without trust, or onnxruntime is not installed.
    """
    kinds = {**dict.fromkeys(ONNX, open_onnx), **dict.fromkeys(TORCHSCRIPT, open_torchscript)}
    if path.suffix.lower() not in kinds:
        raise CheckpointError(f"{path}: expected a file whose name ends in one of {list(kinds)}, to tell its kind")
    if not path.is_file():
        raise CheckpointError(f"no lifter at {path}; give the path of a TorchScript or ONNX file")
    if path.suffix.lower() in TORCHSCRIPT and not trust:
        raise ConfigError(
            f"{path} is TorchScript: a program, which runs with your rights as soon as it is used. Give trust=true if "
            "you know who made it, or use an ONNX file, which runs no code"
        )
    return kinds[path.suffix.lower()](path)


def open_onnx(path: Path) -> LifterProgram:
    """Raises CheckpointError for a file that onnxruntime refuses, ConfigError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"ONNX files need the package onnxruntime of the extra `export`; {NEEDS_EXPORT}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        read_verified(path)
    except FileFormatError as error:
        raise CheckpointError(f"{path} cannot be loaded as ONNX: {error}") from error
    try:
        # By its path: what the model keeps in other files is found beside it, and nowhere else.
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base but Exception
        raise CheckpointError(f"{path} cannot be loaded as ONNX: {_lines(error)[0]}") from error
    given = session.get_inputs()
    if len(given) != 1:
        raise CheckpointError(f"{path}: expected one input, found {[i.name for i in given]}")
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)

    def run(x: Tensor) -> Tensor:
        answer = session.run(None, {given[0].name: np.ascontiguousarray(x.cpu().numpy())})[0]
        return torch.from_numpy(answer).to(x.device)

    shape = tuple(size if isinstance(size, int) else None for size in given[0].shape)
    return LifterProgram(path, run, None if text is None else parse_description(text, str(path)), shape)


def open_torchscript(path: Path) -> LifterProgram:
    """Loads and so trusts the file. Raises CheckpointError for one that is no TorchScript archive."""
    try:
        data = read_verified(path)
        text = _extra_file(data)
        module = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    except (RuntimeError, zipfile.BadZipFile, OSError, UnicodeDecodeError, FileFormatError) as error:
        raise CheckpointError(
            f"{path} cannot be loaded as TorchScript: {_lines(error)[0]}; a checkpoint of `dg train` is evaluated "
            "without model=, a published one with published="
        ) from error
    return LifterProgram(path, module, None if text is None else parse_description(text, str(path)), module=module)


def _extra_file(data: bytes) -> str | None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{METADATA_KEY}.json")]
        return archive.read(found[0]).decode() if found else None


class ForeignLifter(Lifter):
    """A lifter that a file computes, from `[batch, joints, channels]` or `[batch, frames, joints, channels]` to
    `[batch, joints, 3]` or `[batch, 1 or frames, joints, 3]`; one answered frame is the middle one.

    A batch size that the file fixes is filled up. Raises CheckpointError, naming the file, for one that does not take
    the described input or answers in another shape.
    """

    def __init__(self, program: LifterProgram, description: LifterDescription) -> None:
        super().__init__(description.skeleton, description.inputs.size)
        self.frames, self.scale = description.frames, UNITS[description.unit]
        self.program, self.module = program, program.module
        declared = program.shape
        self.fixed_batch = declared[0] if declared else None
        self._check_declared(declared)
        self.windowed = self._takes_windows(declared)
        self.answers_all = self._probe(self.windowed).shape[1] > 1

    def target_frames(self, frames: int) -> slice:
        """The middle frame, or all. Raises ValueError for windows of another length."""
        if frames != self.frames:
            raise ValueError(f"{self.program.path} is used with windows of {self.frames} frames, got {frames}")
        return slice(0, frames) if self.answers_all else super().target_frames(frames)

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift with the program of the file; it answers for the middle frame or for all frames of the window."""
        return self._lift(features, self.windowed)

    def _lift(self, features: Tensor, windowed: bool) -> Tensor:
        x = features if windowed else features[:, 0]
        batch = self.fixed_batch or max(len(x), 1)
        parts = [self._call(part, batch) for part in x.split(batch)]
        return self.scale * (parts[0] if len(parts) == 1 else torch.cat(parts))

    def _call(self, x: Tensor, batch: int) -> Tensor:
        filled = torch.cat([x, x[-1:].expand(batch - len(x), *x.shape[1:])]) if len(x) < batch else x
        answer = self.program.run(filled)
        found = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        joints = [len(self.skeleton), 3]
        if found == [batch, *joints]:
            answer = answer[:, None]
        elif found not in ([batch, 1, *joints], [batch, self.frames, *joints]):
            raise CheckpointError(
                f"{self.program.path}: for {list(filled.shape)} expected an output of {[batch, *joints]}, got {found}"
            )
        return answer[: len(x)].float()

    def _check_declared(self, shape: tuple[int | None, ...]) -> None:
        if not shape:
            return
        takes = ["batch", *([self.frames] if len(shape) == 4 else []), len(self.skeleton), self.channels]
        fits = len(shape) == len(takes) and all(
            size in (None, want) for size, want in zip(shape[1:], takes[1:], strict=True)
        )
        if not fits or (self.frames > 1 and len(shape) == 3):
            taken = f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
            raise CheckpointError(f"{self.program.path}: its input is {taken}; {self._expectation()}")

    def _takes_windows(self, declared: tuple[int | None, ...]) -> bool:
        if declared:
            return len(declared) == 4
        if self.frames > 1:
            return True
        try:
            self._probe(windowed=False)
        except CheckpointError as error:
            try:
                self._probe(windowed=True)
            except CheckpointError:
                raise error from None
            return True
        return False

    @torch.no_grad()
    def _probe(self, windowed: bool) -> Tensor:
        """The answer to two rows of zeros."""
        try:
            return self._lift(torch.zeros(_PROBE, self.frames, len(self.skeleton), self.channels), windowed)
        except CheckpointError:
            raise
        except Exception as error:  # whatever the file's program raises
            raise CheckpointError(
                f"{self.program.path} fails on a batch of {_PROBE}: {_lines(error)[-1]}; {self._expectation()}"
            ) from error

    def _expectation(self) -> str:
        window = "" if self.frames == 1 else f"{self.frames}, "
        return (
            f"expected one that takes [batch, {window}{len(self.skeleton)}, {self.channels}]; skeleton=h36m_17 has 17 "
            "joints, h36m_16 has 16, inputs=xyd has 3 channels, frames=N takes windows"
        )


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]
