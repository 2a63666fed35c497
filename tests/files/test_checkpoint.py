"""A checkpoint is whole or absent, loads without executing anything, and belongs to one run."""

import itertools
import os
import pickle
import re
import signal
import time

import pytest
import torch

from dg.files.atomic import replace_file
from dg.files.checkpoint import CheckpointError, Checkpoints, load_file
from tests.train_process import wait_for


def saving_for_ever(folder, first: int) -> int:
    """The id of a process that does nothing else; forked, for one of its own would load torch for seconds."""
    process = os.fork()
    if process:
        return process
    try:
        for step in itertools.count(first):
            state = {"config_digest": "d", "step": step, "weights": torch.full((200_000,), float(step))}
            Checkpoints(folder).save(step, state)
    finally:
        os._exit(1)


def test_what_is_saved_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, {"config_digest": "d", "weights": torch.arange(3)})
    state = checkpoints.load_latest("d")
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3))


def test_only_the_last_two_are_kept_and_the_marker_names_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10, 15):
        checkpoints.save(step, {"config_digest": "d"})
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-000000010.pt",
        "checkpoint-000000015.pt",
    ]
    assert checkpoints.latest() == tmp_path / "checkpoint-000000015.pt"


def test_no_checkpoint_is_no_error(tmp_path):
    assert Checkpoints(tmp_path / "absent").load_latest("d") is None


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    Checkpoints(tmp_path).save(1, {"config_digest": "d"})
    with pytest.raises(CheckpointError, match="other settings"):
        Checkpoints(tmp_path).load_latest("e")


def two(folder) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in (5, 10):
        checkpoints.save(step, {"config_digest": "d", "step": step, "weights": torch.full((1000,), float(step))})
    return checkpoints


def damage_file(path, how):
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        position = data.index(torch.full((4,), 10.0).numpy().tobytes())
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "missing"])
def test_the_checkpoint_before_a_damaged_one_is_resumed_with_a_warning(tmp_path, how):
    checkpoints, said = two(tmp_path), []
    damage_file(tmp_path / "checkpoint-000000010.pt", how)
    state = checkpoints.load_latest("d", said.append)
    assert state is not None
    assert state["step"] == 5
    assert len(said) == 1
    assert "checkpoint-000000010.pt" in said[0]
    assert "going on from checkpoint-000000005.pt" in said[0]
    # The damaged one is out of the way: what is saved next is kept.
    for step in (7, 9):
        checkpoints.save(step, {"config_digest": "d", "step": step})
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*.pt")) == [
        "checkpoint-000000007.pt",
        "checkpoint-000000009.pt",
    ]


def test_with_no_whole_checkpoint_the_error_names_all_and_the_remedy(tmp_path):
    checkpoints, said = two(tmp_path), []
    for name in ("checkpoint-000000005.pt", "checkpoint-000000010.pt"):
        damage_file(tmp_path / name, "cut")
    with pytest.raises(CheckpointError, match=r"(?s)none .* is whole.*0010\.pt.*0005\.pt.*resume=overwrite") as caught:
        checkpoints.load_latest("d", said.append)
    assert "out=DIR" in str(caught.value)
    assert not said


@pytest.mark.parametrize("content", ["", "../../etc/passwd", "checkpoint-000000099.pt"])
def test_a_damaged_marker_does_not_hide_the_checkpoints(tmp_path, content):
    checkpoints = two(tmp_path)
    (tmp_path / "latest").write_text(content)
    state = checkpoints.load_latest("d", lambda text: None)
    assert state is not None
    assert state["step"] == 10


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "list"])
def test_a_damaged_file_is_one_clear_error_that_names_it(tmp_path, damage):
    path = tmp_path / "x.pt"
    if damage == "cut":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("weights")
    elif damage == "list":
        torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_file(path)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    (tmp_path / "x.pt").write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(CheckpointError):
        load_file(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_a_writer_that_is_killed_leaves_a_loadable_checkpoint(tmp_path):
    generator = torch.Generator().manual_seed(0)
    marker = tmp_path / "latest"
    for first in range(1, 8001, 1000):
        process = saving_for_ever(tmp_path, first)
        wait_for(lambda first=first: marker.is_file() and int(re.sub(r"\D", "", marker.read_text())) >= first)
        time.sleep(0.1 * torch.rand(1, generator=generator).item())  # somewhere within a save
        os.kill(process, signal.SIGKILL)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        state = Checkpoints(tmp_path).load_latest("d")
        assert state is not None
        assert state["step"] >= first
        assert (state["weights"] == float(state["step"])).all()


def test_an_atomic_write_replaces_and_leaves_no_other_file(tmp_path):
    for content in (b"old", b"new"):
        replace_file(tmp_path / "a.json", lambda file, content=content: file.write(content))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"new")]
