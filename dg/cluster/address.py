"""Where a run is to run, as far as that can be told before Ray starts: by the address, and by what runs beside it."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from dg.cluster.guardian import CLUSTER_PREFIX
from dg.settings.config import ConfigError, TrainConfig

AUTO, OWN = "auto", "local"
API_SERVER = "RAY_API_SERVER_ADDRESS"
# `ray up` keeps what it resolved, and does not take it away at `ray down`.
CACHED_FOR_S = 14 * 24 * 3600.0


def cluster_address(config: TrainConfig) -> str:
    """The address of the Ray cluster to join; empty: the run starts one of its own.

    `auto` is the cluster that this machine is part of. Raises ConfigError for an address that a run cannot join.
    """
    address = config.address
    if address in ("", AUTO):
        address = os.environ.get("RAY_ADDRESS") or address
    if address == OWN:
        return ""
    if address.startswith("ray://"):
        raise ConfigError(
            f"address={address} is Ray Client's, over which runs are not driven; add submit=true to send the run as "
            "a job, or start it on the cluster's head with address=auto"
        )
    if "://" in address:
        raise ConfigError(
            f"address={address} takes jobs; add submit=true, or give HOST:PORT of the cluster itself (6379 is usual)"
        )
    return address


def where(config: TrainConfig) -> str:
    """Where the run is going to run, for its first line."""
    if config.pool == "local":
        return "this machine, in this process"
    address = cluster_address(config)
    if not address:
        return "this machine, in a Ray cluster of its own"
    return "the Ray cluster of this machine" if address == AUTO else f"the Ray cluster at {address}"


def unused_clusters(config: TrainConfig) -> str:
    """In a line, the clusters that the user may have meant, where the run is not going to join any; else empty."""
    if config.pool == "local" or cluster_address(config):
        return ""
    found = []
    here, brought_up, server = clusters_here(), clusters_brought_up(), os.environ.get(API_SERVER)
    if here:
        found.append(f"{', '.join(here)} on this machine (address={here[0]} joins it)")
    if server:
        found.append(f"{API_SERVER}={server} (submit=true sends the run there)")
    if brought_up:
        found.append(
            f"{', '.join(brought_up)} of `ray up` (`ray dashboard YAML`, then submit=true sends the run there)"
        )
    return f"Ray clusters that are not used: {'; '.join(found)}" if found else ""


def clusters_here() -> list[str]:
    """Addresses of the Ray clusters that this machine is part of, those of single runs left out."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] != "raylet" or any(f"/{CLUSTER_PREFIX}" in word for word in words):
            continue
        found += [word.partition("=")[2] for word in words if word.startswith(("--gcs-address=", "--gcs_address="))]
    return sorted(set(found))


def clusters_brought_up() -> list[str]:
    """Names of the clusters that `ray up` started from this machine, as far as it left notes of them."""
    folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
    return sorted({*_on_premises(folder / "ray"), *_in_clouds(Path(tempfile.gettempdir()))})


def _on_premises(folder: Path) -> Iterator[str]:
    for path in folder.glob("cluster-*.state"):
        if any(node.get("state") == "running" for node in _nodes(path)):
            yield path.stem.removeprefix("cluster-")


def _in_clouds(folder: Path) -> Iterator[str]:
    for path in folder.glob("ray-config-*"):
        config = _read(path).get("config", {})
        if config.get("provider", {}).get("type") != "local" and time.time() - path.stat().st_mtime < CACHED_FOR_S:
            yield str(config.get("cluster_name", "default"))


def _nodes(path: Path) -> list[dict[str, object]]:
    return [node for node in _read(path).values() if isinstance(node, dict)]


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
