"""A cluster of this machine's loopback addresses, brought up by the repository's own cluster.yaml over a private sshd.

Everything lies below one folder of /tmp: home, Ray's files, keys. Nothing of the user's is read or written, no port is
fixed, and what was started is found by that folder's name and stopped by process id.
"""

import getpass
import hashlib
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.started import REPOSITORY, StartedCluster, wait_for

HEAD, TRAINER, RENDER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
CPUS = 2  # of each worker node


class LoopbackCluster(StartedCluster):
    """`up` starts the nodes and waits for them to join."""

    head, trainer, render = HEAD, TRAINER, RENDER

    def __init__(self) -> None:
        super().__init__()
        self.shared = self.seen = self.root
        self.home = self.root / "home"
        self.ssh_port, self.gcs_port, self.dashboard_port, self.agent_port, self.client_port = _free_ports(5)
        for folder in (self.home / "dg", self.root / "bin"):
            folder.mkdir(parents=True)
        (self.home / "dg/.venv").symlink_to(sys.prefix)  # where `make setup` would have put it
        token = self.home / ".ray/auth_token"
        token.parent.mkdir(mode=0o700)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))

    @property
    def environment(self) -> dict[str, str]:
        """For programs that talk to the cluster as its user would."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | self._node_environment() | {"PATH": self._path(), "RAY_AUTH_MODE": "token"}

    def submit(self, *words: str) -> list[str]:
        """What sends a run to the cluster as a job and follows it."""
        python, ray = str(self.home / "dg/.venv/bin/python"), str(Path(sys.executable).with_name("ray"))
        address = f"http://127.0.0.1:{self.dashboard_port}"
        return [ray, "job", "submit", "--address", address, "--", python, "-m", "dg.train", *words]

    def up(self) -> None:
        """`ray up`, then wait until both workers are there and jobs are taken."""
        self._start_sshd()
        file = self.root / "cluster.yaml"
        file.write_text(yaml.safe_dump(self.description()))
        ray = Path(sys.executable).with_name("ray")
        log = self.root / "ray_up.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [str(ray), "up", "-y", "--no-config-cache", str(file)],
                cwd=REPOSITORY, env=self.environment, stdout=output, stderr=subprocess.STDOUT, timeout=600, check=False,
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()[-5000:]
        wait_for(lambda: set(self.raylets()) >= {HEAD, TRAINER, RENDER}, 600, "three nodes")
        wait_for(lambda: _answers("127.0.0.1", self.dashboard_port), 300, "dashboard, which takes jobs")

    def description(self) -> dict[str, Any]:
        """The repository's cluster.yaml with this machine's addresses, key, ports and ready-made environment."""
        cluster = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
        trainer = cluster["provider"]["worker_ips"][0]
        cluster["cluster_name"] = self.root.name
        cluster["provider"] |= {"head_ip": HEAD, "worker_ips": [TRAINER, RENDER]}
        cluster["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": str(self.root / "key")}
        del cluster["file_mounts"]["~/.ray/auth_token"]  # all nodes have one home, where it lies already
        cluster["setup_commands"] = [c for c in cluster["setup_commands"] if "make " not in c]
        head = {
            "port": self.gcs_port,
            "dashboard-port": self.dashboard_port,
            "dashboard-agent-listen-port": self.agent_port,
            "ray-client-server-port": self.client_port,
        }
        # A folder each: nodes that start at the same moment would take the same names for their sockets.
        worker = {"num-cpus": CPUS, "num-gpus": 0, "dashboard-agent-listen-port": 0, "temp-dir": f"{self.root}/$ip"}
        changes = {
            "--port=6379": _options(head),
            "$RAY_HEAD_IP:6379": f"$RAY_HEAD_IP:{self.gcs_port} {_options(worker)}",
            trainer: TRAINER,
            # Without `ray stop`: on one host it would take the head down.
            "detach=": "stop=false detach=",
        }
        for part in ("head_start_ray_commands", "worker_start_ray_commands"):
            cluster[part] = [_replaced(c, changes) for c in cluster[part] if "ray start" in c]
        return cluster

    def keep_logs(self, folder: Path) -> None:
        """Copy what Ray wrote, since `stop` removes it."""
        for name in ("ray", TRAINER, RENDER):
            logs = self.root / name / "session_latest/logs"
            if logs.is_dir():
                shutil.copytree(logs, folder / name, ignore_dangling_symlinks=True, dirs_exist_ok=True)
        for path in self.root.glob("*.log"):
            shutil.copy(path, folder)

    # -- the end

    def stop(self) -> None:
        """End every process by its id, and remove the folder."""
        super().stop()
        _remove_ssh_sockets(self.root.name)

    def leftovers(self) -> list[str]:
        sockets = _ssh_sockets(self.root.name)
        return super().leftovers() + ([str(sockets)] if sockets.exists() else [])

    # -- its sshd

    def _start_sshd(self) -> None:
        for name in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / name)], check=True, timeout=30
            )
        (self.root / "authorized_keys").write_text((self.root / "key.pub").read_text())
        # Ray knows no other port than 22, and ssh takes its settings and `~` from the user's real home.
        ssh = self.root / "bin/ssh"
        key = self.root / "key"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F /dev/null -i {key} -p {self.ssh_port} "$@"\n')
        ssh.chmod(0o755)
        (self.home / ".bashrc").write_text(f"export PATH={self._path()}\n")
        variables = " ".join(f"{name}={value}" for name, value in self._node_environment().items())
        config = self.root / "sshd_config"
        config.write_text(
            "\n".join([
                *[f"ListenAddress {address}:{self.ssh_port}" for address in (HEAD, TRAINER, RENDER)],
                f"HostKey {self.root}/host_key",
                f"AuthorizedKeysFile {self.root}/authorized_keys",
                f"PidFile {self.root}/sshd.pid",
                f"SetEnv {variables}",
                "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
                "UsePAM no", "UseDNS no", "StrictModes no", "PrintMotd no", "MaxStartups 100", "MaxSessions 100",
            ]) + "\n"
        )  # fmt: skip
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which sshd wants and Debian's service would make
        log = self.root / "sshd.log"
        subprocess.run([str(sshd), "-f", str(config), "-E", str(log)], env=self.environment, check=True, timeout=30)
        wait_for(lambda: _answers(HEAD, self.ssh_port), 10, f"sshd: {log.read_text()}")

    def _node_environment(self) -> dict[str, str]:
        """Of every program on a node. TMPDIR is where Ray keeps its files and the state of its local provider."""
        return {
            "HOME": str(self.home),
            "PYTHONPATH": f"{self.home}/dg:{self.root}/plug_ins",  # what file_mounts brought, not the checkout
            "TMPDIR": str(self.root),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # of 15, at which actors starve beside any other work on this machine
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",  # of 30 s, too few on a busy machine
            "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "10",  # Ray's own 30 s would make the test longer, and no better
        }

    def _path(self) -> str:
        return f"{self.root}/bin:{os.environ.get('PATH', '')}"


def _free_ports(count: int) -> list[int]:
    """Outside of the ranges that Linux (32768 on) and Ray's workers (10002 to 19999) take theirs from."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20000, 32000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports between 20000 and 32000")


def _answers(address: str, port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex((address, port)) == 0


def _replaced(command: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        command = command.replace(old, new)
    return command


def _options(values: dict[str, Any]) -> str:
    return " ".join(f"--{name}={value}" for name, value in values.items())


def _ssh_sockets(cluster_name: str) -> Path:
    """Where Ray has ssh keep the sockets of its connections."""
    user, cluster = (hashlib.sha256(n.encode()).hexdigest()[:10] for n in (getpass.getuser(), cluster_name))
    return Path(f"/tmp/ray_ssh_{user}/{cluster}")


def _remove_ssh_sockets(cluster_name: str) -> None:
    folder = _ssh_sockets(cluster_name)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
