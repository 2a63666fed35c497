"""How a pool grows, shrinks, leaves nodes and counts, without Ray and without a clock."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import exceptions

from dg.cluster.resources import pool_options
from dg.settings.command_line import parse
from dg.settings.config import ConfigError
from render_workers import ray_nodes
from render_workers.base import RenderAnswer
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolOptions
from render_workers.pool_sizing import (
    PATIENT_LOOKS,
    ClusterView,
    Node,
    Placed,
    Sizer,
    crowded_out,
    has_labels,
    how_many,
    may_grow,
    room,
    shortage,
    target_size,
)
from render_workers.pool_slots import SlotState
from tests.fakes import FakeSpec, make_request
from tests.render_workers.pool_shell import ANSWER, Shell

CPU = {"CPU": 1.0}


def node(name, cpus, free, gpus=0.0, **more):
    return Node(name, {"CPU": cpus, "GPU": gpus}, {"CPU": free, "GPU": gpus}, more.pop("labels", {}), **more)


def states(shell):
    return {slot.id: slot.state.name for slot in shell.core.slots.values()}


# -- the core


def test_growing_starts_workers_and_shrinking_takes_the_unstarted_and_the_idle_first():
    shell = Shell(actors=2, max_actors=9)
    shell.start()
    shell.core.resize(5)
    shell.tick()
    assert states(shell) == dict(zip(range(5), ["LIVE"] * 2 + ["PENDING"] * 3, strict=True))
    shell.core.placed(2, "node")
    shell.core.resize(3)
    shell.tick()
    assert states(shell) == {0: "LIVE", 1: "LIVE", 2: "PENDING"}
    shell.core.submit(1)
    shell.tick()
    assert shell.calls[0].slot == 0
    shell.core.resize(1)
    shell.tick()
    assert states(shell) == {0: "LIVE"}


@pytest.mark.parametrize(("wish", "size"), [(0, 2), (1, 2), (4, 4), (99, 6)])
def test_a_pool_stays_within_its_limits(wish, size):
    shell = Shell(actors=3, min_actors=2, max_actors=6)
    shell.core.resize(wish)
    shell.tick()
    assert len(shell.spawned) == size


def test_a_busy_worker_that_is_one_too_many_finishes_what_it_holds():
    shell = Shell(actors=2, max_actors=2)
    for _ in range(6):
        shell.core.submit(1)
    shell.start()
    assert shell.core.in_flight == 4
    shell.core.resize(1)
    shell.tick()
    assert states(shell) == {0: "LIVE", 1: "DRAINING"}
    shell.finish(1)
    shell.finish(1)
    assert states(shell) == {0: "LIVE"}
    shell.finish_all()
    assert len(shell.home) == 6
    assert (shell.core.figures.deaths, shell.core.figures.preempted, shell.core.book.ledger.retried) == (0, 0, 0)


@pytest.mark.parametrize("end", ["finishes", "dies", "is unreachable"])
def test_a_node_taken_away_gets_no_more_work_and_costs_no_try(end):
    shell = Shell(actors=2)
    for _ in range(8):
        shell.core.submit(1)
    shell.start()
    held = [call.piece for call in shell.calls if call.slot == 0]
    shell.core.drain(0)
    shell.tick()
    assert shell.spawned == {0, 1, 2}, "its successor starts before it is gone"
    if end == "finishes":
        shell.finish(0)
        shell.finish(0)
    elif end == "dies":
        shell.core.died(0, "SIGKILL")
    else:
        _, piece = shell.take(0)
        shell.core.unavailable(0, shell.now, piece)
    shell.tick()
    assert all(call.slot != 0 for call in shell.calls)
    assert (shell.core.figures.deaths, shell.core.figures.preempted) == (0, 1)
    assert [piece.infra_tries for piece in held] == [0, 0]
    assert not any(piece.alone for piece in held)
    shell.start(2)
    shell.finish_all()
    assert len(shell.home) == 8


def test_a_worker_that_has_not_started_leaves_its_node_at_once():
    shell = Shell(actors=1)
    shell.tick()
    shell.core.placed(0, "spot")
    shell.core.drain(0)
    shell.tick()
    assert states(shell) == {1: "PENDING"}
    assert shell.core.figures.deaths == 0


def test_no_work_before_so_many_workers_are_live_and_then_with_fewer():
    shell = Shell(actors=3, min_actors=2)
    shell.core.submit(1)
    shell.start(1)
    assert not shell.calls
    shell.start(2)
    assert len(shell.calls) == 1
    shell.core.died(shell.calls[0].slot, "SIGKILL")
    shell.tick()
    assert len(shell.calls) == 1


def test_where_host_memory_runs_out_again_and_again_a_worker_holds_one_request():
    shell = Shell(actors=1, max_infra_tries=99)
    for _ in range(4):
        shell.core.submit(1)
    held = []
    for slot in range(4):
        shell.tick()
        shell.core.placed(slot, "small" if slot < 3 else "large")
        for piece in shell.core.book.queue:
            piece.alone = False  # what was aboard when a worker died travels alone for a reason of its own
        shell.start(slot)
        held.append(shell.core.in_flight)
        shell.core.died(slot, "killed by the memory monitor", out_of_memory=True)
    assert shell.core.figures.host_ooms == {"small": 3, "large": 1}
    assert held == [2, 2, 1, 2]


def test_an_error_in_a_probe_loses_no_pose():
    shell = Shell(actors=1)
    shell.core.submit(2)
    shell.start()
    shell.core.unavailable(0, shell.now)
    shell.tick(1.1)
    shell.core.start_failed(0, "psutil.Error")
    shell.tick()
    shell.start(1)
    shell.finish_all()
    assert len(shell.home) == 1


def test_status_tells_what_a_progress_line_and_dg_status_need():
    with LocalPool(FakeSpec(poison="raise").build, PoolOptions(actors=2)) as pool:
        assert pool.last_error() == ""
        pool.submit(make_request(5, poison=(3,))).result()
        status = pool.status()
        assert {"target", "live", "starting", "suspect", "draining", "deaths", "preempted", "backlog"} < status.keys()
        assert (status["target"], status["live"], status["quarantined"]) == (2, 2, 1)
        assert 0 <= status["latency_p50_s"] <= status["latency_p95_s"]
        assert all(isinstance(value, int | float) for value in status.values())
        assert "this pose cannot be drawn" in pool.last_error()


def test_halvings_add_up_over_workers_and_the_smallest_portion_shows():
    shell = Shell(actors=2)
    for _ in range(4):
        shell.core.submit(1)
    shell.start()
    for micro_batch, halvings in ((64.0, 2.0), (128.0, 1.0), (32.0, 3.0), (128.0, 1.0)):
        slot, piece = shell.take(0 if micro_batch < 100 else 1)
        stats = {"micro_batch": micro_batch, "oom_halvings": halvings}
        shell.core.done(slot, piece, RenderAnswer(ANSWER.depth, ANSWER.valid, stats), 0.0, 0.1)
    assert shell.core.figures.halvings == 3 + 1
    assert [slot.micro_batch for slot in shell.core.slots.values()] == [32.0, 128.0]


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=6))
def test_answers_do_not_depend_on_how_the_pool_grew_and_shrank(changes):
    requests = [make_request(rows, seed) for seed, rows in enumerate([3, 1, 4, 1, 5, 9, 2, 6])]
    with LocalPool(FakeSpec().build) as one:
        expected = [one.submit(request).result().depth.tobytes() for request in requests]
    with LocalPool(FakeSpec().build, PoolOptions(actors=4, max_actors=5)) as pool:
        futures = []
        for number, request in enumerate(requests):
            futures.append(pool.submit(request))
            if number < len(changes):
                size, leaver = changes[number]
                pool.core.resize(size)
                live = [slot.id for slot in pool.core.slots.values() if slot.state is SlotState.LIVE]
                pool.core.drain(live[leaver % len(live)])
        assert [future.result().depth.tobytes() for future in futures] == expected
        pool.ledger.check()


# -- the room


def test_as_many_fit_as_the_scarcest_resource_allows_and_fractions_of_a_gpu_add_up():
    assert how_many({"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1 / 3}) == 3
    assert how_many({"CPU": 8.0, "GPU": 0.9}, {"CPU": 1.0, "GPU": 0.5}) == 1
    assert how_many({"CPU": 8.0}, {"CPU": 1.0, "GPU": 0.5}) == 0
    assert how_many({"CPU": 8.0}, {}) == 0


def test_room_is_counted_node_by_node_and_without_those_that_are_leaving():
    view = ClusterView((node("a", 2, 0.5), node("b", 2, 0.5), node("c", 4, 3), node("d", 9, 9, draining=True)))
    assert room(view.lasting(), view, CPU, Placed({"a": 1, "b": 1, "c": 1, "d": 5, "lost": 3}, 0)) == 3 + 3


@pytest.mark.parametrize(
    ("waiting", "expected"), [((), 3), (((CPU, 1),), 2), (((CPU, 5),), 1), ((({"CPU": 2.0}, 5),), 3)]
)
def test_an_actor_without_a_process_takes_its_place_already_unless_it_waits_for_one(waiting, expected):
    view = ClusterView((node("a", 3, 0),), waiting)
    assert room(view.lasting(), view, CPU, Placed({"a": 1}, 2)) == expected


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [2, 2, 2]),
        ({"joined": True}, [2, 2, 9]),
        ({"joined": True, "max_actors": 4}, [2, 3, 4]),
        ({"max_actors": 4}, [2, 2, 4]),
    ],
)
def test_the_pool_follows_the_room_from_what_is_asked_up_to_the_limit(options, sizes):
    assert [target_size(PoolOptions(actors=2, **options), places) for places in (0, 2, 9)] == sizes


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [("spot", True), ("!spot", False), ("in(spot, fixed)", True), ("!in(spot, fixed)", False), ("fixed", False)],
)
def test_label_selectors_mean_what_ray_means(wanted, fits):
    assert has_labels(node("a", 1, 1, labels={"market": "spot"}), {"market": wanted}) is fits
    assert has_labels(node("a", 1, 1), {"market": wanted}) is wanted.startswith("!")


def test_a_pool_that_took_all_the_room_gives_way_to_those_who_keep_waiting():
    sizer = Sizer(PoolOptions(actors=2, joined=True))
    trainer = ({"CPU": 2.0}, 1)
    mine = Placed({"a": 1, "b": 4}, 0)
    full = ClusterView((node("a", 1, 0), node("b", 4, 0)), (trainer,))
    decisions = [sizer.decide(full, mine, 5) for _ in range(PATIENT_LOOKS)]
    assert decisions == [(5, "")] * (PATIENT_LOOKS - 1) + [(4, "b")]
    freed = ClusterView((node("a", 1, 0), node("b", 4, 2)), (trainer,))
    assert sizer.decide(freed, Placed({"a": 1, "b": 2}, 0), 3) == (3, ""), "what others are about to get is left free"
    placed = ClusterView((node("a", 1, 0), node("b", 4, 0)))
    assert sizer.decide(placed, Placed({"a": 1, "b": 2}, 0), 3) == (3, "")


def test_nobody_gives_way_below_what_was_asked_for_nor_to_what_cannot_fit_nor_to_itself():
    full = (node("a", 2, 0),)
    greedy = ClusterView(full, (({"GPU": 8.0}, 3),))
    assert crowded_out(greedy, CPU, Placed({"a": 2}, 0)) is None
    assert crowded_out(ClusterView(full, ((CPU, 1),)), CPU, Placed({"a": 2}, 1)) is None
    assert crowded_out(ClusterView(full, ((CPU, 2),)), CPU, Placed({"a": 2}, 1)) == "a"
    sizer = Sizer(PoolOptions(actors=2, joined=True))
    other = ClusterView(full, (({"CPU": 2.0}, 1),))
    assert {sizer.decide(other, Placed({"a": 2}, 0), 2) for _ in range(9)} == {(2, "")}


def test_a_shortage_says_what_was_asked_what_there_is_and_what_an_autoscaler_can_do():
    options = PoolOptions(actors=4, min_actors=2, gpus_per_actor=1.0)
    nodes = (node("head", 0, 0), node("a", 8, 8, gpus=1.0))
    view = ClusterView(nodes, limits={"CPU": 16, "GPU": 2})
    text = shortage(options, view.lasting(), view, Placed({"a": 1}, 3), 46.0)
    assert "4 render actors x 1 CPU and 1 GPU" in text
    assert "after 46 s the cluster has 8 CPU (8 free) and 1 GPU (1 free) on 2 nodes" in text
    assert "autoscaler can grow it to 16 CPU and 2 GPU" in text
    assert "render.gpus_per_actor=0.5" in text
    assert may_grow(options, view.lasting(), view)
    assert not may_grow(options, view.lasting(), ClusterView(nodes, limits={"CPU": 8, "GPU": 1}))
    assert not may_grow(options, view.lasting(), ClusterView(nodes))
    assert may_grow(options, view.lasting(), ClusterView(nodes, launching=1))


def test_where_ray_tells_only_sums_the_pool_keeps_its_size(monkeypatch):
    sums = SimpleNamespace(cluster_resources=lambda: {"CPU": 4.0}, available_resources=lambda: {"CPU": 3.0})
    monkeypatch.setattr(ray_nodes, "ray", sums)
    monkeypatch.setattr(ray_nodes, "worker", None)
    view = ray_nodes.look()
    assert not view.exact
    assert Sizer(PoolOptions(joined=True)).decide(view, Placed({"a": 1}, 1), 2) == (2, "")
    assert room(view.lasting(), view, CPU, Placed({"a": 1}, 1)) == 1 + 3

    def no_answer():
        raise exceptions.RaySystemError("the head does not answer")

    sums.cluster_resources = no_answer
    view = ray_nodes.look()
    assert room(view.lasting(), view, CPU, Placed({"a": 1}, 1)) == 1, "what runs goes on"


@pytest.mark.parametrize(
    ("report", "nodes"),
    [
        (None, 0),
        (
            b'{"autoscaler_report": {"pending_nodes": [["10.0.0.2", "gpu", "wait"]], "pending_launches": {"gpu": 2}}}',
            3,
        ),
        (b'{"time": 1.0}', 0),
    ],
)
def test_nodes_that_the_older_autoscaler_starts_are_counted(report, nodes):
    class Gcs:
        def internal_kv_get(self, key, namespace, timeout):
            return report

    assert ray_nodes._launching_v1(Gcs()) == nodes


def test_a_pool_that_loses_all_its_nodes_on_notice_goes_on_with_others():
    shell = Shell(actors=2)
    for _ in range(3):
        shell.core.submit(4)
    shell.start()
    for slot in (0, 1):
        shell.core.died(slot, "its node is gone", preempted=True)
    shell.tick()
    shell.start()
    shell.finish_all()
    assert sorted(shell.home) == [0, 1, 2]
    assert np.sum([len(piece) for home in shell.home.values() for piece, _ in home.answers]) == 12
    shell.core.book.ledger.check()


@pytest.mark.parametrize(
    ("words", "most"),
    [
        ([], 2),
        (["address=local"], 2),
        (["address=10.0.0.1:6379"], float("inf")),
        (["address=auto", "render.max_actors=8"], 8),
        (["render.max_actors=3"], 3),
    ],
)
def test_the_command_lines_keys_reach_the_pool(words, most):
    options = pool_options(parse(["render.actors=2", "render.min_actors=2", *words]), 0.5)
    assert (options.actors, options.min_actors, options.gpus_per_actor) == (2, 2, 0.5)
    assert options.most_actors == most


@pytest.mark.parametrize("gpus", [-2.0, 1.5])
def test_a_part_of_a_gpu_that_ray_cannot_give_is_refused(gpus):
    with pytest.raises(ConfigError, match=r"render\.gpus_per_actor must be"):
        parse([f"render.gpus_per_actor={gpus}"])
