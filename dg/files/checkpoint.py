"""Checkpoints that are whole or absent: written aside, synced, renamed; loaded without executing anything."""

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dg.files.atomic import replace_file, write_file
from dg.files.errors import FileFormatError
from dg.files.integrity import read_verified

LATEST = "latest"
BEST = "best.pt"
HISTORY = "history.json"
KEEP = 2


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run. The message names the file and the remedy."""

    exit_code = 4  # as dg.settings.errors.DATA


def save_file(path: Path, state: dict[str, Any]) -> None:
    """Save a checkpoint of tensors, numbers and containers alone; `load_file` refuses anything else.

    Args:
        path: the file to write or replace, whole or not at all.
        state: what to save.
    """
    replace_file(path, lambda file: torch.save(state, file))


def load_file(path: Path) -> dict[str, Any]:
    """Load a checkpoint with `weights_only=True`, onto the CPU, once its checksums are right (`dg.files.integrity`).

    Args:
        path: Of one of our checkpoints, or of a published one, of any version of PyTorch.

    Returns:
        What it holds.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else than weights.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}; give the path of a .pt or .pth file")
    try:
        state = torch.load(io.BytesIO(read_verified(path)), map_location="cpu", weights_only=True)
    except FileFormatError as error:
        raise CheckpointError(f"{path} cannot be loaded as weights: {error}") from error
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be loaded as weights: {reason}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} should hold a dictionary of weights, it holds a {type(state).__name__}")
    return state


class Checkpoints:
    """The checkpoints of one run in `folder`: `checkpoint-STEP.pt`, a marker `latest`, `best.pt`
    and `history.json`.

    The marker is renamed into place after the file is, so whatever it names can be loaded; the last two are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save the checkpoint of a step, set the marker to it, and remove old ones beyond the last `KEEP`.

        Args:
            step: lifter steps made so far; it names the file.
            state: plain containers of tensors, numbers and text, with `config_digest`.

        Returns:
            The file.
        """
        path = self.folder / f"checkpoint-{step:09d}.pt"
        save_file(path, state)
        write_file(self.folder / LATEST, path.name)
        for old in sorted(self.folder.glob("checkpoint-*.pt"))[:-KEEP]:
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def save_best(self, state: dict[str, Any]) -> Path:
        """Save the best state so far, in place of the one before, and return its path."""
        save_file(self.folder / BEST, state)
        return self.folder / BEST

    def save_history(self, records: list[dict[str, Any]]) -> None:
        """Every evaluation so far, for whoever watches the run from outside (a sweep that prunes)."""
        write_file(self.folder / HISTORY, json.dumps(records, indent=1))

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        marker = self.folder / LATEST
        if not marker.is_file():
            return None
        name = marker.read_text().strip()
        if not re.fullmatch(r"checkpoint-\d+\.pt", name):
            raise CheckpointError(f"{marker} names {name!r}, which is no checkpoint; delete it to start anew")
        return self.folder / name

    def load_latest(
        self,
        digest: str,
        warn: Callable[[str], None] = warnings.warn,
        differences: Callable[[dict[str, Any]], str] = lambda state: "",
    ) -> dict[str, Any] | None:
        """The newest whole state. A damaged checkpoint is set aside (`.damaged`) and the one before is taken.

        Args:
            digest: Of the run's configuration, which the checkpoint must carry.
            warn: Is given a sentence for every checkpoint that is set aside.
            differences: Says in what a state of another digest differs, for the message.

        Returns:
            The state, or None when there is no checkpoint.

        Raises:
            CheckpointError: The checkpoint belongs to another run, or there are some and none is whole.
        """
        damaged: list[str] = []
        for path in self.newest_first():
            try:
                state = load_file(path)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            _check_own(path, state, digest, differences)
            for reason in damaged:
                warn(f"warning: {reason}; going on from {path.name}, the checkpoint before it")
            self._set_aside(path)
            return state
        if damaged:
            raise CheckpointError(
                f"none of the checkpoints in {self.folder} is whole:\n"
                + "".join(f"  {reason}\n" for reason in damaged)
                + "copy one back from a backup, or start anew with resume=overwrite or another out=DIR"
            )
        return None

    def newest_first(self) -> list[Path]:
        """The checkpoints that are there, the one that the marker names before all others."""
        found = sorted(self.folder.glob("checkpoint-*.pt"), reverse=True)
        try:
            named = self.latest()
        except CheckpointError:  # a marker that is damaged itself
            named = None
        return found if named is None else [named, *(path for path in found if path != named)]

    def _set_aside(self, kept: Path) -> None:
        """Rename newer, damaged checkpoints, so that `save` does not keep them for the newest."""
        for path in self.newest_first():
            if path == kept:
                return
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))


def _check_own(path: Path, state: dict[str, Any], digest: str, differences: Callable[[dict[str, Any]], str]) -> None:
    if state.get("config_digest") != digest:
        told = differences(state)
        raise CheckpointError(
            f"{path} was written by a run with other settings{': ' + told if told else ''}; give the same settings to "
            "resume it, another out=DIR, or resume=overwrite"
        )
