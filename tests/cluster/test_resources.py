"""Which GPUs a run reserves, that its trainer sees no others, and on how many cores it computes."""

import pytest

from dg.cluster.resources import share_gpus, trainer_threads
from dg.runs.handle import trainer_environment
from dg.settings.command_line import parse


@pytest.mark.parametrize(
    ("words", "gpus", "trainer", "actor"),
    [
        ([], 0, 0.0, 0.0),
        ([], 1, 0.33, 0.33),
        ([], 8, 1.0, 1.0),
        (["device=cpu"], 8, 0.0, 0.0),
        # What the actors were given is not the trainer's, and what they leave is.
        (["render.gpus_per_actor=1"], 2, 0.0, 1.0),
        (["render.gpus_per_actor=1"], 8, 1.0, 1.0),
        (["render.gpus_per_actor=0.25"], 1, 0.5, 0.25),
        (["render.gpus_per_actor=0"], 1, 1.0, 0.0),
        (["render.gpus_per_actor=1", "inputs=xy", "dscale2d=off"], 1, 1.0, 1.0),
        (["render.gpus_per_actor=1", "device=cuda"], 2, 1.0, 1.0),
        (["render.gpus_per_actor=1", "device=cpu"], 8, 0.0, 1.0),
    ],
)
def test_gpus_are_shared_between_trainer_and_actors(words, gpus, trainer, actor):
    assert share_gpus(parse(["render.actors=2", *words]), gpus) == pytest.approx((trainer, actor))


@pytest.mark.parametrize(
    ("cores", "words", "threads", "sleeps"),
    [
        (1, ["render.actors=1"], 1, True),
        (2, ["render.actors=1"], 2, True),  # the render worker leaves some of its core
        (8, ["render.actors=3"], 5, False),
        (8, ["render.actors=3", "threads=6"], 6, True),
        (4, ["render.actors=6"], 2, True),
        (4, ["render.actors=6", "pool=local"], 4, False),
    ],
)
def test_a_trainer_computes_on_the_cores_that_render_workers_leave(monkeypatch, cores, words, threads, sleeps):
    monkeypatch.setattr("dg.cluster.resources.cores_here", lambda: cores)
    config = parse(words)
    assert trainer_threads(config) == threads
    assert (trainer_environment(config, 0.0).get("OMP_WAIT_POLICY") == "PASSIVE") == sleeps


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_trainer_that_reserved_no_gpu_sees_none(device):
    config = parse([f"device={device}"])
    assert trainer_environment(config, 0.0)["CUDA_VISIBLE_DEVICES"] == ""
    # Ray sets the variable to those that it reserved.
    assert "CUDA_VISIBLE_DEVICES" not in trainer_environment(config, 0.5)
