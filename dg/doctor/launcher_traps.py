"""The traps of `ray up` files (SYSTEMS 5.1 to 5.7), one function each: it yields a finding where the trap is set."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from dg.doctor.finding import Finding, error, warning
from dg.doctor.installed import installed_version
from dg.doctor.launcher_file import (
    HEAD_COMMANDS,
    WORKER_COMMANDS,
    LauncherFile,
    auth_mode,
    is_spot,
    mapping,
    option,
    sequence,
)

Check = Callable[[LauncherFile], Iterator[Finding]]
TOKEN = "~/.ray/auth_token"


def authentication(file: LauncherFile) -> Iterator[Finding]:
    """Check that all nodes authenticate in the same way and that the token reaches them."""
    everywhere = next(filter(None, map(auth_mode, map(str, file.docker.get("run_options") or []))), None)
    modes = [auth_mode(command) or everywhere for command in file.all_start_commands]
    if None in modes:
        yield error(
            "auth-mode-missing",
            "a `ray start` does not say RAY_AUTH_MODE: Ray then asks for a token only where ~/.ray/auth_token exists, "
            "and nodes refuse each other",
            "write RAY_AUTH_MODE=token (or disabled, on an isolated network) before each `ray start`",
        )
    if len(stated := {mode for mode in modes if mode}) > 1:
        yield error(
            "auth-mode-differs",
            f"start commands state different authentication modes, {sorted(stated)}: nodes will refuse each other",
            "state the same RAY_AUTH_MODE in all of them",
        )
    given = any(
        name in command for command in file.all_start_commands for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    )
    if "token" in stated and TOKEN not in file.file_mounts and not given:
        yield error(
            "token-not-mounted",
            f"RAY_AUTH_MODE=token, but file_mounts does not bring {TOKEN} to the nodes",
            f"file_mounts: {{{TOKEN}: {TOKEN}}}",
        )
    if "disabled" in stated and not file.on_premises:
        yield warning(
            "auth-disabled-in-cloud",
            "RAY_AUTH_MODE=disabled on a cloud: whoever reaches the ports runs programs on your nodes",
            "use RAY_AUTH_MODE=token",
        )


def autoscaler_version(file: LauncherFile) -> Iterator[Finding]:
    """Check that machines of one's own do not run under autoscaler v2."""
    stated = any("RAY_enable_autoscaler_v2=0" in command for command in file.start_commands(HEAD_COMMANDS))
    if file.on_premises and not stated and os.environ.get("RAY_UP_enable_autoscaler_v2") != "0":
        yield error(
            "autoscaler-v2-on-premises",
            "autoscaler v2, the default of `ray up`, starts one worker too few with provider type local: it counts "
            "the head as a worker",
            "write RAY_enable_autoscaler_v2=0 before `ray start --head`, or export RAY_UP_enable_autoscaler_v2=0",
        )


def ray_stop_on_a_shared_host(file: LauncherFile) -> Iterator[Finding]:
    """Check that `ray stop` does not end the head where several nodes share this host."""
    stops = any("ray stop" in command for part in (HEAD_COMMANDS, WORKER_COMMANDS) for command in file.commands(part))
    loopback = [a for a in file.addresses if a.startswith("127.") or a == "localhost"]
    if stops and len(loopback) > 1:
        yield error(
            "ray-stop-on-a-shared-host",
            f"`ray stop` ends every Ray of its host, and {', '.join(loopback)} are one host: a worker that starts "
            "takes the head down",
            "leave `ray stop` out of the start commands",
        )


def addresses(file: LauncherFile) -> Iterator[Finding]:
    """Check the addresses of machines of one's own: present, not repeated, and those that commands name."""
    if not file.on_premises or "coordinator_address" in file.provider:
        return
    if not (file.provider.get("head_ip") and file.provider.get("worker_ips")):
        yield error(
            "addresses-absent",
            "provider type local needs head_ip and worker_ips",
            "list the addresses of your machines",
        )
    repeated = sorted({a for a in file.addresses if file.addresses.count(a) > 1})
    if repeated:
        yield error(
            "address-repeated",
            f"{', '.join(repeated)} stands in provider more than once: two nodes would share one machine and its GPUs",
            "give each machine one place, head_ip or worker_ips",
        )
    named = {a for c in file.commands(WORKER_COMMANDS) for a in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", c)}
    if strange := sorted(named - set(file.addresses) - {"127.0.0.1", "0.0.0.0"}):
        yield error(
            "address-unknown",
            f"worker_start_ray_commands name {', '.join(strange)}, which provider does not list: no node will take "
            "that role",
            "name one of worker_ips there",
        )


def node_types_on_premises(file: LauncherFile) -> Iterator[Finding]:
    """Check that machines of one's own have no node types."""
    present = [key for key in ("available_node_types", "head_node", "worker_nodes") if file.tree.get(key)]
    if file.on_premises and present:
        yield error(
            "node-types-on-premises",
            f"provider type local aborts on {', '.join(present)}: all your machines are of one type",
            "leave it out; tell nodes apart by --labels and --resources in worker_start_ray_commands",
        )


def resources(file: LauncherFile) -> Iterator[Finding]:
    """Check that the node types' resources are whole numbers, and stated."""
    for name, node_type in file.node_types.items():
        given = node_type.get("resources")
        wrong = {k: v for k, v in given.items() if not isinstance(v, int)} if isinstance(given, dict) else {}
        if wrong:
            yield error(
                "fractional-resources",
                f"resources of {name} must be whole numbers, got {wrong}",
                "give whole ones; fractions are for actors (render.gpus_per_actor=0.5)",
            )
        if given == {} and name in file.worker_types:
            yield warning(
                "resources-guessed",
                f"resources of {name} are empty: Ray learns its GPUs only after a first launch, and may not launch one",
                'say what it has, such as {"CPU": 4, "GPU": 1}',
            )


def worker_counts(file: LauncherFile) -> Iterator[Finding]:
    """Check max_workers against the least number of workers and the number of machines."""
    most = file.tree.get("max_workers")
    if not isinstance(most, int):
        return
    machines = len(sequence(file.provider.get("worker_ips")))
    counts = [node_type.get("min_workers", 0) for node_type in file.node_types.values()]
    if file.on_premises:  # where Ray takes the number of machines if the file gives none
        counts = [min(file.tree.get("min_workers", machines), machines)]
    least = sum(count for count in counts if isinstance(count, int))
    if least > most:
        yield error(
            "max-workers-below-min",
            f"max_workers is {most}, but min_workers add up to {least}",
            f"max_workers: {least} or more",
        )
    elif file.on_premises and most < machines:
        yield warning(
            "workers-left-out",
            f"max_workers is {most}, so {machines - most} of the {machines} worker_ips will never join",
            "leave max_workers and min_workers out: all of them join then",
        )


def head(file: LauncherFile) -> Iterator[Finding]:
    """Check that the head's type exists, runs no actors and is no spot instance."""
    types = file.node_types
    if types and file.tree.get("head_node_type") not in types:
        yield error(
            "unknown-head-type",
            f"head_node_type {file.tree.get('head_node_type')!r} is none of available_node_types, {sorted(types)}",
            "name one of them",
        )
        return
    commands = file.start_commands(HEAD_COMMANDS)
    by_type = file.head_type.get("resources", {}).get("CPU") if types else None
    by_command = [option(command, "num-cpus") for command in commands]
    if by_type != 0 and "0" not in by_command:
        yield error(
            "head-runs-actors",
            "the head offers CPUs, so actors run beside the cluster's control store, and its loss is the cluster's",
            "--num-cpus=0 in `ray start --head`" if file.on_premises else 'resources: {"CPU": 0} of the head\'s type',
        )
    if is_spot(file.head_type):
        yield error("spot-head", "the head is a spot instance: when the cloud takes it, the whole cluster ends",
                    "leave InstanceMarketOptions out of the head's node_config")  # fmt: skip


def start_commands(file: LauncherFile) -> Iterator[Finding]:
    """Check the `ray start` commands: how workers find the head, ports, dashboard and interpreter."""
    heads, workers = file.start_commands(HEAD_COMMANDS), file.start_commands(WORKER_COMMANDS)
    if not any("--head" in c and "--autoscaling-config" in c for c in heads):
        yield error(
            "head-start-command",
            "head_start_ray_commands have no `ray start --head` with --autoscaling-config: no worker will ever start",
            "ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml",
        )
    if not any("RAY_HEAD_IP" in c for c in workers):
        yield error(
            "worker-start-command",
            "worker_start_ray_commands have no `ray start --address=$RAY_HEAD_IP:PORT`: workers will not find the head",
            "ray start --address=$RAY_HEAD_IP:6379",
        )
    ports = {option(c, "port") or "6379" for c in heads if "--head" in c}
    asked = set(re.findall(r"RAY_HEAD_IP\}?:(\d+)", " ".join(workers)))
    if asked - ports and ports:
        yield error(
            "ports-differ",
            f"the head listens on port {', '.join(sorted(ports))}, workers ask on {', '.join(sorted(asked - ports))}",
            "give both the same port",
        )
    if any(option(c, "dashboard-host") == "0.0.0.0" and auth_mode(c) == "disabled" for c in heads):
        yield warning(
            "dashboard-open",
            "the dashboard takes jobs from anybody who reaches it: --dashboard-host=0.0.0.0 without authentication",
            "--dashboard-host=127.0.0.1, and `ray dashboard cluster.yaml` from your machine; or RAY_AUTH_MODE=token",
        )
    bare = [c for c in file.all_start_commands if not re.search(r"PATH=|/ray start|activate", c)]
    if bare and not file.docker.get("image"):
        yield warning(
            "bare-interpreter",
            "`ray start` runs whichever ray the node's PATH finds first, and jobs its `python`",
            "PATH=FOLDER_OF_THE_ENVIRONMENT/bin:$PATH before `ray start`, or a container image",
        )


def versions(file: LauncherFile) -> Iterator[Finding]:
    """Check that the set-up commands assert the versions of Python, Ray, torch and dg."""
    asserted = "\n".join(line for line in file.set_up.split("\n") if "assert" in line)
    signs = {"python": "sys.version", "ray": "ray.__version__", "torch": "torch.__version__", "dg": "dg.__version__"}
    missing = [name for name, sign in signs.items() if sign not in asserted]
    if missing:
        yield error(
            "versions-not-asserted",
            f"set-up commands do not assert the version of {', '.join(missing)}: Ray refuses other patch versions of "
            "Python and Ray late and obscurely, and another torch or dg changes results",
            "assert them in setup_commands, as cluster.yaml does",
        )
    elif "sys.version_info[:2]" in asserted:
        yield error(
            "patch-version-not-asserted",
            "set-up commands assert Python only to the minor version; Ray compares the patch version too",
            "assert sys.version.split()[0]",
        )
    installed = installed_version("ray")
    if "ray" not in missing and installed and f"'{installed}'" not in asserted:
        yield error(
            "other-ray-version",
            f"set-up commands expect another Ray than the {installed} that is installed here: the launcher's "
            "configuration does not fit another version",
            f"assert '{installed}', or use the launcher of that other version",
        )


def trainer(file: LauncherFile) -> Iterator[Finding]:
    """Check that some node offers the resource `trainer`, and that it is no spot instance."""
    offers = [name for name, node_type in file.worker_types.items() if "trainer" in (node_type.get("resources") or {})]
    if not offers and not any("trainer" in c for c in file.start_commands(WORKER_COMMANDS)):
        yield warning(
            "no-trainer",
            "no node has the resource `trainer`: the trainer goes wherever there is room, a spot node included",
            'resources: {"trainer": 1} for the node that is to train',
        )
    for name in offers:
        if is_spot(file.worker_types[name]):
            yield warning(
                "spot-trainer",
                f"the trainer's node type {name} is spot: when the cloud takes it, the run ends at its last checkpoint",
                "leave InstanceMarketOptions out of it, and start runs with resume=auto",
            )


def spot_notice(file: LauncherFile) -> Iterator[Finding]:
    """Check that something watches for the cloud's notice on spot nodes."""
    watched = re.search(r"spot_notice|drain-node", " ".join(file.commands(WORKER_COMMANDS)))
    spot = [name for name, node_type in file.worker_types.items() if is_spot(node_type)]
    if spot and not watched:
        yield warning(
            "spot-not-watched",
            f"nobody tells Ray when the cloud announces that it takes a node of {', '.join(spot)}",
            "start `python -m dg.cluster.spot_notice watch=aws` after `ray start`, as docs/clusters/aws.yaml does",
        )


def mounts(file: LauncherFile) -> Iterator[Finding]:
    """Check that the files to send are here, and that no whole folder is sent."""
    for remote, local in file.file_mounts.items():
        path = Path(local).expanduser()
        if local.rstrip("/") in ("", ".", "~") or path == Path.cwd():
            yield warning(
                "whole-folder-mounted",
                f"file_mounts sends all of {local} to {remote}: Ray reads every byte of it at each `ray up`, "
                "environments and runs included, whatever rsync_exclude says",
                "mount the packages one by one, as cluster.yaml does",
            )
        elif not path.exists():
            made = "make it with `ray get-auth-token --generate`" if remote == TOKEN else "put it there first"
            yield warning("file-absent", f"{local}, which file_mounts sends to {remote}, is not on this machine", made)


def placeholders(file: LauncherFile) -> Iterator[Finding]:
    """Check that no image is still a placeholder."""
    images = [str(value) for key, value in file.docker.items() if key.endswith("image")]
    if any("REGISTRY" in image for image in images):
        yield warning("placeholder", f"the image is still the placeholder {images[0]}", "name your own image")


def this_machine(file: LauncherFile) -> Iterator[Finding]:
    """Check that this machine has the programs, packages and key that `ray up` needs."""
    absent = [name for name in ("ssh", "rsync") if shutil.which(name) is None]
    if absent:
        yield warning("programs-absent", f"`ray up` needs {' and '.join(absent)}, not found here",
                      "install openssh-client and rsync")  # fmt: skip
    if file.provider.get("type") == "aws" and find_spec("boto3") is None:
        yield warning("boto3-absent", "`ray up` on AWS needs boto3, which is not installed here", "pip install boto3")
    key = mapping(file.tree.get("auth")).get("ssh_private_key")
    if key and not Path(str(key)).expanduser().is_file():
        yield warning("ssh-key-absent", f"auth.ssh_private_key {key} is not on this machine",
                      "name a key that the nodes let in")  # fmt: skip


CHECKS: tuple[Check, ...] = (
    authentication, autoscaler_version, ray_stop_on_a_shared_host, addresses, node_types_on_premises, resources,
    worker_counts, head, start_commands, versions, trainer, spot_notice, mounts, placeholders, this_machine,
)  # fmt: skip
