"""A run's folder: one run at a time, never two mixed, and a folder that cannot be written to is found out first."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dg.files.checkpoint import Checkpoints
from dg.runs.folder import RunFolder
from dg.settings.config import ConfigError
from dg.settings.errors import exit_code
from dg.train import main
from render_workers.pool_options import ResourceError
from tests.training.test_trainer import SMALL, last_weights, same

XY = [*SMALL, "method=erm", "inputs=xy"]
HOLD = """
import sys
from pathlib import Path
from dg.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1]), "auto"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_who_is_at_work_and_touches_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        before = sorted(out.iterdir())
        assert main([*XY, f"out={out}"]) == 3
        told = capsys.readouterr().err
        assert f"process {holder.pid} on " in told
        assert "another out=DIR" in told
        assert sorted(out.iterdir()) == before
    finally:
        holder.kill()
        holder.wait()
    with RunFolder(out, "never"):  # SIGKILL has let go of it
        assert json.loads((out / ".run.lock").read_text())["pid"] == os.getpid()
    assert not (out / ".run.lock").exists()


def test_an_earlier_run_is_refused_gone_on_with_or_removed_and_never_mixed(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*XY, f"out={out}"]) == 0
    first = last_weights(str(out))
    newest = sorted(path.name for path in out.glob("checkpoint-*.pt"))
    assert main([*XY, f"out={out}", "seed=5"]) == 2
    assert "resume=overwrite" in capsys.readouterr().err
    assert sorted(path.name for path in out.glob("checkpoint-*.pt")) == newest
    (out / "mine.txt").write_text("not a run's")
    assert main([*XY, f"out={out}", "seed=5", "epochs=1", "resume=overwrite"]) == 0
    assert not same(last_weights(str(out)), first)
    assert [path.name for path in out.glob("checkpoint-*.pt")] == ["checkpoint-000000010.pt"]
    assert (out / "mine.txt").read_text() == "not a run's"


def test_resuming_with_other_settings_names_the_keys_with_old_and_new_values(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*XY, f"out={out}"]) == 0
    assert main([*XY, f"out={out}", "seed=9", "lifter.width=16", "resume=auto"]) == 4
    told = capsys.readouterr().err
    assert "lifter.width was 32, is 16; seed was 0, is 9" in told


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path, capsys, monkeypatch):
    """The write fails as the kernel lets it fail; afterwards there is room again, and the run goes on."""
    out, saved, plain = tmp_path / "run", [], os.fsync

    def full_after_the_first(number):
        if ".checkpoint-" in (name := str(Path(f"/proc/self/fd/{number}").readlink())):
            saved.append(name)
            if len(saved) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        return plain(number)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_after_the_first)
        assert main([*XY, f"out={out}"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "No space left on device" in told
    assert "Traceback" not in told
    assert [path.name for path in out.glob("checkpoint-*.pt")] == [(out / "latest").read_text()]
    assert not list(out.glob(".*.tmp"))
    assert Checkpoints(out).newest_first()
    assert main([*XY, f"out={out}", "resume=auto"]) == 0


@pytest.mark.parametrize("place", ["/proc/nothing/run", "/dev/null/run"])
def test_a_folder_that_cannot_be_made_is_found_out_before_any_work(place, capsys):
    assert main([*XY, f"out={place}"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("error: /")
    assert len(told.splitlines()) == 1


def test_errors_of_the_folder_have_their_codes(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path, "never").__enter__()
    assert exit_code(caught.value) == 2
    with RunFolder(tmp_path, "auto"), pytest.raises(ResourceError), RunFolder(Path(tmp_path), "auto"):
        pass
