"""R11: a checkpoint is whole or absent, whenever its writer dies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.reliability
KILLS = 100


def test_a_hundred_kills_while_saving_leave_a_loadable_checkpoint_each(tmp_path):
    program = Path(__file__).with_name("save_and_die.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(KILLS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["loaded"] == KILLS
    assert found["last_step"] > 1
    assert found["died_while_writing"] >= KILLS // 4  # else this test would not test it
    assert len(list(tmp_path.glob("checkpoint-*.pt"))) <= 3
