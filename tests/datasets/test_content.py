"""Data are identified by content: whatever a file is called, wherever it lies, and on whatever processor it is read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dg.datasets import DATASETS
from dg.datasets.base import DataError
from dg.datasets.content import choices, content_id
from dg.datasets.npz import CrossDataset, Options
from dg.datasets.protocols import Protocol, data_of, without_data
from dg.datasets.synthetic import Options as SyntheticOptions
from dg.settings.config import ConfigError
from dg.settings.plugins import make_options, resolve
from dg.training.problem import load_target, load_targets
from tests.datasets.makers import cross_arrays, make_h36m, make_mpi_inf_3dhp


def saved(folder, name="test.npz", save=np.savez, **changes):
    folder.mkdir(exist_ok=True)
    save(folder / name, **(cross_arrays() | changes))
    return f"{folder / name}"


def moved(by: float) -> dict[str, np.ndarray]:
    """The same people a little farther to the right, seen so."""
    arrays = cross_arrays()
    shift = np.array([by, 0, 0], np.float32)
    return {name: arrays[name] for name in arrays if name != "pose2d"} | {"pose3d": arrays["pose3d"] + shift}


def loaded(path, **options):
    return CrossDataset(Options(path, **options)).load("test")


def test_two_files_of_one_name_have_ids_of_their_own_and_are_otherwise_alike(tmp_path):
    one, other = saved(tmp_path / "a"), saved(tmp_path / "b")
    np.savez(other, **moved(0.1))
    ids = [loaded(path).protocol("none") for path in (one, other)]
    assert ids[0] != ids[1]
    assert without_data(ids[0]) == without_data(ids[1])
    assert Protocol.parse(ids[0]) == Protocol.parse(ids[1]), "published numbers match by everything else"


def test_a_copy_elsewhere_packed_otherwise_is_the_same_data(tmp_path):
    one = saved(tmp_path / "a")
    other = saved(tmp_path / "b", "other.npz", np.savez_compressed)
    ids = [data_of(loaded(path).protocol("none")) for path in (one, other)]
    assert ids[0] == ids[1] != ""
    shutil.move(one, tmp_path / "a" / "third.npz")
    assert data_of(loaded(str(tmp_path / "a" / "third.npz")).protocol("none")) == ids[0]


@pytest.mark.parametrize("what", ["pose3d", "intrinsics", "clip", "subject"])
def test_whatever_can_move_a_number_is_part_of_the_content(tmp_path, what):
    arrays = {name: cross_arrays()[name] for name in ("pose3d", "intrinsics", "res", "subject", "clip")}
    np.savez(tmp_path / "a.npz", **arrays)
    changed = arrays[what].copy()
    if what in ("pose3d", "intrinsics"):
        changed[3] *= np.float32(1.0001)
    else:
        changed = np.array([f"{name}x" if row % 2 and what == "subject" else name for row, name in enumerate(changed)])
        changed = np.array(["one"] * len(changed)) if what == "clip" else changed
    np.savez(tmp_path / "b.npz", **(arrays | {what: changed}))
    assert loaded(str(tmp_path / "a.npz")).content != loaded(str(tmp_path / "b.npz")).content


def test_rows_that_are_not_kept_do_not_count(tmp_path):
    arrays = moved(0.0)
    spoilt = arrays["pose3d"].copy()
    spoilt[1] += 0.01
    one, other = saved(tmp_path / "a"), saved(tmp_path / "b")
    np.savez(one, **arrays)
    np.savez(other, **(arrays | {"pose3d": spoilt}))
    assert loaded(one, stride=2).content == loaded(other, stride=2).content
    assert loaded(one).content != loaded(other).content


def test_options_at_their_default_change_no_digest():
    assert choices(SyntheticOptions()) == choices(SyntheticOptions(seed=0)) == ""
    assert choices(SyntheticOptions(seed=1, stride=2), "stride") == "seed=1"
    assert content_id("ab", "c") != content_id("a", "bc")


def contents_of(given: dict[str, dict]) -> dict[str, list[str]]:
    told = {}
    for name, options in given.items():
        plugin = resolve(DATASETS, "data", name)
        dataset = plugin(make_options(plugin, "data", name, options))
        told[name] = [dataset.load(split).content for split in dataset.splits]
    return told


PROGRAM = """
import json, sys, torch
from tests.datasets.test_content import contents_of
print(torch.backends.cpu.get_cpu_capability(), json.dumps(contents_of(json.loads(sys.argv[1]))))
"""


@pytest.mark.long
def test_another_processor_finds_the_same_content(tmp_path):
    """Projections and rotations differ in their last bit there; what was read does not."""
    given = {"npz": {"path": saved(tmp_path / "a")}, "h36m": make_h36m(tmp_path), "synthetic": {"clips": 6}}
    here = contents_of(given)
    command = [sys.executable, "-c", PROGRAM, json.dumps(given)]
    settings = os.environ | {"ATEN_CPU_CAPABILITY": "default"}  # without vector instructions
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=settings, check=True, capture_output=True, text=True, timeout=600)
    capability, _, there = done.stdout.partition(" ")
    assert capability == "DEFAULT" != torch.backends.cpu.get_cpu_capability()
    assert json.loads(there) == here
    assert all(len(set(contents)) == len(contents) for contents in here.values()), "parts are told apart"


def test_targets_of_one_name_are_refused_until_one_is_named_apart(tmp_path):
    one, other = (f"npz:{saved(tmp_path / folder)}" for folder in "ab")
    with pytest.raises(ConfigError, match=r"both called 'test'.*label="):
        load_targets([one, other])
    found = load_targets([one, f"{other}?label=clinic"])
    assert [target.name for target in found] == ["test", "clinic"]
    assert found[1].protocol("none").startswith("clinic/camera-frame/")
    # MLflow writes both as a_b.
    with pytest.raises(ConfigError, match="both called 'a_b'"):
        load_targets([f"{one}?label=a%2Bb", f"{other}?label=a_b"])
    with pytest.raises(DataError, match="without '/'"):
        load_targets([f"{one}?label=a/b"])


def test_a_benchmark_under_a_label_is_still_that_benchmark(tmp_path):
    place = f"mpi_inf_3dhp:{make_mpi_inf_3dhp(tmp_path)['root']}"
    plain, named = load_target(place), load_target(f"{place}?label=studio")
    assert (plain.name, named.name) == ("3DHP-2929", "studio")
    assert plain.protocol("none") == named.protocol("none")
