"""Both studies as commands: small runs on synthetic motion, their words, and going on with them."""

import csv
import json
import re
import subprocess
import sys

import pytest
import torch

from dg.grid import session as grid_session
from dg.grid.child_run import read_with_train
from dg.settings.command_line import parse as parse_training
from dg.settings.config import ConfigError
from dg.settings.plugins import make_options
from dg.settings.reader import keys
from dg.study import STUDIES, motion_session
from dg.study.__main__ import main
from dg.study.frames import FramesOptions, in_domain_target, with_targets
from dg.study.motion import parse
from dg.study.motion_options import MotionOptions
from dg.study.motion_session import fitting_tta
from dg.study.noise import NoiseOptions
from dg.training.problem import open_target
from tests.in_this_process import InThisProcess
from tests.pictures import shows_something
from tests.stores import new_store

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

WORDS = [
    "frames=[1,3]", "seeds=[0]", "lifters=[video_pose_3d?width=16]", "epochs=1", "max_steps=2", "batch_size=64",
    "data.clips=6", "data.frames=12", "targets=['synthetic:near?clips=3&frames=12']", "device=cpu", "parallel=2",
    "out=study",
]  # fmt: skip
ID = re.compile(
    r"synthetic(_near|-val)?/synthetic/n\d+/h36m_16/2d=gt/depth=[\w()-]+/tta=none/data=[0-9a-f]+(/time=[\w.-]+)?"
)


# -- words ------------------------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy_and_names_every_study():
    code = (
        "import sys, dg.study.__main__ as s; "
        "codes = [s.main(w) for w in (['--help'], ['frames', '--help'], ['motion', '-h'])]; "
        "heavy = {'torch', 'ray', 'mlflow', 'rich', 'hydra', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'{heavy}' if heavy else max(codes))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for text in (*STUDIES, "frames=[1,9,27,81]", "speeds=[0.5,2.0]", "exit codes"):
        assert text in done.stdout


def test_every_key_of_the_studies_is_in_their_help(capsys):
    for name, options in (("frames", FramesOptions), ("noise", NoiseOptions), ("motion", MotionOptions)):
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(f"  {key}=" in shown for key in keys(options))


def test_an_unknown_study_and_wrong_words_are_refused(capsys, tmp_path):
    assert main([]) == 2
    assert main(["frame"]) == 2
    assert "did you mean 'frames'" in capsys.readouterr().err
    assert main(["frames", "metric=mm"]) == 2
    assert main(["frames", "tracking.uri=off"]) == 2
    assert main(["motion"]) == 2
    assert main(["motion", "out=x", "sppeds=[1,2]"]) == 2
    assert "did you mean 'speeds'" in capsys.readouterr().err
    assert main(["motion", f"out={tmp_path}"]) == 4
    assert "dg study frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("speeds=[2,0.5]", "slowest,fastest"), ("speeds=[0,1]", "slowest,fastest"), ("speeds=[1]", "slowest,fastest"),
        ("parts=[valid]", "parts must be one of"), ("tta=mirror", "tta must be one of"), ("targets=a", "NAME:ARGUMENT"),
        ("metric=error", "metric must be one of"), ("seed=x", "seed expects a whole number"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        parse(["out=x", word])


def test_the_lists_of_the_question_are_there_unless_others_are_given():
    options, shared = read_with_train(FramesOptions, ["frames=[1]", "epochs=3"], {})
    assert (options.frames, options.inputs, options.lifters) == ((1,), ("xy", "xyd"), ("video_pose_3d",))
    assert shared == ["epochs=3"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["data.clips=7", "data.seed=3"],
        ["data=h36m", "data.root=some dir/cmu", "data.label=my_cmu+x", "data.subjects_test=[S11,S9]", "data.stride=2"],
        ["data=npz", "data.path=a.npz", "data.flip_tta=true", "data.fps=25.5"],
    ],
)
def test_the_source_as_a_target_has_the_sources_options(words):
    config = parse_training(words)
    given = {k: v for k, v in config.data.items() if k != "name"}
    target = in_domain_target(config)
    plugin, _ = open_target(target)
    assert plugin.options == make_options(type(plugin), "data", config.data["name"], given)
    first = parse_training(with_targets(words, "")).target_names
    assert first == [target, "synthetic:near", "synthetic:wide"]
    assert parse_training(with_targets(words, "npz:b?stride=1")).target_names[0] == "npz:b?stride=1"
    again = parse_training(with_targets(["targets=['npz:b']", *words], "npz:b")).target_names
    assert again == ["npz:b"], "no target twice"


def test_a_source_that_no_target_can_name_asks_for_the_name():
    words = ["data=h36m", "data.root=cmu", "data.label=my cmu"]
    with pytest.raises(ConfigError, match="give in_domain="):
        with_targets(words, "")
    assert parse_training(with_targets(words, "npz:b")).target_names[0] == "npz:b"


def test_single_frames_are_never_turned_around():
    assert [fitting_tta(t, 1) for t in ("", "none", "flip", "reverse", "flip+reverse")] == [
        "", "none", "flip", "none", "flip",
    ]  # fmt: skip
    assert fitting_tta("flip+reverse", 9) == "flip+reverse"


# -- the whole thing --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder in which `dg.study frames` has run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_session, "ChildRun", InThisProcess)
        folder = tmp_path_factory.mktemp("study")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        new_store(folder)
        assert main(["frames", *WORDS]) == 0
    return folder


@pytest.fixture
def there(study, monkeypatch):
    monkeypatch.chdir(study)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return study / "study"


def artifacts(folder, name):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    run_id = json.loads((folder / "grid.json").read_text())["parent_run_id"]
    return {file.path.rpartition("/")[2] for file in client.list_artifacts(run_id, f"studies/{name}")}


@pytest.mark.long
def test_the_frames_study_ends_in_a_table_and_a_picture_of_every_target(there, capsys):
    text = (there / "frames.md").read_text()
    for target in ("synthetic (in domain)", "synthetic_near"):
        for sees in ("xy ", "xyd+dscale2d=focal, zbuffer (oracle) "):
            assert re.search(rf"\| {re.escape(target)} +\| {re.escape(sees)}", text)
    assert "| T=1 " in text
    assert "| T=3 " in text
    assert "Change of mpjpe_mm by depth" in text
    rows = (there / "frames.csv").read_text().splitlines()
    assert len(rows) == 1 + 8
    assert all(ID.search(row) for row in rows[1:])
    assert shows_something(there / "frames.png")
    assert artifacts(there, "frames") == {"frames.md", "frames.csv", "frames.png"}

    assert main(["frames", *WORDS]) == 0
    assert "4 finished runs kept" in capsys.readouterr().out
    assert (there / "frames.md").read_text() == text


def rows_of(folder):
    return list(csv.DictReader((folder / "motion.csv").read_text().splitlines()))


def test_the_motion_study_goes_on_where_it_stopped_and_ends_in_a_table_and_a_picture(there, capsys, monkeypatch):
    (there / "motion.json").unlink(missing_ok=True)
    evaluated = []
    real = motion_session.evaluate

    def counted(*words):
        if len(evaluated) == 14:
            raise KeyboardInterrupt
        evaluated.append(words)
        return real(*words)

    monkeypatch.setattr(motion_session, "evaluate", counted)
    words = ["motion", "out=study", "device=cpu"]
    assert main(words) == 130
    kept = json.loads((there / "motion.json").read_text())
    assert len(kept) == 12, "of the run that was interrupted nothing is kept"
    evaluated.clear()
    monkeypatch.setattr(motion_session, "evaluate", lambda *words: evaluated.append(words) or real(*words))
    assert main(words) == 0
    assert len(evaluated) == 3 * 4 * 3 - 12
    assert json.loads((there / "motion.json").read_text()).items() >= kept.items()
    first = (there / "motion.md").read_text()
    assert main(words) == 0
    assert len(evaluated) == 3 * 4 * 3 - 12
    assert (there / "motion.md").read_text() == first
    assert artifacts(there, "motion") == {"motion.md", "motion.csv", "motion.png"}

    rows = (there / "motion.csv").read_text().splitlines()[1:]
    assert len(rows) == 3 * 2 * 2 * 3
    assert all(ID.search(row) for row in rows)
    assert sum("/time=reversed" in row for row in rows) == sum("/time=speeds-0.5-2-seed0" in row for row in rows) == 12
    assert "Change of mpjpe_mm against the clips as recorded" in first
    errors = {
        (result["run"], result["target"], result["time"]): result["errors"]["mpjpe_mm"]
        for result in json.loads((there / "motion.json").read_text()).values()
    }
    for (run, target, time), error in errors.items():
        before = errors[run, target, "recorded"]
        if time == "reversed":
            assert (abs(error - before) < 1e-4) == ("-f3-" not in run)


def test_as_recorded_the_motion_study_finds_what_the_runs_found(there):
    assert main(["motion", "out=study", "device=cpu"]) == 0
    found = json.loads((there / "motion.json").read_text()).values()
    found = {(result["run"], result["protocol"]): result["errors"] for result in found}
    for cell in json.loads((there / "grid.json").read_text())["cells"]:
        summary = json.loads((there / cell["name"] / "summary.json").read_text())
        for result in summary["results"]:
            if result["selection"] == "source_val":
                errors = found[cell["name"], result["protocol"]]
                assert errors["mpjpe_mm"] == pytest.approx(result["mpjpe_mm"], abs=1e-4)


def test_reversal_stands_in_the_protocol_and_is_nothing_to_single_frames(there):
    words = ["motion", "out=study", "device=cpu", "parts=[]", "targets=['synthetic:near?clips=1']"]
    errors = {}
    for tta in ("flip", "flip+reverse"):
        assert main([*words, f"tta={tta}"]) == 0
        rows = rows_of(there)
        assert {re.search(r"/tta=([^/]+)", row["protocol"])[1] for row in rows} == {tta}
        errors[tta] = {(r["input"], r["time"], r["frames"]): float(r["mean"]) for r in rows}
    for place, error in errors["flip"].items():
        assert (error == errors["flip+reverse"][place]) == (place[-1] == "1")


def test_weights_that_were_trained_again_are_evaluated_again(there, capsys):
    words = ["motion", "out=study", "device=cpu", "parts=[]", "targets=['synthetic:near?clips=1&frames=6']"]
    assert main(words) == 0
    best = there / json.loads((there / "grid.json").read_text())["cells"][0]["name"] / "best.pt"
    before = best.read_bytes()
    state = torch.load(best, weights_only=True)
    state["lifter"] = {k: v * 1.5 if v.is_floating_point() else v for k, v in state["lifter"].items()}
    torch.save(state, best)
    capsys.readouterr()
    try:
        assert main(words) == 0
        assert "1 lifters to evaluate" in capsys.readouterr().out
    finally:
        best.write_bytes(before)
