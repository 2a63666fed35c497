"""A file of weights that has changed on disk is refused, whoever wrote it."""

import hashlib
import io

import numpy as np
import pytest
import torch

from dg.files.checkpoint import CheckpointError, load_file
from dg.files.errors import FileFormatError
from dg.files.integrity import digest_file, read_verified

WEIGHTS = {"lifter": {"w": torch.arange(600.0).reshape(20, 30), "b": torch.ones(7)}, "epoch": 3}


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def same(found) -> bool:
    return found["epoch"] == 3 and all(torch.equal(found["lifter"][k], v) for k, v in WEIGHTS["lifter"].items())


@pytest.mark.parametrize("kind", ["archive", "legacy with digest"])
def test_200_flipped_bits_are_refused_or_change_nothing(tmp_path, kind):
    path, rng = tmp_path / "x.pt", np.random.default_rng(0)
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "archive")
    data = path.read_bytes()
    if kind != "archive":
        digest_file(path).write_text(f"{hashlib.sha256(data).hexdigest()}  x.pt\n")
    assert same(load_file(path))
    refused = 0
    for _ in range(200):
        path.write_bytes(flipped(data, rng))
        try:
            assert same(load_file(path))
        except CheckpointError:
            refused += 1
    assert refused > 100


def test_a_traced_program_is_verified_too(tmp_path):
    module, path = torch.jit.trace(torch.nn.Linear(40, 40), torch.zeros(1, 40)), tmp_path / "x.ts"
    torch.jit.save(module, str(path))
    data = path.read_bytes()
    assert torch.jit.load(io.BytesIO(read_verified(path)))
    weight = next(iter(module.parameters())).detach().numpy().tobytes()
    position = data.index(weight[:64]) + 5
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    with pytest.raises(FileFormatError, match="checksum of its part"):
        read_verified(path)


def test_a_digest_beside_a_file_must_be_one(tmp_path):
    path = tmp_path / "x.pth"
    torch.save(WEIGHTS, path)
    digest_file(path).write_text("hello")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_file(path)
    digest_file(path).write_text("0" * 64)
    with pytest.raises(CheckpointError, match=r"x\.pth\.sha256 gives"):
        load_file(path)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    torch.save(WEIGHTS, path)
    monkeypatch.setattr("dg.files.reading.available_memory", lambda: path.stat().st_size)
    read_verified(path)
    monkeypatch.setattr("dg.files.reading.available_memory", lambda: path.stat().st_size - 1)
    with pytest.raises(FileFormatError, match="GiB of memory"):
        read_verified(path)
