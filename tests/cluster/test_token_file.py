"""Nobody but its owner reads the token that lets programs run in a cluster, nor enters the folder of one."""

import stat

import pytest

from dg.cluster.guardian import make_cluster_folder, ray_folder
from dg.cluster.token_file import is_private, keep_token_private, token_file
from dg.doctor import ERROR, OK
from dg.doctor.machine import ray_here
from dg.settings.command_line import parse


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_missing_token_is_made_for_its_owner_alone(home):
    keep_token_private()
    assert token_file() == home / ".ray" / "auth_token"
    assert stat.S_IMODE(token_file().stat().st_mode) == 0o600
    made = token_file().read_text()
    assert len(made) == 64
    keep_token_private()
    assert token_file().read_text() == made


def test_an_open_token_is_closed_and_the_doctor_tells_of_it(home):
    token_file().parent.mkdir()
    token_file().write_text("0" * 64)
    token_file().chmod(0o644)
    (found,) = [f for f in ray_here(parse([])) if f.name == "authentication"]
    assert found.level == ERROR
    assert "chmod 600" in found.remedy
    keep_token_private()
    assert is_private(token_file())
    (found,) = [f for f in ray_here(parse([])) if f.name == "authentication"]
    assert found.level == OK


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_MODE"])
def test_nothing_is_written_where_no_file_is_needed(home, monkeypatch, name):
    monkeypatch.setenv(name, {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"}[name])
    keep_token_private()
    assert not token_file().exists()


def test_the_folder_around_rays_own_is_closed():
    folder = make_cluster_folder()
    try:
        ray_folder(folder).mkdir()
        ray_folder(folder).chmod(0o777)  # as Ray does
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        ray_folder(folder).rmdir()
        folder.rmdir()
