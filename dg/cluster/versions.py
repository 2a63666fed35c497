"""What each node of a cluster runs: a run refuses nodes that would compute something else than its driver says."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("dg", "lifters", "render_workers")


@dataclass(frozen=True)
class NodeVersions:
    """Versions, and a digest of this project's own source.

    Attributes:
        torch: PyTorch's version without its build (`+cpu`, `+cu126`), which may differ between nodes with and without a
            GPU.
    """

    python: str
    ray: str
    torch: str
    dg: str
    source: str


def versions_here() -> NodeVersions:
    """Of this process; loads nothing but what is asked for."""
    from dg import __version__

    return NodeVersions(platform.python_version(), _version("ray"), _version("torch"), __version__, source_digest())


def _version(package: str) -> str:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "not installed"


def source_digest() -> str:
    """Of the Python files of this project, wherever it is installed."""
    digest = hashlib.blake2b(digest_size=6)
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def differences(driver: NodeVersions, nodes: Mapping[str, "NodeVersions | str"]) -> list[str]:
    """Return one line for each node whose versions differ from the driver's.

    Args:
        driver: versions on the driver.
        nodes: node -> its versions, or the error that came in their place.
    """
    found = []
    for node, theirs in sorted(nodes.items()):
        if isinstance(theirs, str):
            found.append(f"{node}: {theirs}")
            continue
        different = [f.name for f in fields(NodeVersions) if getattr(theirs, f.name) != getattr(driver, f.name)]
        if different:
            pairs = (f"{n} {getattr(theirs, n)} (driver: {getattr(driver, n)})" for n in different)
            found.append(f"{node}: {', '.join(pairs)}")
    return found
