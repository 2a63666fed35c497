"""Loads the networks of detectors and their image processors from checkpoints in transformers' format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dg.settings.plugins import OptionError
from render_workers.depth.checkpoint_files import INSTALL, DepthCheckpointError
from render_workers.depth.pretrained import load_network


def transformers_version() -> str | None:
    """Of the installed package, which is an extra; None where it is not there."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("transformers")
    except PackageNotFoundError:
        return None


def load_one_of(option: str, folder: Path, classes: Mapping[str, str]) -> Any:  # noqa: ANN401 - transformers is an extra
    """A network of one of several kinds, in eval mode without gradients.

    Args:
        option: key that named the checkpoint, for messages.
        folder: of the checkpoint.
        classes: the `model_type`s that will do, and the class of each.

    Raises:
        DepthCheckpointError: for a folder that holds something else.
        OptionError: where transformers is missing.
    """
    try:
        kind = json.loads((folder / "config.json").read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise DepthCheckpointError(f"{option}: {folder}/config.json is no JSON object: {error}") from error
    if kind not in classes:
        raise DepthCheckpointError(f"{option}: {folder} holds a model of type {kind!r}, expected one of {[*classes]}")
    try:
        return load_network(folder, classes[kind], kind)
    except DepthCheckpointError as error:
        raise DepthCheckpointError(f"{option}: {error}") from error


def load_processor(option: str, folder: Path, name: str) -> Any:  # noqa: ANN401
    """An image processor with the settings of a checkpoint, or with its defaults where the checkpoint has none.

    Args:
        option: key that named the checkpoint, for messages.
        folder: of the checkpoint.
        name: of the processor's class; one that works on Pillow and numpy, so that torchvision is not needed.

    Raises:
        DepthCheckpointError: for settings that cannot be used.
        OptionError: where transformers is missing or too old.
    """
    try:
        import transformers

        processor = getattr(transformers, name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{option} needs transformers with {name}, of the extra `depth`; {INSTALL}") from error
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return processor()
    try:
        return processor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a setting of another version makes it stumble over
        raise DepthCheckpointError(f"{option}: {path} cannot be used: {type(error).__name__}: {error}") from error
