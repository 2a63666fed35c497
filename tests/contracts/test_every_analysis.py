"""What every analysis in the table must do. To be tested, an analysis needs its line in the table alone."""

import contextlib
import csv
import io
import json
from dataclasses import is_dataclass

import pytest

from dg.analyse import ANALYSES
from dg.analyse.__main__ import first_line, main
from dg.analyse.base import Analysis
from dg.datasets import DATASETS
from dg.settings.plugins import resolve
from tests.analyse.runs import DETECTED, TARGET, train
from tests.pictures import ONE_PIXEL, shows_something

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

LABELS = ("first", "second")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that every analysis can use: depth in, scale as it is, a method that augments, a detected target."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "detected", DETECTED)
        words = ["method=random_rigid", "inputs=xyd", "dscale2d=off", f'targets=["{TARGET}"]']
        yield [train(folder / f"seed{seed}", *words, f"seed={seed}") for seed in (0, 1)]


def analyse(name, runs, out):
    """What the command prints."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        # The checkpoints name a target that is no built-in one, and a file does not decide what is opened.
        words = [
            "weights=last",
            "tracking_uri=off",
            f"targets=[{TARGET}]",
            f"labels=[{','.join(LABELS[: len(runs)])}]",
            f"out={out}",
        ]
        assert main([name, *map(str, runs), *words]) == 0
    return told.getvalue()


@pytest.fixture(scope="module", params=sorted(ANALYSES))
def done(request, runs, tmp_path_factory):
    """Name, folder and words of an analysis of both runs."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, analyse(request.param, runs, folder)


@pytest.mark.parametrize("name", sorted(ANALYSES))
def test_it_has_frozen_options_and_a_first_line(name):
    kind = resolve(ANALYSES, "analysis", name)
    assert issubclass(kind, Analysis)
    assert is_dataclass(kind.Options)
    assert kind.Options.__dataclass_params__.frozen
    assert 20 < len(first_line(name)) < 130


def test_it_compares_checkpoints_and_says_what_is_ground_truth(done):
    name, folder, told = done
    assert "from ground truth:" in told
    assert all(label in told for label in LABELS)
    whole = json.loads((folder / "findings.json").read_text())
    assert whole["analysis"] == name
    assert tuple(c["label"] for c in whole["checkpoints"]) == LABELS
    assert whole["targets"] == [TARGET]
    assert "oracle" in whole["ground_truth"]


def test_its_tables_are_in_the_files(done):
    _, folder, _ = done
    for table, content in json.loads((folder / "findings.json").read_text())["tables"].items():
        with (folder / f"{table}.csv").open() as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == len(content["rows"]) > 1
        for line, row in zip(lines, content["rows"], strict=True):
            numbers = {k: v for k, v in row.items() if isinstance(v, float)}
            assert {k: float(line[k]) for k in numbers} == pytest.approx(numbers, rel=1e-6)


def test_its_pictures_show_something(done):
    _, folder, _ = done
    pictures = list(folder.glob("*.png"))
    assert pictures
    assert all(shows_something(path) for path in pictures)


@pytest.mark.long
def test_it_gives_the_same_files_again(done, runs, tmp_path):
    name, folder, _ = done
    analyse(name, runs, tmp_path)
    assert contents(tmp_path) == contents(folder)


def test_it_takes_one_checkpoint_alone(done, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("dg.drawing.figures._drawn", lambda figure, dpi: ONE_PIXEL)
    assert "from ground truth" in analyse(done[0], runs[:1], tmp_path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
