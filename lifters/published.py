"""Published checkpoints into our lifters: a renaming of their parameters, by the table that each lifter carries.

A checkpoint is a dict with the weights under `state_dict` or `model_pos`, or the weights themselves. Files are read
by `dg.files.checkpoint`, which runs no code of the file and compares its checksums.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lifters.base import Lifter


def published_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights inside a published checkpoint, under their own names, as float32.

    Raises ValueError when there are none.
    """
    for key in ("state_dict", "model_pos"):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
    weights = {name.removeprefix("module."): value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"expected weights under 'state_dict' or 'model_pos', found the keys {sorted(checkpoint)[:8]}")
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _renamed_weights(lifter: Lifter, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights by our names.

    Raises:
        ValueError: for a lifter without a published form, or for a name that is no part of it.
    """
    kind = type(lifter).__name__
    if not lifter.PUBLISHED_NAMES:
        raise ValueError(f"no published checkpoints are known for {kind}")
    ours, expected = {}, lifter.state_dict()
    for name, value in weights.items():
        new = _rename(name, lifter.PUBLISHED_NAMES)
        if new not in expected:
            raise ValueError(f"the checkpoint holds {name!r}, no part of {kind}; was it made by another lifter?")
        # They may differ in dimensions of size one: their layers are convolutions of width one where ours are matrices.
        theirs, own = ([size for size in tensor.shape if size > 1] for tensor in (value, expected[new]))
        ours[new] = value.reshape(expected[new].shape) if theirs == own else value
    return ours


def load_published(lifter: Lifter, checkpoint: Mapping[str, Any]) -> None:
    """Fill a lifter from a published checkpoint's content.

    Args:
        lifter: the lifter; it changes only when all weights fit.
        checkpoint: the checkpoint as it was loaded.

    Raises:
        ValueError: when names or shapes do not fit.
    """
    weights, expected = _renamed_weights(lifter, published_weights(checkpoint)), lifter.state_dict()
    missing = sorted(set(expected) - set(weights))
    if missing:
        raise ValueError(f"the checkpoint lacks {missing[:4]}: more blocks were asked for than it has")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise ValueError(
                f"{name}: expected {tuple(expected[name].shape)}, the checkpoint has {tuple(value.shape)}; "
                "joints, channels, width and root must be those it was trained with"
            )
    lifter.load_state_dict(weights)


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        match = re.match(pattern, name)
        if match is None:
            continue
        if "{block}" in replacement:  # two convolutions a block, numbered through
            number = int(match.group(1))
            replacement = replacement.format(block=f"blocks.{number // 2}.{number % 2}")
        return match.expand(replacement) + name[match.end() :]
    return name
