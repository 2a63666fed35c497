"""Lifters as TorchScript and ONNX files that need nothing of this repository.

Both take any batch size (TorchScript of lifters with attention: up to 65,535 over the larger of frames and joints).
Old versions should read them, as PoseBench3D asks for PyTorch 1.8 and onnxruntime 1.17: TorchScript is traced, a graph
of PyTorch's own operators, which makes an archive of format version 3 unless there is attention in it, whose fused
operator came later (version 10); ONNX has opset 18 and IR version 8, those of ONNX 1.13.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, config
from torch import Tensor, nn

from dg.settings.config import ConfigError
from dg.trained.description import INPUT_NAME, METADATA_KEY, OUTPUT_NAME
from dg.trained.foreign import NEEDS_EXPORT
from lifters.attention import ROWS_AT_ONCE
from lifters.base import Lifter

OPSET, IR_VERSION = 18, 8
_TRACED_ROWS = 3

Document = Mapping[str, Any]
Computed = Callable[[np.ndarray], np.ndarray]


class ExportedLifter(nn.Module):
    """What a file computes: `[batch, joints, channels]`, or `[batch, frames, joints, channels]` for windows, to
    root-relative joints `[batch, joints, 3]`, or `[batch, frames, joints, 3]` where a lifter answers for several.
    """

    def __init__(self, lifter: Lifter, frames: int) -> None:
        super().__init__()
        self.lifter = deepcopy(lifter).cpu().eval()
        self.frames = frames
        self.answered = len(range(frames)[lifter.target_frames(frames)])

    def forward(self, features: Tensor) -> Tensor:
        """Lift the features and subtract the root joint; a single answered frame loses its axis."""
        joints = self.lifter(features[:, None] if self.frames == 1 else features)
        root = self.lifter.skeleton.root
        joints = joints - joints[:, :, root : root + 1]
        return joints[:, 0] if self.answered == 1 else joints

    def example(self, rows: int) -> Float[Tensor, "rows ..."]:
        """Random input of a fitting shape."""
        window = [] if self.frames == 1 else [self.frames]
        size = (rows, *window, len(self.lifter.skeleton), self.lifter.channels)
        return torch.randn(size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def torchscript_bytes(module: ExportedLifter, document: Document) -> bytes:
    """A TorchScript archive, the description among its extra files."""
    with _exporting():
        traced = torch.jit.trace(module, module.example(_TRACED_ROWS), check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file, _extra_files={f"{METADATA_KEY}.json": json.dumps(document).encode()})
    return file.getvalue()


def onnx_bytes(module: ExportedLifter, document: Document) -> bytes:
    """An ONNX model, the description in its metadata. Raises ConfigError where the extra `export` is not installed."""
    _check_installed()
    # Attention is split into as many rows as a kernel takes; below that the graph has no split, whatever the batch.
    most = ROWS_AT_ONCE // max(module.frames, len(module.lifter.skeleton))
    with _exporting(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (module.example(_TRACED_ROWS),),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=most)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    for node in model.graph.node:
        del node.metadata_props[:]  # of a later IR version; it tells where in the source the node comes from
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(document))
    return model.SerializeToString()


def torchscript_computes(data: bytes) -> Computed:
    """What our own archive computes."""
    module = torch.jit.load(io.BytesIO(data))
    return lambda x: module(torch.from_numpy(x)).detach().numpy()


def onnx_computes(data: bytes) -> Computed:
    """What our own model computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {INPUT_NAME: x})[0])


# format -> (its bytes, what such bytes compute)
FORMATS: dict[str, tuple[Callable[[ExportedLifter, Document], bytes], Callable[[bytes], Computed]]] = {
    "torchscript": (torchscript_bytes, torchscript_computes),
    "onnx": (onnx_bytes, onnx_computes),
}


def _check_installed() -> None:
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise ConfigError(f"format=onnx needs {missing} of the extra `export`; {NEEDS_EXPORT}")


@contextmanager
def _exporting() -> Iterator[None]:
    """Without PyTorch's advice to use another exporter and its notes on sizes that are fixed by design, and without
    run-time shape checks, which cannot judge sizes that are themselves traced.
    """
    before, unchecked = logging.root.manager.disable, config.jaxtyping_disable
    logging.disable(logging.WARNING)
    config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        config.update("jaxtyping_disable", unchecked)
