"""Files that are small on disk and huge in memory, and things that are no files, are refused at once."""

import os
import time

import numpy as np
import pytest
import yaml

from dg.files.errors import FileFormatError
from dg.files.reading import available_memory
from dg.files.safe_load import load_json, load_npz, load_pickle, npz_names
from dg.files.strict_yaml import YamlLimitError, load_yaml

GIB = 1 << 30


def test_an_archive_is_measured_before_it_is_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(1 << 23), small=np.arange(3))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 17
    monkeypatch.setattr("dg.files.reading.available_memory", lambda: 1 << 24)
    with pytest.raises(FileFormatError, match=r"bomb\.npz.*GiB are free"):
        load_npz(tmp_path / "bomb.npz")
    assert list(load_npz(tmp_path / "bomb.npz", wanted=["small", "absent"])) == ["small"]
    assert npz_names(tmp_path / "bomb.npz") == ["a", "small"]


def test_an_array_that_claims_more_than_follows_takes_no_memory(tmp_path):
    import zipfile

    np.savez(tmp_path / "x.npz", a=np.zeros(4))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        data = archive.read("a.npy")
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("a.npy", data.replace(b"(4,), }               ", b"(400000000000000,), }  "))
    with pytest.raises(FileFormatError, match="claims"):
        load_npz(tmp_path / "lie.npz")


def test_the_free_memory_is_a_plausible_number():
    assert 1 << 20 < available_memory() < 1 << 50


@pytest.mark.parametrize("load", [load_npz, load_pickle, load_json])
def test_a_pipe_is_named_and_not_waited_for(tmp_path, load):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match=r"pipe: expected a file, found a named pipe \(FIFO\)"):
        load(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="found a directory"):
        load(tmp_path)


def test_deep_json_is_a_clear_error(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(FileFormatError, match="nested too deep"):
        load_json(tmp_path / "deep.json")


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_yaml_is_refused_at_once(brackets):
    start = time.process_time()
    with pytest.raises(YamlLimitError, match="deep"):
        load_yaml(brackets[0] * 3000 + brackets[1] * 3000)
    with pytest.raises(YamlLimitError, match="deep"):
        load_yaml("\n".join(f"{' ' * n}a:" for n in range(300)))
    assert time.process_time() - start < 1.0


def test_a_few_lines_cannot_stand_for_millions():
    laughs = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    with pytest.raises(YamlLimitError, match="aliases"):
        load_yaml(laughs)
    assert load_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}
    assert load_yaml("a: 1", texts_only=True) == {"a": "1"}
    with pytest.raises(yaml.YAMLError):
        load_yaml("!!python/object/apply:os.system [id]")
