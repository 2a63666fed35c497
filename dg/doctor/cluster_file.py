"""A cluster file: which kind it is, Ray's own validator, and the traps that the validator does not see."""

import contextlib
import io
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from dg.doctor.finding import Finding, error, ok
from dg.doctor.launcher_file import LauncherFile
from dg.doctor.launcher_traps import CHECKS
from dg.doctor.ray_job import diagnose_ray_job

# Ray's validator rejects these too, in other words: one explanation is enough.
EXPLAINED = {
    "fractional-resources", "max-workers-below-min", "unknown-head-type", "node-types-on-premises", "addresses-absent",
}  # fmt: skip


def diagnose_file(path: Path) -> list[Finding]:
    """Return everything that is wrong with a file for `ray up` or KubeRay, or one finding that says all is well."""
    import yaml

    from dg.files.strict_yaml import load_yaml

    if not path.is_file():
        return [error("file", f"there is no file {path}", "give the path of a cluster file, such as cluster.yaml")]
    try:
        tree = load_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as problem:
        return [error("file", f"it is not YAML: {' '.join(str(problem).split())}", "correct the line that it names")]
    if not isinstance(tree, Mapping) or not ({"provider", "kind"} & set(tree)):
        return [
            error("file", "it is neither a file for `ray up` (which has a provider) nor one for Kubernetes (a kind)",
                  "start from cluster.yaml, or from docs/clusters/")
        ]  # fmt: skip
    if "kind" in tree:
        return diagnose_ray_job(tree) or [ok("file", "no known trap in this file for KubeRay")]
    return diagnose_launcher_file(tree) or [ok("file", "valid by Ray's own validator, and no known trap")]


def diagnose_launcher_file(tree: Mapping[str, Any]) -> list[Finding]:
    """Findings for the content of a file for `ray up`; empty when there are none."""
    file = LauncherFile(tree)
    found = [finding for check in CHECKS for finding in check(file)]
    if not EXPLAINED & {finding.name for finding in found}:
        found += _rays_own_validator(tree)
    return found


def _rays_own_validator(tree: Mapping[str, Any]) -> list[Finding]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()  # it prints what it aborts for
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(deepcopy(dict(tree))))
    except (Exception, SystemExit) as problem:
        place = "/".join(map(str, getattr(problem, "absolute_path", ())))
        message = getattr(problem, "message", "") or str(problem) or said.getvalue()
        text = " ".join(str(message).split())
        return [error("ray-validator", f"Ray rejects it{f' at {place}' if place else ''}: {text}", "correct that key")]
    return []
