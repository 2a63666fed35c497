"""The files of a network's checkpoint: a local folder, or a repository on the Hugging Face hub that is kept on disk."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from dg.files.safe_load import FileFormatError
from dg.settings.networks import DEPTH_ANYTHING
from dg.settings.plugins import OptionError

NEEDED = ("config.json", "*.safetensors")
WANTED = (*NEEDED, "preprocessor_config.json", "model.safetensors.index.json")
INSTALL = "pip install -c constraints.txt -e '.[depth]'"
DEPTH_OPTION = "depth.checkpoint"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_BLOCK = 1 << 20


class DepthCheckpointError(FileFormatError):
    """A checkpoint that is missing, cannot be reached or is of another kind; says what to download and where to."""


def find_checkpoint(
    checkpoint: str, revision: str = "", option: str = DEPTH_OPTION, example: str = DEPTH_ANYTHING
) -> Path:
    """The folder that holds a checkpoint's files.

    Args:
        checkpoint: a local folder, for which no network is tried; else a hub id OWNER/NAME, which is looked up in the
            hub's cache on this machine and downloaded only when it is not there.
        revision: branch, tag or commit of a hub id; empty: its main branch.
        option: the key that names the checkpoint, for messages.
        example: a hub id that would do, for messages.

    Raises:
        DepthCheckpointError: for a folder without weights, and a hub id that cannot be downloaded.
        OptionError: where a hub id is given and huggingface_hub is not installed.
    """
    folder, advice = Path(checkpoint).expanduser(), _advice(option, example)
    if folder.is_dir():
        missing = _missing(folder)
        if missing:
            raise DepthCheckpointError(f"{folder} is no checkpoint: it has no {' and no '.join(missing)}; {advice}")
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(checkpoint):
        found = "a file" if folder.exists() else "nothing"
        raise DepthCheckpointError(
            f"{option}={checkpoint}: expected a folder or a hub id OWNER/NAME, found {found}; {advice}"
        )
    return _from_hub(checkpoint, revision or None, option)


def content_digest(folder: Path) -> str:
    """A digest of the files that decide what a checkpoint computes; it does not depend on where they lie.

    Args:
        folder: of the checkpoint.
    """
    digest = hashlib.sha256()
    for path in sorted({p for pattern in WANTED for p in folder.glob(pattern)}, key=lambda p: p.name):
        state = path.stat()
        digest.update(f"{path.name} {_file_digest(path, state.st_size, state.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, modified_ns: int) -> str:
    """Of a file's bytes, read once for each size and time of change."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _missing(folder: Path) -> list[str]:
    return [pattern for pattern in NEEDED if not any(folder.glob(pattern))]


def _from_hub(name: str, revision: str | None, option: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise OptionError(f"the hub id {name} needs the packages of the extra `depth`; {INSTALL}") from error
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED), local_files_only=True))
        if not _missing(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED)))
    except Exception as error:  # no network, a wrong name, a closed repository, a full disk: no common base
        cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise DepthCheckpointError(
            f"{name} is not on this machine and cannot be downloaded ({cause}); {_advice(option, name)}"
        ) from error
    if missing := _missing(folder):
        raise DepthCheckpointError(f"{name} on the hub has no {' and no '.join(missing)}; {_advice(option, name)}")
    return folder


def _advice(option: str, hub_id: str) -> str:
    published = " (only repositories whose names end in -hf have them)" if option == DEPTH_OPTION else ""
    return (
        f"download config.json, preprocessor_config.json and model.safetensors from https://huggingface.co/{hub_id}"
        f"{published} into a folder that every node sees, and give {option}=FOLDER"
    )
