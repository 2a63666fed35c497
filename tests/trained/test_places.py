"""A checkpoint decides nothing about where results go and which files are opened."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from dg import evaluate, export
from dg.analyse.__main__ import main as analyse
from dg.files.checkpoint import load_file, save_file
from dg.settings.command_line import parse
from dg.settings.config import ConfigError, RenderConfig, TrackingConfig
from dg.trained.places import check_places, named_places, of_drawing, without_places
from dg.trained.stored import load_checkpoint
from tests.datasets.makers import cross_arrays
from tests.trained.makers import store

XY = ["method=erm", "inputs=xy", "lifter.width=16", "lifter.blocks=1"]


class Server(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        Server.asked.append(f"{self.path} {self.headers.get('Authorization')}")
        self.send_error(404)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def listener():
    Server.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def evil(folder: Path, *words: str, **changes) -> Path:
    """A checkpoint whose recorded configuration names places."""
    folder.mkdir(exist_ok=True)
    path, _ = store(folder, *XY, *words)
    state = load_file(path)
    state["config"] |= changes
    save_file(path, state)
    return path


def test_an_evaluation_tells_only_the_store_that_its_user_chose(tmp_path, monkeypatch, listener, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = evil(tmp_path / "run", tracking={"uri": listener}, cache=str(tmp_path / "elsewhere"))
    assert evaluate.main([str(path)]) == 0
    told = capsys.readouterr().out
    assert Server.asked == []
    assert (tmp_path / "mlflow.db").stat().st_size > 0
    assert f"tracking.uri={listener}" in told
    assert "give tracking.uri= to use that one" in told
    assert not (tmp_path / "elsewhere").exists()


def test_targets_of_a_checkpoint_must_be_repeated_and_then_serve(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "people.npz", **cross_arrays())
    path = evil(tmp_path / "run", f"targets=[npz:{tmp_path}/people.npz]", "tracking.uri=off")
    assert evaluate.main([str(path)]) == 2
    told = capsys.readouterr().err
    word = f"targets=[npz:{tmp_path}/people.npz]"
    assert f"names {word}" in told
    assert f"give {word} to use it" in told
    assert evaluate.main([str(path), word]) == 0
    assert evaluate.main([str(path), "targets=[synthetic:near]"]) == 0


def test_an_analysis_asks_for_targets_and_data_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "people.npz", **cross_arrays())
    path = evil(tmp_path / "run", f"targets=[npz:{tmp_path}/people.npz]", "tracking.uri=off")
    assert analyse(["tail", str(path)]) == 2
    assert "give targets=[" in capsys.readouterr().err
    assert analyse(["tail", str(path), f"targets=npz:{tmp_path}/people.npz"]) == 0


def test_an_export_visits_no_place_and_needs_none_named(tmp_path):
    path = evil(tmp_path / "run", "targets=[npz:/nowhere/x.npz]", tracking={"uri": "http://192.0.2.1:1"})
    assert export.main([str(path), f"out={tmp_path}/x.pt"]) == 0


def test_a_checkpoint_to_start_from_gives_its_weights_alone(tmp_path):
    from dg.training.build import initialise
    from tests.trained.makers import fresh

    path = evil(tmp_path / "run", "targets=[npz:/nowhere/x.npz]", tracking={"uri": "http://192.0.2.1:1"})
    lifter = fresh(parse(XY))
    initialise(lifter, path)
    assert torch.equal(next(iter(lifter.state_dict().values())), next(iter(load_file(path)["lifter"].values())))


def test_every_place_that_has_a_default_goes_back_to_it():
    config = replace(
        parse(XY), out="/x", cache="/x", address="ray://x:1", submit=True, render=RenderConfig(service="a/b"),
        tracking=TrackingConfig("http://x", "mine", "name", "parent"),
    )  # fmt: skip
    found = without_places(config)
    assert found == replace(parse(XY), tracking=TrackingConfig("", "mine", "name"))
    off = replace(config, cache="off", tracking=TrackingConfig("off"))
    assert (without_places(off).cache, without_places(off).tracking.uri) == ("off", "off")


PLACES = [
    (["body=smpl", "body.path=/x/smpl.pkl"], {"body.path": "/x/smpl.pkl"}),
    (["body=open"], {}),
    (["depth=depth_anything_v2", "depth.checkpoint=/x/net"], {"depth.checkpoint": "/x/net"}),
    (["depth=depth_anything_v2"], {}),
    (["data=h36m", "data.root=/x"], {"data.root": "/x"}),
    (["data=npz", "data.path=x.npz", "data.keypoints=/x/k.npz"], {"data.path": "x.npz", "data.keypoints": "/x/k.npz"}),
    (["data=h36m", "data.root=/x", "data.keypoints=cpn_ft_h36m_dbb"], {"data.root": "/x"}),
    (["method=poseda", "method.generator=/x/g.pt"], {"method.generator": "/x/g.pt"}),
    (["method=poseaug", "method.extra_2d=/x/mpii.mat"], {"method.extra_2d": "/x/mpii.mat"}),
    (["data.clips=3"], {}),
    (["targets=[synthetic:near]"], {}),
    (["inputs=xyd+image_features", "pose_network=/x/pose"], {"pose_network": "/x/pose"}),
]


@pytest.mark.parametrize(("words", "places"), PLACES)
def test_what_is_a_place_must_be_given(words, places):
    config = parse(["method=erm", *words])
    used = ("data", "targets", "adapt_to", "method", *of_drawing(config))
    assert named_places(config, used) == places
    check_places(Path("x.pt"), config, words, used)
    if places:
        words = " ".join(f"{key}={value}" for key, value in sorted(places.items()))
        with pytest.raises(ConfigError, match="does not decide") as caught:
            check_places(Path("x.pt"), config, ["device=cpu"], used)
        assert f"give {words} to use {'it' if len(places) == 1 else 'them'}" in str(caught.value)


def test_a_changed_option_beside_a_place_does_not_count_as_naming_it():
    config = parse(["method=erm", "body=smpl", "body.path=/x/smpl.pkl", "body.faces=300"])
    with pytest.raises(ConfigError, match=r"body\.path"):
        check_places(Path("x.pt"), config, ["body.faces=300"], of_drawing(config))


def test_a_message_shows_a_place_on_one_line(tmp_path):
    config = replace(parse(XY), targets=["npz:x\n\x1b[2Jerror: none"])
    with pytest.raises(ConfigError) as caught:
        check_places(Path("x.pt"), config, [], ["targets"])
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_checkpoint_knows_what_it_recorded(tmp_path):
    stored = load_checkpoint(evil(tmp_path / "run", tracking={"uri": "http://192.0.2.1:1"}))
    assert stored.recorded is not None
    assert stored.recorded.tracking.uri == "http://192.0.2.1:1"
    assert stored.config.tracking.uri == ""
    assert json.dumps(stored.origin())
