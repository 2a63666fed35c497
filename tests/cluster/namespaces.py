"""A cluster of hosts on this machine: network namespaces, joined by a bridge, and the repository's cluster.yaml.

Each host has its own addresses, host name, processes, mounts, home, shared memory, /tmp, token file and sshd. None of
this exists outside the hosts' own namespaces, which end with their first processes, and these with the test.
"""

import json
import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.cluster.started import REPOSITORY, StartedCluster, missing_programs, wait_for

NETWORK = "10.77.0"  # private, and known to nobody but the hosts
LAPTOP, HEAD, TRAINER, RENDER, BY_HAND = (f"{NETWORK}.{n}" for n in (1, 10, 11, 12, 13))
NAMES = {LAPTOP: "laptop", HEAD: "head", TRAINER: "trainer", RENDER: "render1", BY_HAND: "render2"}
PATIENCE_S = 400.0  # with the start of Ray on a machine that is busy with other work
PACKAGES = ("dg", "lifters", "render_workers", "sweeps")
NODE_ENVIRONMENT = {
    "PYTHONPATH": "{home}/dg:{root}/plug_ins",  # what file_mounts brought, not the checkout
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # of 15, at which actors starve beside any other work on this machine
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",  # of 30 s, too few on a busy machine
    # Shorter than Ray's own, which would make the test longer, and no better. A host that is cut off is then declared
    # dead after about 30 s instead of 65.
    "RAY_health_check_timeout_ms": "3000",
}


def why_not() -> str:
    """What keeps this machine from having such hosts; empty where nothing does."""
    programs = {"ip": "iproute2", "tc": "iproute2", "unshare": "util-linux", "nsenter": "util-linux",
                "setpriv": "util-linux"}  # fmt: skip
    if packages := missing_programs(**programs):
        return f"it needs `apt-get install {' '.join(packages)}` first"
    if os.getuid() != 0:
        return "only root may make network namespaces"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "sh", "-c",
         "hostname x && mount -t tmpfs x /srv && ip link add br0 type bridge && "
         "ip link add left0 type veth peer name right0"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"namespaces are not allowed here: {tried.stderr.strip()}"


@dataclass
class Host:
    """init: its first process. link: its cable's other end, at the switch."""

    name: str
    address: str
    init: psutil.Process

    @property
    def link(self) -> str:
        return f"to-{self.name}"

    def command(self, *command: str, folder: str = "/") -> list[str]:
        """What runs a program on it, as if from its console."""
        inside = f"cd {shlex.quote(folder)} && exec {shlex.join(command)}"
        return ["nsenter", "-t", str(self.init.pid), "-n", "-m", "-u", "-i", "-p", "--", "sh", "-c", inside]


class NamespaceCluster(StartedCluster):
    """`up` starts the hosts and Ray on them: a head, a trainer and a render host by `ray up`, one more by hand.

    tmp_size: of each host's disk for temporary files, Ray's included.
    """

    head, trainer, render = HEAD, TRAINER, RENDER
    shared = Path("/srv")
    actors_wanted = ("render.actors=4", "render.max_actors=4")

    def __init__(self, tmp_size: str = "256m") -> None:
        super().__init__()
        self.home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        self.seen = self.root / "shared"
        self.seen.mkdir()
        self.tmp_size = tmp_size
        self.hosts: dict[str, Host] = {}
        self._namespaces: set[str] = set()

    def up(self) -> None:
        """`ray up` from the laptop, then wait until all workers are there and jobs are taken."""
        self._write_files()
        for address, name in NAMES.items():
            self._start_host(name, address)
        log = self.root / "ray_up.log"
        with log.open("wb") as output:
            done = subprocess.run(
                self.on(LAPTOP, self.ray, "up", "-y", "--no-config-cache", str(self.root / "cluster.yaml"),
                        folder=str(REPOSITORY)),
                env=self.environment, stdout=output, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False,
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()[-5000:]
        # One after the other: Ray gives its own processes 15 s to start, which many at once need on a busy machine.
        for newcomers, join in ({HEAD, TRAINER, RENDER}, lambda: None), ({BY_HAND}, self._join_by_hand):
            join()
            wait_for(lambda new=newcomers: self.members() >= new, PATIENCE_S, f"cluster with {newcomers}", every_s=2)

    def _join_by_hand(self) -> None:
        """What a user types on a host that is not in the file; docs/clusters/README.md says it."""
        limits = "--num-cpus=2 --num-gpus=0 --object-store-memory=200000000 --labels=pool=render"
        self.do(
            LAPTOP,
            f"ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {self.root}/key {BY_HAND} "
            f"'cd dg && RAY_AUTH_MODE=token .venv/bin/python -m dg.cluster.rejoin detach={self.root}/rejoin.log -- "
            f".venv/bin/ray start --address={HEAD}:6379 --node-ip-address={BY_HAND} {limits}'",
        )

    @property
    def ray(self) -> str:
        return str(Path(sys.executable).with_name("ray"))

    @property
    def environment(self) -> dict[str, str]:
        """For programs that talk to the cluster as its user would, on any of its hosts."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | self._node_environment() | {"HOME": str(self.home), "RAY_AUTH_MODE": "token"}

    def on(self, address: str, *command: str, folder: str = "/") -> list[str]:
        """What runs a program on a host."""
        return self.hosts[address].command(*command, folder=folder)

    def do(self, address: str, command: str) -> str:
        """Run a shell command on a host; what it printed."""
        done = subprocess.run(
            self.on(address, "sh", "-c", command), env=self.environment, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{command} on {address}: {done.stdout}{done.stderr}"
        return done.stdout

    def members(self) -> set[str]:
        """Hosts that Ray holds for alive and whose agents have reported; empty while the dashboard does not answer.

        The head's agent takes jobs. Ray lists a node before the first report of its agent, which brings the address.
        """
        url, token = "http://127.0.0.1:8265/nodes?view=summary", {"Authorization": f"Bearer {self._token}"}
        request = f"u.Request({url!r}, headers={token!r})"
        ask = f"import urllib.request as u; print(u.urlopen({request}, timeout=5).read().decode())"
        told = subprocess.run(
            self.on(HEAD, sys.executable, "-S", "-c", ask), capture_output=True, text=True, check=False, timeout=30
        )
        nodes = json.loads(told.stdout)["data"]["summary"] if told.returncode == 0 else []
        return {node["ip"] for node in nodes if "ip" in node and node["raylet"].get("state") == "ALIVE"}

    def submit(self, *words: str) -> list[str]:
        """What sends a run to the cluster as a job and follows it."""
        python = str(self.home / "dg/.venv/bin/python")
        return self.on(
            HEAD,
            self.ray,
            "job",
            "submit",
            "--address",
            "http://127.0.0.1:8265",
            "--",
            python,
            "-m",
            "dg.train",
            *words,
        )

    # -- what happens to hosts

    def cut(self, *addresses: str) -> None:
        """Pull the hosts' cables: nobody is told."""
        for address in addresses:
            self._switch(f"ip link set {self.hosts[address].link} down")

    def mend(self, *addresses: str) -> None:
        """Plug them in again."""
        for address in addresses:
            self._switch(f"ip link set {self.hosts[address].link} up")

    def vanish(self, address: str) -> None:
        """The host loses its power: no packet leaves it any more, and what ran there is gone."""
        self.cut(address)
        self.hosts[address].init.kill()
        self.hosts[address].init.wait(10)

    def slow_down(self, address: str, rate: str) -> None:
        """Both directions of the host's cable carry no more than that, such as `100mbit`."""
        bucket = f"root tbf rate {rate} burst 256kb latency 100ms"
        self._switch(f"tc qdisc replace dev {self.hosts[address].link} {bucket}")
        self.do(address, f"tc qdisc replace dev eth0 {bucket}")

    def speed_up(self, address: str) -> None:
        """As fast as the machine again."""
        self._switch(f"tc qdisc del dev {self.hosts[address].link} root")
        self.do(address, "tc qdisc del dev eth0 root")

    def traffic(self, address: str) -> tuple[int, int]:
        """Bytes that the host has received and sent over its cable."""
        line = next(line for line in self.do(address, "cat /proc/net/dev").splitlines() if "eth0:" in line)
        numbers = line.partition(":")[2].split()
        return int(numbers[0]), int(numbers[8])

    def fill(self, address: str) -> None:
        """Not a byte is left on the host's disk for temporary files."""
        self.do(address, "cat /dev/zero > /tmp/filling 2> /dev/null; test $(df --output=avail /tmp | tail -1) = 0")

    def empty(self, address: str) -> None:
        """Take away what `fill` wrote."""
        self.do(address, "rm /tmp/filling")

    def _switch(self, command: str) -> None:
        self.do(LAPTOP, command)

    # -- its processes

    def processes(self) -> list[psutil.Process]:
        """Also those that name nothing, but live on one of the hosts."""
        found = {process.pid: process for process in super().processes()}
        for process in psutil.process_iter():
            try:
                lives = process.status() != psutil.STATUS_ZOMBIE
                if lives and str(Path(f"/proc/{process.pid}/ns/net").readlink()) in self._namespaces:
                    found[process.pid] = process
            except (psutil.Error, OSError):
                continue
        return list(found.values())

    def keep_logs(self, folder: Path) -> None:
        """Copy what Ray wrote on the hosts that still run, since `stop` removes it."""
        for path in self.root.glob("*.log"):
            shutil.copy(path, folder)
        for host in self.hosts.values():
            for logs in Path("/proc", str(host.init.pid), "root", "tmp", "ray").glob("session_2*/logs"):
                shutil.copytree(logs, folder / host.name, dirs_exist_ok=True, ignore_dangling_symlinks=True)

    # -- how a host starts

    def _write_files(self) -> None:
        for name in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / name)], check=True, timeout=30
            )
        (self.root / "authorized_keys").write_text((self.root / "key.pub").read_text())
        (self.root / "resolv.conf").write_text("")
        names = "".join(f"{address} {name}\n" for address, name in NAMES.items())
        (self.root / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        self._token = secrets.token_hex(32)
        shutil.copy(REPOSITORY / "tests/cluster/host.sh", self.root)
        variables = " ".join(f"{name}={value}" for name, value in self._node_environment().items())
        (self.root / "sshd_config").write_text(
            "\n".join([
                "Port 22", f"HostKey {self.root}/host_key", f"AuthorizedKeysFile {self.root}/authorized_keys",
                "PidFile none", f"SetEnv {variables}", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
                "PermitRootLogin prohibit-password", "UsePAM no", "UseDNS no", "StrictModes no", "PrintMotd no",
                "MaxStartups 100", "MaxSessions 100",
            ]) + "\n"
        )  # fmt: skip
        (self.root / "cluster.yaml").write_text(yaml.safe_dump(self.description()))

    def description(self) -> dict[str, Any]:
        """The repository's cluster.yaml with these hosts, the key, and the environment that is there already."""
        cluster = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
        trainer = cluster["provider"]["worker_ips"][0]
        cluster["provider"] |= {"head_ip": HEAD, "worker_ips": [TRAINER, RENDER]}
        cluster["auth"] = {"ssh_user": pwd.getpwuid(os.getuid()).pw_name, "ssh_private_key": str(self.root / "key")}
        cluster["setup_commands"] = [c for c in cluster["setup_commands"] if "make " not in c]
        limits = "--num-gpus=0 --object-store-memory=200000000"
        changes = {
            trainer: TRAINER,
            "--address=$RAY_HEAD_IP:6379": f"--address=$RAY_HEAD_IP:6379 {limits}",
            # No render actor beside the trainer: they are all on the two hosts that are cut off.
            "role='--labels=pool=trainer": "role='--num-cpus=1 --labels=pool=trainer",
            "role=--labels=pool=render": "role='--num-cpus=2 --labels=pool=render'",
        }
        for old, new in changes.items():
            commands = cluster["worker_start_ray_commands"]
            assert any(old in command for command in commands), f"cluster.yaml no longer says {old}"
            cluster["worker_start_ray_commands"] = [command.replace(old, new) for command in commands]
        return cluster

    def _start_host(self, name: str, address: str) -> None:
        folder = self.root / name
        (folder / "dg").mkdir(parents=True)
        (folder / "dg/.venv").symlink_to(sys.prefix)  # where `make setup` would have put it
        if name == "laptop" or address == BY_HAND:  # the other hosts get both from `ray up`
            (folder / ".ray").mkdir()
            (folder / ".ray/auth_token").write_text(self._token)
            for package in PACKAGES:
                shutil.copytree(REPOSITORY / package, folder / "dg" / package, ignore=shutil.ignore_patterns("*.pyc"))
        init = self._start_first_process(name)
        self.hosts[address] = host = Host(name, address, init)
        self._namespaces.add(str(Path(f"/proc/{init.pid}/ns/net").readlink()))
        if name == "laptop":
            self.do(address, "ip link add switch type bridge && ip link set switch up")
            self.do(address, f"ip addr add {address}/24 dev switch")
            return
        self._switch(f"ip link add {host.link} type veth peer name {host.link}-h")
        self._switch(f"ip link set {host.link} master switch up")
        # A process of the laptop may not name a namespace that it cannot see; one of this machine may.
        switch = ["nsenter", "-t", str(self.hosts[LAPTOP].init.pid), "-n"]
        subprocess.run([*switch, "ip", "link", "set", f"{host.link}-h", "netns", str(init.pid)], check=True, timeout=30)
        self.do(address, f"ip link set {host.link}-h name eth0 && ip addr add {address}/24 dev eth0")
        self.do(address, "ip link set eth0 up")

    def _start_first_process(self, name: str) -> psutil.Process:
        """In namespaces of its own. Should the test be killed, so is this process, and with it everything there."""
        spaces = ["--net", "--uts", "--ipc", "--mount", "--pid", "--mount-proc"]
        script = ["sh", str(self.root / "host.sh"), str(self.root), name, self.tmp_size]
        kept = [sys.prefix, sys.base_prefix, str(REPOSITORY)]
        with (self.root / "hosts.log").open("ab") as log:
            outer = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child=KILL", "--fork", *spaces, *script, *kept],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
            )  # fmt: skip
        started = self.root / name / ".up"
        wait_for(lambda: started.exists() or outer.poll() is not None, 30, f"host {name}")
        assert started.exists(), (self.root / "hosts.log").read_text()
        (init,) = psutil.Process(outer.pid).children()
        return init

    def _node_environment(self) -> dict[str, str]:
        return {name: value.format(home=self.home, root=self.root) for name, value in NODE_ENVIRONMENT.items()}
