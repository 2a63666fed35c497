"""The doctor: the repository's cluster files are well, each known trap is named, and this machine can be told of."""

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dg.doctor import ERROR, OK, WARNING, diagnose_file, diagnose_machine
from dg.doctor import __main__ as doctor
from dg.doctor.launcher_traps import CHECKS
from dg.settings.command_line import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "cluster.yaml", *sorted((ROOT / "docs/clusters").glob("*.yaml"))]
LAUNCHER_FILES = [path for path in FILES if path.name != "kuberay.yaml"]
# What depends on the machine that looks at a file, and not on the file.
OF_THE_MACHINE = {"ssh-key-absent", "file-absent", "boto3-absent", "programs-absent"}
Change = Callable[[dict[str, Any]], object]


def tree_of(name: str) -> dict[str, Any]:
    path = ROOT / name if name == "cluster.yaml" else ROOT / "docs/clusters" / name
    return yaml.safe_load(path.read_text())


def names(tmp_path: Path, tree: object) -> list[str]:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump(tree))
    found = [f for f in diagnose_file(path) if f.level != OK]
    for each in found:
        assert each.remedy
        assert "\n" not in each.text + each.remedy
    return [f.name for f in found if f.name not in OF_THE_MACHINE]


# -- the repository's own files


def test_there_is_a_file_for_each_kind_of_cluster():
    assert {path.name for path in FILES} == {"cluster.yaml", "aws.yaml", "kuberay.yaml"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_no_file_of_the_repository_has_an_error(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = diagnose_file(path)
    assert not [f for f in found if f.level == ERROR]
    warned = {f.name for f in found if f.level == WARNING} - OF_THE_MACHINE
    assert warned <= {"placeholder"}


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda p: p.name)
def test_rays_own_validator_takes_the_file(path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda p: p.name)
def test_the_asserted_versions_are_those_of_the_constraints(path):
    import dg

    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    set_up = " ".join(yaml.safe_load(path.read_text())["setup_commands"])
    assert f"'{pinned['ray']}', '{pinned['torch']}', '{dg.__version__}'" in set_up


def test_the_words_of_the_kubernetes_job_are_words_of_train():
    words = tree_of("kuberay.yaml")["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "dg.train"]
    assert parse(words[3:]).depth["name"] == "depth_anything_v2"


# -- traps: a change of a good file, and the finding that it must make, and no other


def _put(*keys: str | int, value: object) -> Change:
    def change(tree: dict[str, Any]) -> None:
        node: Any = tree
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


def _drop(*keys: str | int) -> Change:
    def change(tree: dict[str, Any]) -> None:
        node: Any = tree
        for key in keys[:-1]:
            node = node[key]
        del node[keys[-1]]

    return change


def _replace(part: str, old: str, new: str) -> Change:
    def change(tree: dict[str, Any]) -> None:
        assert any(old in command for command in tree[part])
        tree[part] = [command.replace(old, new) for command in tree[part]]

    return change


def _all(*changes: Change) -> Change:
    return lambda tree: [change(tree) for change in changes]


HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
SPOT = {"MarketType": "spot"}
TRAPS: list[tuple[str, str, Change]] = [
    ("auth-mode-missing", "cluster.yaml", _replace(WORKER, "RAY_AUTH_MODE=token", "")),
    ("auth-mode-differs", "cluster.yaml", _replace(WORKER, "MODE=token", "MODE=disabled")),
    ("token-not-mounted", "cluster.yaml", _drop("file_mounts", "~/.ray/auth_token")),
    ("autoscaler-v2-on-premises", "cluster.yaml", _replace(HEAD, "RAY_enable_autoscaler_v2=0", "")),
    ("ray-stop-on-a-shared-host", "cluster.yaml", _all(
        _put("provider", "head_ip", value="127.0.0.2"), _put("provider", "worker_ips", value=["127.0.0.3"]),
        _replace(WORKER, "10.0.0.11", "127.0.0.3"))),
    ("addresses-absent", "cluster.yaml", _all(_drop("provider", "head_ip"))),
    ("address-repeated", "cluster.yaml", _put("provider", "worker_ips", 1, value="10.0.0.11")),
    ("address-unknown", "cluster.yaml", _put("provider", "worker_ips", 0, value="10.0.0.21")),
    ("node-types-on-premises", "cluster.yaml", _put("available_node_types", value={
        "gpu": {"resources": {"GPU": 1}, "node_config": {}}})),
    ("workers-left-out", "cluster.yaml", _all(_put("max_workers", value=2), _put("min_workers", value=2))),
    ("max-workers-below-min", "cluster.yaml", _put("max_workers", value=2)),
    ("head-runs-actors", "cluster.yaml", _replace(HEAD, "--num-cpus=0", "")),
    ("bare-interpreter", "cluster.yaml", _replace(WORKER, "PATH=$HOME/dg/.venv/bin:$PATH", "")),
    ("head-start-command", "cluster.yaml", _replace(HEAD, "--autoscaling-config=~/ray_bootstrap_config.yaml", "")),
    ("worker-start-command", "cluster.yaml", _replace(WORKER, "$RAY_HEAD_IP", "10.0.0.10")),
    ("ports-differ", "cluster.yaml", _replace(HEAD, "--port=6379", "--port=6380")),
    ("dashboard-open", "cluster.yaml", _all(
        _replace(HEAD, "MODE=token", "MODE=disabled"), _replace(WORKER, "MODE=token", "MODE=disabled"),
        _replace(HEAD, "127.0.0.1", "0.0.0.0"))),
    ("versions-not-asserted", "cluster.yaml", _put("setup_commands", value=["make setup"])),
    ("patch-version-not-asserted", "cluster.yaml",
     _replace("setup_commands", "sys.version.split()[0]", "sys.version_info[:2]")),
    ("other-ray-version", "cluster.yaml", _replace("setup_commands", "2.60.0", "2.59.0")),
    ("whole-folder-mounted", "cluster.yaml", _put("file_mounts", "~/dg", value=".")),
    ("no-trainer", "cluster.yaml", _replace(WORKER, "trainer", "render")),
    ("ray-validator", "cluster.yaml", _put("idle_timeout_minuts", value=5)),
    ("ray-validator", "aws.yaml", _put("available_node_types", "render", "min_worker", value=1)),
    ("auth-disabled-in-cloud", "aws.yaml", _all(
        _replace(HEAD, "MODE=token", "MODE=disabled"), _replace(WORKER, "MODE=token", "MODE=disabled"))),
    ("fractional-resources", "aws.yaml", _put("available_node_types", "render", "resources", "GPU", value=0.5)),
    ("resources-guessed", "aws.yaml", _put("available_node_types", "render", "resources", value={})),
    ("max-workers-below-min", "aws.yaml", _put("max_workers", value=1)),
    ("unknown-head-type", "aws.yaml", _put("head_node_type", value="haed")),
    ("head-runs-actors", "aws.yaml", _put("available_node_types", "head", "resources", "CPU", value=8)),
    ("spot-head", "aws.yaml", _put("available_node_types", "head", "node_config", "InstanceMarketOptions", value=SPOT)),
    ("spot-trainer", "aws.yaml",
     _put("available_node_types", "trainer", "node_config", "InstanceMarketOptions", value=SPOT)),
    ("no-trainer", "aws.yaml", _drop("available_node_types", "trainer", "resources", "trainer")),
    ("spot-not-watched", "aws.yaml", _drop(WORKER, 2)),
    ("kind", "kuberay.yaml", _put("kind", value="RayServe")),
    ("other-ray-version", "kuberay.yaml", _put("spec", "rayClusterSpec", "rayVersion", value="2.59.0")),
    ("auth-mode-missing", "kuberay.yaml", _drop("spec", "rayClusterSpec", "authOptions")),
    ("head-runs-actors", "kuberay.yaml", _put("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", value={})),
    ("start-params-not-strings", "kuberay.yaml",
     _put("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus", value=0)),
    ("group-repeated", "kuberay.yaml",
     _put("spec", "rayClusterSpec", "workerGroupSpecs", 1, "groupName", value="trainer")),
    ("replicas", "kuberay.yaml", _put("spec", "rayClusterSpec", "workerGroupSpecs", 1, "maxReplicas", value=0)),
    ("restart-policy", "kuberay.yaml",
     _drop("spec", "rayClusterSpec", "workerGroupSpecs", 1, "template", "spec", "restartPolicy")),
    ("spot-not-watched", "kuberay.yaml",
     _drop("spec", "rayClusterSpec", "workerGroupSpecs", 1, "template", "spec", "containers", 0, "lifecycle")),
    ("no-trainer", "kuberay.yaml",
     _drop("spec", "rayClusterSpec", "workerGroupSpecs", 0, "rayStartParams", "resources")),
    ("images-differ", "kuberay.yaml", _put(
        "spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "image", value="a:1")),
    ("no-entrypoint", "kuberay.yaml", _drop("spec", "entrypoint")),
    ("not-resumable", "kuberay.yaml", _put("spec", "entrypoint", value="dg train epochs=3")),
    ("out-not-shared", "kuberay.yaml", _put("spec", "entrypoint", value="dg train resume=auto")),
    ("job-words", "kuberay.yaml", _put("spec", "entrypoint", value="dg train liftr=x resume=auto out=/a")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "change"), TRAPS, ids=[f"{file}-{name}" for name, file, _ in TRAPS])
def test_a_trap_makes_its_finding_and_no_other(name, file, change, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_UP_enable_autoscaler_v2", raising=False)
    before = names(tmp_path, tree_of(file))
    tree = deepcopy(tree_of(file))  # anchors of YAML would share what is changed
    change(tree)
    assert sorted({*names(tmp_path, tree)} - set(before)) == [name]


def test_no_check_is_without_its_trap():
    import inspect
    import re

    from dg.doctor import cluster_file, launcher_traps, ray_job

    source = "".join(map(inspect.getsource, (launcher_traps, ray_job, cluster_file)))
    written = set(re.findall(r"(?:error|warning)\(\s*\"([a-z0-9-]+)\"", source))
    untested = written - {name for name, _, _ in TRAPS} - OF_THE_MACHINE - {"placeholder", "file", "image-not-pinned"}
    assert len(CHECKS) > 10
    assert not untested


@pytest.mark.parametrize(
    "text", ["a: [", "- a\n- b\n", "a: 1\n", "provider: 3\n", "kind: RayJob\napiVersion: ray.io/v1\n"]
)
def test_any_file_gets_findings_and_no_traceback(text, tmp_path):
    path = tmp_path / "strange.yaml"
    path.write_text(text)
    assert any(f.level == ERROR for f in diagnose_file(path))


# -- the command


def test_exit_codes_and_output(tmp_path, capsys):
    assert doctor.main([str(ROOT / "docs/clusters/kuberay.yaml")]) == 0
    assert "placeholder" in capsys.readouterr().out
    assert doctor.main([str(tmp_path / "absent.yaml")]) == 2
    assert "there is no file" in capsys.readouterr().out
    assert doctor.main(["--verbose"]) == 2
    assert doctor.main(["epocs=3"]) == 2
    assert "epochs" in capsys.readouterr().err


def test_help_loads_neither_torch_nor_ray():
    code = (
        "import sys; from dg.doctor.__main__ import main; main(['--help']); "
        "sys.exit(bool({'torch', 'ray', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "cluster file" in done.stdout


# -- this machine


def test_this_machine_can_be_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = diagnose_machine(parse([]))
    by_name = {f.name: f for f in found}
    assert {"python", "ray", "torch", "CUDA", "warp", "memory", "disk", "MLflow store", "Ray", "body"} <= set(by_name)
    assert by_name["warp"].level == OK
    assert by_name["MLflow store"].level == OK
    assert not list(tmp_path.iterdir())  # looked at, not made


@pytest.mark.parametrize(
    ("words", "name", "level", "part"),
    [
        (["body=smpl", "body.path=absent.pkl"], "body", ERROR, "absent.pkl"),
        (["depth=depth_anything_v2", "depth.checkpoint=/absent/folder"], "depth", WARNING, "/absent/folder"),
        (["tracking.uri=http://127.0.0.1:9"], "MLflow store", ERROR, "does not answer"),
        (["tracking.uri=off"], "MLflow store", OK, "off"),
        (["tracking.uri=somewhere"], "MLflow store", ERROR, "sqlite:///"),
    ],
)
def test_what_a_run_needs_is_looked_for(words, name, level, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dg.doctor.machine.rasterizer", lambda config: iter(()))
    (found,) = [f for f in diagnose_machine(parse(words)) if f.name == name]
    assert (found.level, part in found.text) == (level, True), found


def test_a_file_that_is_no_mlflow_store_is_found_out(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database" * 100)
    (found,) = [f for f in diagnose_machine(parse([f"tracking.uri=sqlite:///{file}"])) if f.name == "MLflow store"]
    assert found.level == ERROR


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def broken(config):
        raise ImportError("libcuda.so is missing")

    monkeypatch.setattr("dg.doctor.machine.CHECKS", (broken,))
    (found,) = diagnose_machine(parse([]))
    assert (found.level, found.name) == (ERROR, "broken")
    assert "libcuda" in found.text


HOSTILE = {
    "code": {"provider": {"type": "external", "module": "evil_provider.Provider"}},
    "lists": {"auth": [1], "file_mounts": [1], "available_node_types": [1], "docker": "x"},
    "texts": {"setup_commands": "rm -rf /", "head_start_ray_commands": {"a": 1}, "max_workers": "many"},
    "numbers": {"provider": {"type": "local", "head_ip": 5, "worker_ips": [{"a": 1}]}, "max_workers": 10**4000},
    "nothing": {"provider": None, "auth": None, "available_node_types": None},
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_a_hostile_cluster_file_is_diagnosed_and_runs_nothing(case, tmp_path, monkeypatch):
    (tmp_path / "evil_provider.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Provider: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(tree_of("cluster.yaml") | HOSTILE[case]))
    assert ERROR in {found.level for found in diagnose_file(path)} or case == "code"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "a: &a [x]\n" + "b: [" + "*a," * 50 + "]", "!!python/object/apply:os.system [id]", "a: \0", "- 1"],
)
def test_a_file_that_is_no_cluster_is_one_finding(text, tmp_path):
    (tmp_path / "cluster.yaml").write_text(text)
    (found,) = diagnose_file(tmp_path / "cluster.yaml")
    assert found.level == ERROR
    assert found.remedy
