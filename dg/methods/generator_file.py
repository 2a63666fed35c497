"""A trained generator of local poses, read from a file: any checkpoint of a method=poseda run, or its weights alone."""

from pathlib import Path
from typing import Any

from torch import Tensor

from dg.augment.sequential_generator import SequentialGenerator
from dg.files.checkpoint import CheckpointError, load_file
from dg.files.safe_load import FileFormatError


def load_generator(generator: SequentialGenerator, path: Path) -> None:
    """Fill a generator from a run's checkpoint, from `{"generator": weights}`, or from the weights alone.

    The file is read as plain weights; nothing of it is run. Raises FileFormatError naming the file and what is wrong.
    """
    if not path.is_file():
        raise FileFormatError(f"generator: no file at {path}; give a checkpoint-STEP.pt of a method=poseda run")
    try:
        state = load_file(path)
    except CheckpointError as error:
        raise FileFormatError(f"generator: {error}") from error
    weights = _generator_weights(state)
    if not weights:
        raise FileFormatError(
            f"generator: {path} holds no generator; give a checkpoint-STEP.pt of a method=poseda run with parts=both "
            "or parts=lpa (best.pt holds the lifter alone)"
        )
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise FileFormatError(
            f"generator: {path} does not fit this run: skeleton, rotation and generator_norm must be those it was "
            f"trained with, by method=poseda ({str(error)[:300]})"
        ) from error


def _generator_weights(state: Any) -> dict[str, Tensor]:  # noqa: ANN401 - whatever a file may hold
    """The generator's parameters by name; empty when there are none."""
    if not isinstance(state, dict):
        return {}
    if isinstance(state.get("method"), dict):
        networks, prefix = state["method"].get("networks", {}), "generator."
        return {name.removeprefix(prefix): value for name, value in networks.items() if name.startswith(prefix)}
    state = state.get("generator", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        return {}
    return state
