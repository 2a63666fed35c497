"""The nodes of the Ray cluster that this process is connected to, as `pool_sizing` judges them.

Ray's public functions tell neither what is free on which node, nor which nodes are being drained, nor what waits; the
state that its autoscaler reads does, in one call of about a millisecond. Where a version of Ray has it not, only sums
are known: the pool then keeps its size.
"""

import json
import socket
from typing import Any

import ray
from ray import exceptions
from ray._private import state, worker
from ray.core.generated import autoscaler_pb2

from render_workers.pool_sizing import ClusterView, Node

TIMEOUT_S = 5
KNOCK_S = 2.0
# Where the autoscaler of before Ray 2.50, still the one for machines on premises, leaves its report.
REPORT_KEY = b"__autoscaling_status"
PROTOCOL: Any = autoscaler_pb2


def look() -> ClusterView:
    """The cluster now; an empty view where its control store does not answer."""
    try:
        process: Any = worker.global_worker
        gcs = process.gcs_client
        address = str(gcs.address)
    except Exception:  # anything: this is not Ray's public face
        return _sums()
    if not _answers(address):
        return ClusterView((), exact=False)
    try:
        reply = PROTOCOL.GetClusterStatusReply()
        reply.ParseFromString(gcs.get_cluster_status(timeout_s=TIMEOUT_S))
        return _view(reply, _launching_v1(gcs), state.state.get_max_resources_from_cluster_config())
    except Exception:  # anything: this is not Ray's public face
        return _sums()


def _answers(address: str) -> bool:
    """Whether the control store's port is open. Ray's calls to one that has gone would hold the run for a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except OSError:
        return False
    return True


def _sums() -> ClusterView:
    """What Ray's public functions tell; nothing while the head does not answer, which is no reason to end a run."""
    try:
        return ClusterView((Node("", ray.cluster_resources(), ray.available_resources(), {}),), exact=False)
    except (exceptions.RayError, RuntimeError):
        return ClusterView((), exact=False)


def _view(reply: Any, launching_v1: int, limits: dict[str, int] | None) -> ClusterView:  # noqa: ANN401 - untyped protobuf
    cluster, scaler, status = reply.cluster_resource_state, reply.autoscaling_state, PROTOCOL.NodeStatus
    nodes = tuple(
        Node(
            node.node_id.hex(),
            dict(node.total_resources),
            dict(node.available_resources),
            dict(node.labels),
            draining=node.status == status.DRAINING,
            address=node.node_ip_address,
        )
        for node in cluster.node_states
        if node.status != status.DEAD
    )
    waiting = tuple((dict(item.request.resources_bundle), item.count) for item in cluster.pending_resource_requests)
    launching = sum(request.count for request in scaler.pending_instance_requests) + len(scaler.pending_instances)
    return ClusterView(nodes, waiting, launching + launching_v1, limits)


def _launching_v1(gcs: Any) -> int:  # noqa: ANN401 - Ray's client
    report = gcs.internal_kv_get(REPORT_KEY, None, timeout=TIMEOUT_S)
    if not report:
        return 0
    summary = json.loads(report).get("autoscaler_report", {})
    return len(summary.get("pending_nodes", ())) + sum(summary.get("pending_launches", {}).values())
