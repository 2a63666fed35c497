"""Warp's start in a process: a folder for compiled kernels that can be written to, and one compilation a machine."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
import warp as wp
from filelock import FileLock, Timeout

from dg.settings.errors import ConfigError

CACHE_VARIABLE = "WARP_CACHE_PATH"
LOCK_S = 300.0  # a compilation takes seconds; who has waited so long compiles for itself

wp.config.log_level = wp.LOG_ERROR


def start_warp() -> None:
    """Initialise Warp; more calls do nothing."""
    if wp.config.kernel_cache_dir is None:
        wp.config.kernel_cache_dir = kernel_folder()
    if torch.cuda.is_available():
        wp.init()
        return
    # Where there is no CUDA, Warp warns of it past Python's streams.
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            wp.init()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def kernel_folder() -> str | None:
    """Where compiled kernels are kept: what `WARP_CACHE_PATH` says, else the user's cache, else a private folder under
    the machine's temporary one, as in containers without a home.

    Returns:
        The folder; None where Warp's own choice, one of the first two, is well.

    Raises:
        ConfigError: `WARP_CACHE_PATH` names a folder that cannot be written to.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        if not _writable(Path(named)):
            raise ConfigError(f"{CACHE_VARIABLE}={named} cannot be written to; name a folder of yours, or unset it")
        return None
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "warp"
    return None if _writable(usual) else str(_private_folder())


def load_kernels(module: str, device: wp.Device | str) -> None:
    """Compile a module's kernels, unless another process of the machine has, and load them.

    Args:
        module: name of the Warp module.
        device: where they are to run.
    """
    # Without the lock every actor of a node would find no kernels and compile them, all at once.
    lock = FileLock(Path(str(wp.config.kernel_cache_dir)) / f"{module}.lock", timeout=LOCK_S)
    with suppress(Timeout, OSError):
        lock.acquire()
    try:
        wp.load_module(module, device)
    finally:
        lock.release()


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_folder() -> Path:
    """One folder a user, so that processes share it; a new one where somebody else could write to that."""
    folder = Path(tempfile.gettempdir()) / f"warp-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # What lies there is executed: it must be a folder, and nobody else's.
        if found.st_uid == os.getuid() and not found.st_mode & 0o022 and not folder.is_symlink():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="warp-kernels-"))
