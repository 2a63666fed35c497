"""Ray's authentication token: who has it runs programs in the cluster, so nobody else may read it.

Ray makes the file when it starts a cluster and finds none, with the rights that the umask leaves, which lets others
read it on most machines.
"""

import os
import secrets
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_TOKEN_BYTES = 32


def token_file() -> Path:
    """Where Ray looks for the token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def is_private(path: Path) -> bool:
    """Whether a file can be read or changed by its owner alone."""
    return not path.stat().st_mode & _OTHERS


def keep_token_private() -> None:
    """Make the token that Ray is about to need, or take others' rights to the one that is there.

    Does nothing where the token comes from the environment, where authentication is off, and where the file is
    somebody else's: Ray then says what it misses.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = token_file()
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(_TOKEN_BYTES))
        elif not is_private(path):
            path.chmod(0o600)
    except OSError:  # another process made it meanwhile, or it is not ours to change
        return
