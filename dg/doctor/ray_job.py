"""Checks of RayJob and RayCluster files for KubeRay, whose own validator runs only in a Kubernetes cluster."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from dg.doctor.finding import Finding, error, warning
from dg.doctor.installed import installed_version
from dg.doctor.launcher_file import mapping, sequence

KINDS = ("RayJob", "RayCluster")
SPOT = ("spot", "preemptible")


def diagnose_ray_job(tree: Mapping[str, Any]) -> list[Finding]:
    """Findings for the content of a file; empty when there are none."""
    if tree.get("kind") not in KINDS or not str(tree.get("apiVersion", "")).startswith("ray.io/"):
        expected = " or ".join(KINDS)
        return [error("kind", f"expected kind {expected} of ray.io/v1, got {tree.get('kind')!r} of "
                      f"{tree.get('apiVersion')!r}", "start from docs/clusters/kuberay.yaml")]  # fmt: skip
    spec = mapping(tree.get("spec"))
    cluster = mapping(spec.get("rayClusterSpec")) if tree["kind"] == "RayJob" else spec
    found = [*_cluster(cluster), *_head(cluster), *_workers(cluster), *_containers(cluster)]
    return [*found, *_job(spec)] if tree["kind"] == "RayJob" else found


def _groups(cluster: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(group) for group in sequence(cluster.get("workerGroupSpecs"))]


def _pod(group: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(group.get("template")).get("spec"))


def _all_containers(cluster: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = [mapping(cluster.get("headGroupSpec")), *_groups(cluster)]
    return [mapping(container) for group in groups for container in sequence(_pod(group).get("containers"))]


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {str(mapping(e).get("name")): str(mapping(e).get("value")) for e in sequence(container.get("env"))}


def _cluster(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    installed, stated = installed_version("ray"), cluster.get("rayVersion")
    if stated != installed:
        yield error("other-ray-version", f"rayVersion is {stated!r}, the tested one is {installed!r}: KubeRay starts "
                    "Ray by it, and the image must hold the same", f'rayVersion: "{installed}"')  # fmt: skip
    by_hand = all("RAY_AUTH_MODE" in _environment(container) for container in _all_containers(cluster))
    if mapping(cluster.get("authOptions")).get("mode") not in ("token", "disabled") and not by_hand:
        yield error(
            "auth-mode-missing",
            "authOptions.mode is not stated: its default changed between versions of KubeRay, and clients without the "
            "token are refused",
            "authOptions: {mode: token}",
        )


def _head(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    start = mapping(mapping(cluster.get("headGroupSpec")).get("rayStartParams"))
    if str(start.get("num-cpus")) != "0":
        yield error("head-runs-actors", "the head offers CPUs, so actors run beside the cluster's control store, and "
                    "its loss is the cluster's", 'headGroupSpec.rayStartParams: {num-cpus: "0"}')  # fmt: skip


def _workers(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    groups = _groups(cluster)
    names = [str(group.get("groupName")) for group in groups]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        yield error("group-repeated", f"worker groups share the name {', '.join(repeated)}", "name each differently")
    for name, group in zip(names, groups, strict=True):
        counts = [group.get(key, default) for key, default in (("minReplicas", 0), ("replicas", 0), ("maxReplicas", 0))]
        if not all(isinstance(count, int) for count in counts) or counts != sorted(counts):
            yield error("replicas", f"group {name} needs minReplicas <= replicas <= maxReplicas, got {counts}",
                        "set them so")  # fmt: skip
        if _autoscaler_v2(cluster) and _pod(group).get("restartPolicy") != "Never":
            yield error("restart-policy", f"group {name} lets Kubernetes restart containers in place; autoscaler v2 "
                        "takes a restarted one for the dead node", "template.spec.restartPolicy: Never")  # fmt: skip
        selector = str(_pod(group).get("nodeSelector", "")).lower()
        spot = any(word in f"{selector} {group.get('groupName')}".lower() for word in SPOT)
        if spot and "preStop" not in str(_pod(group)):
            yield warning("spot-not-watched", f"pods of {name} do not tell Ray when their node is taken",
                          "a lifecycle.preStop that drains, as in docs/clusters/kuberay.yaml")  # fmt: skip
    if not any("trainer" in str(mapping(group.get("rayStartParams")).get("resources")) for group in groups):
        yield warning("no-trainer", "no group offers the resource `trainer`: the trainer goes wherever there is room",
                      "rayStartParams: {resources: '\"{\\\"trainer\\\": 1}\"'}")  # fmt: skip


def _autoscaler_v2(cluster: Mapping[str, Any]) -> bool:
    by_option = mapping(cluster.get("autoscalerOptions")).get("version") == "v2"
    stated = {_environment(container).get("RAY_enable_autoscaler_v2") for container in _all_containers(cluster)}
    return bool(cluster.get("enableInTreeAutoscaling")) and (by_option or bool(stated & {"1", "true"}))


def _containers(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    groups = [mapping(cluster.get("headGroupSpec")), *_groups(cluster)]
    for group in groups:
        wrong = {k: v for k, v in mapping(group.get("rayStartParams")).items() if not isinstance(v, str)}
        if wrong:
            yield error("start-params-not-strings", f"values of rayStartParams must be strings, got {wrong}",
                        "put them in quotes")  # fmt: skip
    images = sorted({str(container.get("image")) for container in _all_containers(cluster)})
    if len(images) > 1:
        yield error("images-differ", f"pods run different images, {images}: versions must agree to the patch",
                    "use one image")  # fmt: skip
    if any("REGISTRY" in image for image in images):
        yield warning("placeholder", f"the image is still the placeholder {images[0]}", "name your own image")
    if any(re.search(r":latest$|^[^:@]+$", image) for image in images):
        yield warning("image-not-pinned", f"the image {images[0]} has no fixed tag: a pod that starts later may run "
                      "another version", "give it a tag with the versions in it")  # fmt: skip


def _job(spec: Mapping[str, Any]) -> Iterator[Finding]:
    words = shlex.split(str(spec.get("entrypoint", "")))
    if not words:
        yield error("no-entrypoint", "the RayJob has no entrypoint", "entrypoint: dg train ...")
        return
    # `dg train ...`, with or without a folder before it, or `python -m dg.train ...`.
    if words[0].rpartition("/")[2] == "dg" and words[1:2] == ["train"]:
        given = words[2:]
    elif words[1:3] == ["-m", "dg.train"]:
        given = words[3:]
    else:
        return
    if spec.get("backoffLimit", 0) and "resume=auto" not in given:
        yield error("not-resumable", "backoffLimit starts the job again, and without resume=auto that is from the "
                    "beginning", "resume=auto out=FOLDER on storage that outlives the pods")  # fmt: skip
    if "resume=auto" in given and not any(word.startswith("out=/") for word in given):
        yield error("out-not-shared", "resume=auto finds the checkpoints of the pod that ended only on shared storage",
                    "out=/MOUNT/RUN, the mount of a volume")  # fmt: skip
    yield from _words(given)


def _words(given: list[str]) -> Iterator[Finding]:
    from dg.settings.command_line import parse
    from dg.settings.config import ConfigError

    try:
        parse(given)
    except ConfigError as problem:
        yield error("job-words", f"dg train refuses the entrypoint's words: {problem}", "dg train --help")
