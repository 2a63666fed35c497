"""Checkpoints that are whole or absent: written aside, synced, renamed; loaded without executing anything."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from dg.files.atomic import replace_file

LATEST = "latest"
BEST = "best.pt"
HISTORY = "history.json"
KEEP = 2


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run. The message names the file and the remedy."""

    exit_code = 4  # as dg.settings.errors.DATA


def save_file(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers and containers, nothing else: `load_file` refuses more."""
    replace_file(path, lambda file: torch.save(state, file))


def load_file(path: Path) -> dict[str, Any]:
    """Load with `weights_only=True`, onto the CPU. Raises CheckpointError for a missing or damaged file."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give the path of a .pt or .pth file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
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
        path = self.folder / f"checkpoint-{step:09d}.pt"
        save_file(path, state)
        replace_file(self.folder / LATEST, lambda file: file.write(path.name.encode()))
        for old in sorted(self.folder.glob("checkpoint-*.pt"))[:-KEEP]:
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def save_best(self, state: dict[str, Any]) -> Path:
        save_file(self.folder / BEST, state)
        return self.folder / BEST

    def save_history(self, records: list[dict[str, Any]]) -> None:
        """Every evaluation so far, for whoever watches the run from outside (a sweep that prunes)."""
        replace_file(self.folder / HISTORY, lambda file: file.write(json.dumps(records, indent=1).encode()))

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        marker = self.folder / LATEST
        if not marker.is_file():
            return None
        name = marker.read_text().strip()
        if not re.fullmatch(r"checkpoint-\d+\.pt", name):
            raise CheckpointError(f"{marker} names {name!r}, which is no checkpoint; delete it to start anew")
        return self.folder / name

    def load_latest(self, digest: str) -> dict[str, Any] | None:
        """The newest state, or None when there is none. Raises CheckpointError if it belongs to another run."""
        path = self.latest()
        if path is None:
            return None
        state = load_file(path)
        if state.get("config_digest") != digest:
            raise CheckpointError(
                f"{path} was written by a run with other settings; give the same settings to resume it, "
                "another out=DIR, or resume=never"
            )
        return state
