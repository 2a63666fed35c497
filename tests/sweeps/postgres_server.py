"""A PostgreSQL server of its own for a test: Debian's binaries, a throw-away folder, loopback and a free port only."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path


def binaries():
    """The folder with `initdb` and `postgres`, or None. Debian keeps it off the path, one folder a version."""
    on_path = shutil.which("initdb")
    if on_path and Path(on_path).with_name("postgres").exists():
        return Path(on_path).parent
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb") if p.with_name("postgres").exists()]
    return max(found, key=lambda p: [int(n) for n in p.parent.name.split(".") if n.isdigit()], default=None)


def user():
    """Who runs it: this user, but for root, whom PostgreSQL refuses. None where there is nobody else."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return None


class Server:
    """Running, with an empty database at `url`."""

    def __init__(self, folder, url, start):
        self.folder, self.url, self._start = folder, url, start
        self.process = start()

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # a fast shutdown
        self.process.wait(30)

    def start(self):
        self.process = self._start()


@contextmanager
def postgres_server():
    """A `Server`, stopped and removed at the end. Not below pytest's own folder, which other users cannot enter."""
    where, who = binaries(), user()
    assert where is not None
    assert who is not None
    folder = Path(tempfile.mkdtemp(prefix="dgpg"))
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        data = folder / "data"
        options = {"cwd": folder, "env": {"PATH": str(where), "LC_ALL": "C", "HOME": str(folder)}, **who}
        words = ["-D", data, "-U", "sweeper", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([where / "initdb", *words], check=True, capture_output=True, timeout=600, **options)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        command = [where / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())]

        def start():
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, **options)
            _wait(port, process, folder / "log")
            return process

        server = Server(folder, f"postgresql://sweeper@127.0.0.1:{port}/postgres", start)
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port, process, log, seconds=180):
    import psycopg

    end = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=sweeper dbname=postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
