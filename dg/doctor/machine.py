"""Checks of this machine, one function each, from the interpreter to the files that a planned run needs."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from dg.doctor.finding import Finding, error, ok, warning
from dg.doctor.installed import installed_version
from dg.doctor.room import disk, memory, open_files, ports, shared_memory
from dg.settings.config import TrainConfig
from dg.tracking.stores import SERVER_HINT

Check = Callable[[TrainConfig], Iterator[Finding]]
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
PACKAGES = ("ray", "torch", "numpy", "warp-lang", "mlflow", "optuna", "pydantic")
INSTALL = "pip install -c constraints.txt -e ."


def diagnose_machine(config: TrainConfig) -> list[Finding]:
    """Findings on this machine for the run that the configuration describes. Never raises: what fails is a finding."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(config)
        except Exception as problem:  # a broken installation fails in any way; the other checks still tell
            name = check.__name__.replace("_", " ")
            text = " ".join(f"{type(problem).__name__}: {problem}".split())
            found.append(error(name, text, f"repair the installation: {INSTALL}"))
    return found


def python(config: TrainConfig) -> Iterator[Finding]:
    """Check that the version of Python is the tested one."""
    version, tested = sys.version.split()[0], "3.11"
    if version.startswith(f"{tested}."):
        yield ok("python", f"{version} at {sys.executable}")
    else:
        yield warning("python", f"{version}; constraints.txt was tested with {tested}", f"make PYTHON=python{tested}")


def versions(config: TrainConfig) -> Iterator[Finding]:
    """Check that the packages are installed in the tested versions."""
    lines = CONSTRAINTS.read_text().splitlines() if CONSTRAINTS.is_file() else []  # where the checkout is at hand
    tested = {name.lower(): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}
    for package in PACKAGES:
        installed, wanted = installed_version(package), tested.get(package)
        if installed is None:
            yield error(package, "not installed", INSTALL)
        elif wanted and installed != wanted:
            yield warning(package, f"{installed}; {wanted} was tested (constraints.txt)", INSTALL)
        else:
            yield ok(package, installed)


def cuda(config: TrainConfig) -> Iterator[Finding]:
    """Check that torch sees the GPUs that the run or the driver promises."""
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            yield ok("CUDA", f"device {number}: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    elif config.device == "cuda":
        yield error("CUDA", "device=cuda, but torch sees no CUDA device", "device=auto, or a driver and a CUDA torch")
    elif Path("/proc/driver/nvidia/version").is_file():
        yield warning("CUDA", f"there is an NVIDIA driver, but torch {torch.__version__} sees no device",
                      "install torch for CUDA; look whether CUDA_VISIBLE_DEVICES hides the GPUs")  # fmt: skip
    else:
        yield ok("CUDA", "no device: everything runs on the CPU")


def rasterizer(config: TrainConfig) -> Iterator[Finding]:
    """Draws one triangle, 2 m away."""
    import torch

    from render_workers.rasterizers.warp_zbuffer import WarpZBuffer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    triangle = torch.tensor([[[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 1.0, 2.0]]], device=device)
    draw = WarpZBuffer(torch.tensor([[0, 1, 2]]), device)
    lens = torch.full((1, 2), 16.0, device=device)
    depth, _ = draw.zbuffer(triangle, lens, lens, 32)
    if abs(depth[0, 16, 16].item() - 2.0) > 1e-5:
        yield error("warp", f"a triangle 2 m away is drawn {depth[0, 16, 16].item():g} m away on {device}", INSTALL)
    else:
        yield ok("warp", f"draws on {device}")


def tracking_store(config: TrainConfig) -> Iterator[Finding]:
    """Check that MLflow's store can be used."""
    from dg.tracking import OFF, TrackingError, tracking_uri
    from dg.tracking.stores import sqlite_file

    try:
        uri = tracking_uri(config.tracking.uri)
    except TrackingError as problem:
        yield error("MLflow store", str(problem), "tracking.uri=sqlite:///mlflow.db")
        return
    file = sqlite_file(uri)
    if uri in OFF:
        yield ok("MLflow store", "off: nothing is recorded")
    elif file is not None:
        yield _sqlite(file)
    elif uri.startswith("http"):
        yield _server(uri)
    else:
        yield ok("MLflow store", f"a database server at {uri.rpartition('@')[2]}, not tried")


def _sqlite(file: Path) -> Finding:
    remedy = "tracking.uri=sqlite:///FILE in a folder of yours, or make room for it there"
    folder = next(parent for parent in file.parents if parent.exists())
    if not os.access(folder, os.W_OK):
        return error("MLflow store", f"{folder} cannot be written to", remedy)
    if not file.exists():
        return ok("MLflow store", f"{file} will be made by the first run")
    try:
        connection = sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM runs")
            connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as problem:
        return error("MLflow store", f"{file} cannot be used: {problem}", remedy)
    return ok("MLflow store", f"{file} can be written to")


def _server(uri: str) -> Finding:
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:
            return ok("MLflow store", f"{uri} answers {answer.status}")
    except (URLError, OSError) as problem:
        return error("MLflow store", f"{uri} does not answer: {problem}",
                     f"{SERVER_HINT}, or tracking.uri=sqlite:///mlflow.db")  # fmt: skip


def ray_here(config: TrainConfig) -> Iterator[Finding]:
    """Check whether a Ray cluster runs here, and the authentication of clusters."""
    from dg.cluster.address import clusters_here

    found = clusters_here()
    address = config.address or os.environ.get("RAY_ADDRESS", "")
    if found:
        yield ok("Ray", f"this machine is part of {', '.join(found)}; address=auto joins it")
    elif address == "auto":
        yield error("Ray", "address=auto, but no Ray runs on this machine", "leave address out, or `ray start` first")
    else:
        yield ok("Ray", f"none runs here; {f'runs join {address}' if address else 'runs start their own'}")
    from dg.cluster.token_file import is_private, token_file

    token, mode = token_file(), os.environ.get("RAY_AUTH_MODE")
    if mode == "token" and not token.is_file() and not os.environ.get("RAY_AUTH_TOKEN"):
        yield error("authentication", f"RAY_AUTH_MODE=token, but there is no {token}", "ray get-auth-token --generate")
    elif token.is_file() and not is_private(token):
        yield error(
            "authentication",
            f"others can read {token}; who has it runs programs in your clusters",
            f"chmod 600 {token}; if others use this machine, make another: ray get-auth-token --generate",
        )
    else:
        stated = f"RAY_AUTH_MODE={mode}" if mode else "RAY_AUTH_MODE is not set"
        yield ok("authentication", f"{stated}; {'there is a token' if token.is_file() else 'there is no token'} here")


def body(config: TrainConfig) -> Iterator[Finding]:
    """Check that the SMPL file can be read where the run asks for SMPL."""
    from dg.body.smpl_file import read_smpl
    from dg.files.safe_load import FileFormatError

    if config.body.get("name") != "smpl":
        yield ok("body", f"{config.body.get('name')}; no SMPL asked for (body=smpl body.path=SMPL_NEUTRAL.npz)")
        return
    path = str(config.body.get("path", ""))
    try:
        model = read_smpl(path)
    except FileFormatError as problem:
        yield error("body", str(problem), "register at smpl.is.tue.mpg.de, download SMPL, give body.path=FILE")
    else:
        yield ok("body", f"SMPL at {path}: {len(model.vertices):,} vertices")


def depth_weights(config: TrainConfig) -> Iterator[Finding]:
    """Check that the depth network's weights are on this machine; nothing is downloaded."""
    from dg.files.safe_load import FileFormatError
    from dg.settings.command_line import table_of
    from dg.settings.plugins import OptionError, make_options, resolve

    name = config.depth.get("name", "")
    given = {key: value for key, value in config.depth.items() if key != "name"}
    plugin = resolve(table_of("depth"), "depth", name)
    try:
        options = make_options(plugin, "depth", name, given)
        if not hasattr(options, "checkpoint"):
            yield ok("depth", f"{name}; it needs no weights")
            return
        if installed_version("transformers") is None:
            yield error("depth", f"{name} needs transformers", "pip install -c constraints.txt -e '.[depth]'")
            return
        os.environ["HF_HUB_OFFLINE"] = "1"  # look, and download nothing
        from render_workers.depth.checkpoint_files import find_checkpoint

        folder = find_checkpoint(options.checkpoint, options.revision)
    except OptionError as problem:
        yield error("depth", str(problem), "dg train --help")
    except FileFormatError as problem:
        yield warning("depth", f"{name}: {problem}", "download it now, so that no run waits for it")
    else:
        yield ok("depth", f"{name}: weights at {folder}")


CHECKS: tuple[Check, ...] = (
    python, versions, cuda, rasterizer, memory, disk, shared_memory, open_files, tracking_store, ports, ray_here,
    body, depth_weights,
)  # fmt: skip
