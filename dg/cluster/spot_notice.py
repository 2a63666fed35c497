"""`python -m dg.cluster.spot_notice watch=aws` on a spot node: drain it when the cloud announces that it takes it.

A drained node gets no new actors, those that it has go on until the node dies, and their death is then known to be
nobody's fault, so that no retry is charged. Ray does not read the cloud's notice itself (SYSTEMS 2.5).

words:
  watch=aws                 ask EC2's instance metadata every 5 s; on a node that is not spot nothing ever comes
  drain=SECONDS             drain this node now; it has so many seconds left (a Kubernetes preStop hook)
  metadata=URL              another metadata service than http://169.254.169.254

Written to the documentation of EC2's instance metadata (IMDSv2), tested against a stand-in for it.
exit codes: 0 drained, 2 wrong word, 3 no Ray node here, or it refused
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

METADATA = "http://169.254.169.254"
POLL_S = 5.0
TOKEN_S = 21600
LEFT_S = 110  # of EC2's two minutes, where the notice gives no time


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"--help", "-h", "help"} & set(words):
        sys.stdout.write(__doc__ or "")
        return 0 if words else 2
    given = _pairs(words)
    unknown = sorted(set(given) - {"watch", "drain", "metadata"})
    if unknown or ("watch" in given) == ("drain" in given) or given.get("watch", "aws") != "aws":
        sys.stderr.write(f"error: expected watch=aws or drain=SECONDS, got {' '.join(words)}\n")
        return 2
    if "drain" in given and not given["drain"].isdecimal():
        sys.stderr.write(f"error: drain must be a whole number of seconds, got {given['drain']!r}\n")
        return 2
    seconds = int(given["drain"]) if "drain" in given else wait_for_notice(given.get("metadata") or METADATA)
    try:
        subprocess.run(drain_command(seconds), check=True, timeout=60)
    except (LookupError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"error: this node cannot be drained: {error}\n")
        return 3
    return 0


def wait_for_notice(metadata: str, poll_s: float = POLL_S) -> int:
    """Seconds that the node has left, as soon as the cloud says so."""
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


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """`{"node_id": "..."}` of `--node-id=...` and the like."""
    parts = [word.lstrip("-").partition("=") for word in words]
    return {name.replace("-", "_"): value for name, _, value in parts}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
