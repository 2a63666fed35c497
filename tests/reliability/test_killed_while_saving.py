"""R11: a checkpoint, or a new store, is whole or absent, whenever its writer dies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dg.tracking import prepare

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


DIES_WHILE_CREATING = """
import os, sys
from alembic.operations import Operations
from dg.tracking import prepare

done, add_column = [], Operations.add_column

def die_at_the_third(*args, **kwargs):
    add_column(*args, **kwargs)
    done.append(1)
    if len(done) == 3:
        os._exit(9)

Operations.add_column = die_at_the_third
prepare(sys.argv[1], "dg")
"""


def test_a_store_whose_creator_died_is_created_by_the_next(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    died = subprocess.run([sys.executable, "-c", DIES_WHILE_CREATING, uri], check=False, timeout=120)
    assert died.returncode == 9  # amid MLflow's migrations
    assert prepare(uri, "dg") == "1"
