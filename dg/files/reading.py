"""Whole files read into memory, once it is known that they are files and that they fit."""

from pathlib import Path

import psutil

from dg.files.errors import FileFormatError

_CGROUP = Path("/sys/fs/cgroup")
_GIB = 1 << 30


def read_whole(path: str | Path) -> bytes:
    """The content of a file.

    Args:
        path: Of a regular file.

    Returns:
        All its bytes, at least one.

    Raises:
        FileFormatError: It is missing, empty, a folder, a pipe or a device, unreadable, or larger than the memory.
    """
    path = Path(path)
    check_regular(path)
    try:
        check_fits(path.stat().st_size, str(path))
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise FileFormatError(f"{path}: is larger than the free memory") from error
    if not data:
        raise FileFormatError(f"{path}: the file is empty; fetch it again")
    return data


def check_regular(path: Path) -> None:
    """Raises FileFormatError for what is not a regular file: reading a pipe would wait for ever."""
    try:
        if path.is_file():
            return
        found = "a directory" if path.is_dir() else kind_of(path) if path.exists() else ""
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from error
    raise FileFormatError(f"{path}: expected a file, found {found}" if found else f"{path}: no such file")


def kind_of(path: Path) -> str:
    """What something on disk is, in words, if it is neither a file nor a directory."""
    kinds = ((path.is_fifo, "a named pipe (FIFO)"), (path.is_socket, "a socket"),
             (path.is_block_device, "a device"), (path.is_char_device, "a device"))  # fmt: skip
    return next((words for asked, words in kinds if asked()), "something else")


def check_fits(size: int, what: str) -> None:
    """Check that content fits into the free memory.

    Args:
        size: bytes of memory that the content takes.
        what: name of the content, for the message.

    Raises:
        FileFormatError: the free memory does not hold it.
    """
    free = available_memory()
    if size > free:
        raise FileFormatError(
            f"{what}: would take {size / _GIB:.1f} GiB of memory, but {free / _GIB:.1f} GiB are free. If you expected "
            "a file of that size, use a machine with more memory; otherwise do not trust it"
        )


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, and of the container that it runs in."""
    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            free = min(free, max(int(limit) - _charged(), 0))
    except (OSError, ValueError, IndexError):
        pass
    return free


def _charged() -> int:
    """Bytes of the container in use, less what of it is cached files that the kernel gives up."""
    used = int((_CGROUP / "memory.current").read_text())
    counts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    return used - int(counts.get("inactive_file", 0))
