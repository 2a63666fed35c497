"""`python -m dg.cluster.spot_notice watch=aws` on a spot node: drain it when the cloud announces that it takes it.

Written to the documentation of EC2's instance metadata (IMDSv2) and tested against a stand-in for it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from dg.settings.command import Command, run_command
from dg.settings.config import CountOrZero
from dg.settings.errors import RESOURCES, ConfigError
from dg.settings.reader import read

METADATA = "http://169.254.169.254"
POLL_S = 5.0
TOKEN_S = 21600
LEFT_S = 110  # of EC2's two minutes, where the notice gives no time


class DrainError(RuntimeError):
    """A node that cannot be drained. The message says why."""

    exit_code = RESOURCES


@dataclass(frozen=True)
class SpotOptions:
    """When the node is drained. Raises ConfigError unless one of `watch` and `drain` is given."""

    watch: Literal["aws"] | None = None  # ask EC2's instance metadata every 5 s, and drain when it gives a notice; a
    # node that is not spot never gets one
    drain: CountOrZero | None = None  # drain this node now; it has so many seconds left (a Kubernetes preStop hook)
    metadata: str = METADATA  # address of the metadata service

    def __post_init__(self) -> None:
        if (self.watch is None) == (self.drain is None):
            raise ConfigError("expected one of watch=aws and drain=SECONDS")


COMMAND = Command(
    name="dg.cluster.spot_notice",
    program="python -m",
    about="""Drain the Ray node of this machine when the cloud announces that it takes the machine back.

A drained node gets no new actors. Those that it has go on until the machine stops, and Ray then knows that the node was
preempted, so that no retry of a task is charged. Ray does not read the cloud's notice itself (SYSTEMS 2.5).""",
    settings=SpotOptions,
    usage="watch=aws | drain=SECONDS",
    codes=(RESOURCES,),
    needs=True,
    examples=("python -m dg.cluster.spot_notice watch=aws", "python -m dg.cluster.spot_notice drain=60"),
)


def main(args: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    return run_command(COMMAND, args, _main)


def _main(args: list[str]) -> int:
    options = read(SpotOptions, args)
    seconds = wait_for_notice(options.metadata or METADATA) if options.drain is None else options.drain
    try:
        subprocess.run(drain_command(seconds), check=True, timeout=60)
    except (LookupError, OSError, subprocess.SubprocessError) as error:
        raise DrainError(f"this node cannot be drained: {error}") from error
    return 0


def wait_for_notice(metadata: str, poll_s: float = POLL_S) -> int:
    """Wait until the cloud announces that it takes the node away, and return the seconds left.

    Args:
        metadata: address of the node's metadata service.
        poll_s: seconds between two requests.
    """
    while True:
        try:
            notice = _notice(metadata)
        except (URLError, OSError, ValueError):  # the service is away for a moment
            notice = None
        if notice is not None:
            return seconds_left(notice)
        time.sleep(poll_s)


def _notice(metadata: str) -> dict[str, str] | None:
    """EC2's `spot/instance-action`; None while there is none."""
    header = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
    with urlopen(Request(f"{metadata}/latest/api/token", method="PUT", headers=header), timeout=2) as answer:
        token = answer.read().decode()
    request = Request(f"{metadata}/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token})
    try:
        with urlopen(request, timeout=2) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


def seconds_left(notice: dict[str, str]) -> int:
    """Until the `time` of a notice, such as 2027-01-31T08:22:00Z."""
    try:
        when = datetime.strptime(notice["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except (KeyError, ValueError):
        return LEFT_S
    return max(1, int((when - datetime.now(timezone.utc)).total_seconds()))


def drain_command(seconds: int) -> list[str]:
    """The call of Ray's command line that drains this machine's node. Raises LookupError unless there is just one."""
    address, node = this_node()
    return [
        str(Path(sys.executable).with_name("ray")), "drain-node", f"--address={address}", f"--node-id={node}",
        "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--deadline-remaining-seconds={seconds}",
    ]  # fmt: skip


def this_node() -> tuple[str, str]:
    """Address of the cluster and id of its node on this machine, from the command line of Ray's own process."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            given = _pairs(process.info["cmdline"] or [])
            found.append((given.get("gcs_address", ""), given.get("node_id", "")))
    if len(found) != 1 or not all(found[0]):
        raise LookupError(f"expected one Ray node on this machine, found {found or 'none'}")
    return found[0]


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    """`{"node_id": "..."}` of `--node-id=...` and the like."""
    parts = [argument.lstrip("-").partition("=") for argument in arguments]
    return {name.replace("-", "_"): value for name, _, value in parts}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
