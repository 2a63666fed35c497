"""Files that are whole or absent: written aside, synced, renamed."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Args:
        path: the file to write or replace; its folder is made where it does not exist.
        write: fills the binary file that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a text, or bytes, as `replace_file` does.

    Args:
        path: the file to write or replace.
        content: all that is in it.
    """
    data = content.encode() if isinstance(content, str) else content
    replace_file(path, lambda file: file.write(data))


def write_json(path: Path, content: Mapping[str, Any], allow_nan: bool = True) -> None:
    """Write a JSON file as `replace_file` does.

    Args:
        path: the file to write or replace.
        content: numbers, text, lists and mappings.
        allow_nan: whether NaN may be in it, which JSON does not know.
    """
    write_file(path, json.dumps(content, indent=1, allow_nan=allow_nan))


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write each file whole or not at all.

    Args:
        folder: is made where it does not exist.
        contents: name -> text, or bytes.

    Returns:
        The paths, in the order of `contents`.
    """
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]
