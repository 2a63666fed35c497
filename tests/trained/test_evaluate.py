"""`dg evaluate`: a stored lifter scores what its run said, under the protocol that it says."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg import evaluate
from dg.compare.stored_runs import read_results, stored_runs
from dg.datasets.npz import CrossDataset
from dg.datasets.npz import Options as CrossOptions
from dg.evaluation.predictions import TTA, LifterPredictor, predict_all, predict_augmented
from dg.evaluation.predictions import evaluate as evaluate_poses
from dg.files.checkpoint import load_file, save_file
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import H36M_16, H36M_17
from dg.pose.windows import Windows
from dg.settings.command_line import parse
from dg.train import run as train
from dg.trained.evaluation_report import TAG_EVALUATES
from lifters.base import Lifter
from lifters.video_pose_3d import VideoPose3D, VideoPose3DOptions
from tests.conftest import make_camera, make_joints
from tests.datasets.makers import cross_arrays
from tests.stores import new_store

METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a test set, a trained run and its MLflow store."""
    folder = tmp_path_factory.mktemp("evaluate")
    np.savez(folder / "people.npz", **cross_arrays())
    store = new_store(folder)  # made before: the run would not wait for its id
    summary = train(
        parse([
            "pool=local", "device=cpu", "threads=1", "data.clips=4", "data.frames=20", "batch_size=32",
            "method=erm", "lifter.width=16", "epochs=3", "evaluate_every=1", f"targets=[npz:{folder}/people.npz]",
            f"tracking.uri={store}", f"cache={folder}/cache", f"out={folder}/run", "seed=5",
            "virtual_cameras=1",
        ]),
        quiet=True,
    )  # fmt: skip
    return folder, summary


def off(place, *words: str) -> list[str]:
    return [*with_targets(place, words), "tracking.uri=off", f"cache={place[0]}/cache"]


def with_targets(place, words) -> list[str]:
    """With the targets of the run named, for a checkpoint does not decide what is read."""
    return [*words, *([] if any(w.startswith("targets=") for w in words) else [f"targets=[npz:{place[0]}/people.npz]"])]


def results(folder, words: list[str], code: int = 0) -> dict:
    out = folder / "out" / "result.json"
    assert evaluate.main([*words, f"out={out}"]) == code
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    ("words", "selection"),
    [(["{}/run/best.pt"], "source_val"), (["{}/run"], "source_val"), (["{}/run", "weights=last"], "last")],
)
def test_a_checkpoint_scores_what_its_run_said(place, tmp_path, words, selection):
    folder, summary = place
    (row,) = results(tmp_path, off(place, *(w.format(folder) for w in words)))["results"]
    (trained,) = [r for r in summary["results"] if r["selection"] == selection]
    assert row["selection"] == selection
    assert {k: row[k] for k in trained} == trained


def test_a_run_of_its_own_stands_in_the_row_of_the_run_it_evaluates(place, tmp_path):
    folder, summary = place
    words = [f"{folder}/run/best.pt", f"tracking.uri=sqlite:///{folder}/mlflow.db", f"cache={folder}/cache"]
    done = results(tmp_path, with_targets(place, words))
    runs = {run.info.run_id: run for run in stored_runs(f"sqlite:///{folder}/mlflow.db", "dg")}
    assert done["run_id"] != summary["run_id"] == done["evaluates"]
    evaluation = runs[done["run_id"]]
    assert evaluation.data.tags[TAG_EVALUATES] == summary["run_id"]
    assert not [name for name in evaluation.data.metrics if name.startswith("final/oracle")]
    ours, theirs = (
        read_results([runs[i]], "source_val", "mpjpe_mm")[0][0] for i in (done["run_id"], summary["run_id"])
    )
    same = ("method", "regime", "lifter", "inputs", "depth", "seed", "settings", "budget", "oracle", "protocols")
    assert {k: getattr(ours, k) for k in same} == {k: getattr(theirs, k) for k in same}
    assert ours.values == pytest.approx(theirs.values, abs=1e-9)


def test_the_errors_of_every_frame_average_to_the_results(place, tmp_path):
    folder, _ = place
    done = results(tmp_path, off(place, f"{folder}/run"))
    (row,) = done["results"]
    with np.load(done["errors"]) as stored:
        for metric in METRICS:
            frames = stored[f"people/{metric}"].astype(float)
            assert frames.shape == (row["n"],)
            assert frames.mean() == pytest.approx(row[metric], rel=1e-5)
            actions = stored["people/actions"][stored["people/action"]]
            for name, means in row["actions"].items():
                assert frames[actions == name].mean() == pytest.approx(means[metric], rel=1e-5)
        assert str(stored["people/protocol"]) == row["protocol"]


def test_depth_and_targets_may_be_other_ones_and_the_protocol_says_so(place, tmp_path):
    folder, summary = place
    target = f'targets=["npz:{folder}/people.npz?stride=2"]'
    (row,) = results(tmp_path, off(place, f"{folder}/run", "depth=noisy_zbuffer", "depth.log_scale=0.5", target))[
        "results"
    ]
    assert "depth=rendered-noisy_zbuffer(oracle)" in row["protocol"]
    assert row["n"] == -(-summary["results"][0]["n"] // 2)
    assert abs(row["mpjpe_mm"] - summary["results"][0]["mpjpe_mm"]) > 1.0


WRONG = {
    "no lifter": (["targets=[synthetic:near]"], 2, "one lifter"),
    "two lifters": (["{run}/best.pt", "model=x.onnx"], 2, "one lifter"),
    "two checkpoints": (["{run}", "{run}/best.pt"], 2, "expected key=value and one path"),
    "another lifter": (["{run}", "d_ref=3"], 2, "d_ref is part of what the lifter was trained with"),
    "another method": (["{run}", "method=poseaug"], 2, "method is part"),
    "unknown key": (["{run}", "dpth=zbuffer"], 2, "did you mean 'depth'"),
    "unknown option": (["{run}", "tta=flop"], 2, "did you mean 'flip'"),
    "no switch": (["{run}", "trust=maybe"], 2, "trust expects true or false"),
    "unknown depth": (["{run}", "depth=laser"], 2, "unknown depth 'laser'"),
    "wrong depth option": (["{run}", "depth.foo=1"], 2, "no option 'foo'"),
    "unknown target": (["{run}", "targets=[nope:x]"], 2, "unknown target 'nope'"),
    "missing target": (["{run}", "targets=[npz:{run}/none.npz]"], 4, "none.npz"),
    "missing checkpoint": (["{run}/none.pt"], 4, "no checkpoint at"),
    "empty folder": (["{tmp}"], 4, "no checkpoint"),
    "weights of a file": (["{run}/best.pt", "weights=last"], 4, "chooses a file in a run's folder"),
    "not a checkpoint": (["{tmp}/text.pt"], 4, "cannot be loaded as weights"),
    "half a checkpoint": (["{tmp}/half.pt"], 4, "cannot be loaded as weights"),
    "no configuration": (["{tmp}/bare.pt"], 4, "carries no configuration"),
    "broken configuration": (["{tmp}/broken.pt"], 4, "configuration"),
    "impossible configuration": (["{tmp}/impossible.pt"], 2, "frames must be odd"),
    "no weights": (["{tmp}/empty.pt"], 4, "holds no weights"),
    "other weights": (["{tmp}/other.pt"], 4, "does not fit"),
    "not a number": (["{tmp}/nan.pt"], 4, "not finite"),
    "reversed single frames": (["{run}", "tta=reverse"], 4, "single frames"),
    "published, inputs unsaid": (["published={run}/best.pt", "lifter=simple_baseline"], 2, "inputs=..."),
    "published, lifter unsaid": (["published={run}/best.pt", "inputs=xy"], 2, "lifter=..."),
    "published, of other channels": (
        ["published={run}/best.pt", "lifter=simple_baseline", "lifter.width=16", "inputs=xy"], 4, "does not fit",
    ),
    "published, of another lifter": (["published={tmp}/bare.pt", "lifter=sem_gcn", "inputs=xyd"], 4, "does not fit"),
    "published and trained": (["published={run}/best.pt", "lifter=sem_gcn", "inputs=xy", "epochs=3"], 2, "no meaning"),
    "no store": (["{run}", "tracking.uri=mlruns"], 2, "tracking.uri must be"),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong_files(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    best = place[0] / "run" / "best.pt"
    state = load_file(best)
    (folder / "text.pt").write_text("not a checkpoint")
    (folder / "half.pt").write_bytes(best.read_bytes()[: best.stat().st_size // 2])
    first = state["lifter"]["first.linear.weight"]
    variants = {
        "bare": {"lifter": state["lifter"]},
        "broken": state | {"config": {"render": 3}},
        "impossible": state | {"config": state["config"] | {"frames": 2}},
        "empty": state | {"lifter": 3},
        "other": state | {"config": state["config"] | {"inputs": "xy"}},
        "nan": state | {"lifter": state["lifter"] | {"first.linear.weight": first * torch.nan}},
    }
    for name, changed in variants.items():
        save_file(folder / f"{name}.pt", changed)
    return folder


@pytest.mark.parametrize("case", list(WRONG))
def test_bad_input_is_one_clear_message_and_an_exit_code(place, wrong_files, capsys, case, tmp_path):
    words, code, reason = WRONG[case]
    given = with_targets(place, [w.format(run=place[0] / "run", tmp=wrong_files) for w in words])
    given += [] if any(w.startswith("tracking") for w in words) else ["tracking.uri=off"]
    given += [f"cache={place[0]}/cache", f"out={tmp_path}/result.json"]
    assert evaluate.main(given) == code
    said = capsys.readouterr().err
    assert reason in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", ["dg.evaluate", "dg.export"])
def test_help_names_the_options_and_loads_neither_torch_nor_ray(program):
    script = (
        f"import sys; from {program} import main; assert main([]) == 2; assert main(['--help']) == 0;"
        "assert not {'torch', 'ray', 'mlflow'} & sys.modules.keys(), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CHECKPOINT" in done.stdout


# -- test-time augmentation


def clips(rows: int = 24, skeleton=H36M_16) -> PoseBatch:
    return PoseBatch.from_joints(make_joints(rows, len(skeleton))[:, None], make_camera(rows), skeleton)


class LateWindow(Lifter):
    """Answers for the last frame of its window alone."""

    def __init__(self) -> None:
        super().__init__(H36M_16, 2)

    def target_frames(self, frames: int) -> slice:
        return slice(frames - 1, frames)

    def forward(self, features):
        return torch.zeros(len(features), 1, len(self.skeleton), 3)


@pytest.fixture
def temporal() -> LifterPredictor:
    return LifterPredictor(VideoPose3D(H36M_16, 2, VideoPose3DOptions(widths=(3, 3), width=16)), InputSpec("xy", "off"))


@pytest.mark.parametrize("tta", TTA)
def test_augmented_predictions_do_not_change_under_what_they_average_over(temporal, tta):
    batch = Windows.over(torch.arange(24) // 12, 9).gather(clips(), torch.arange(24))
    predicted = predict_augmented(temporal, batch, tta)
    mirrored = predict_augmented(temporal, batch.flip(), tta)[..., list(H36M_16.flip), :] * torch.tensor([-1.0, 1, 1])
    backwards = batch.replace(joints_2d=batch.joints_2d.flip(1), joints_3d=batch.joints_3d.flip(1))
    turned = predict_augmented(temporal, backwards, tta)
    assert torch.allclose(predicted, mirrored, atol=1e-6) == ("flip" in tta)
    assert torch.allclose(predicted, turned, atol=1e-6) == ("reverse" in tta)


def test_flip_and_reverse_are_the_mean_of_four_passes(temporal):
    batch = Windows.over(torch.zeros(24, dtype=torch.int64), 9).gather(clips(), torch.arange(24))
    backwards = batch.replace(joints_2d=batch.joints_2d.flip(1), joints_3d=batch.joints_3d.flip(1))
    halves = [predict_augmented(temporal, b, "flip") for b in (batch, backwards)]
    whole = predict_augmented(temporal, batch, "flip+reverse")
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, atol=1e-6, rtol=0)


def test_reversing_needs_windows_that_are_answered_in_the_middle(temporal):
    late = LifterPredictor(LateWindow(), InputSpec("xy", "off"))
    windows = Windows.over(torch.zeros(24, dtype=torch.int64), 9)
    with pytest.raises(ValueError, match="middle of its window"):
        predict_all(late, clips(), "reverse", windows)
    with pytest.raises(ValueError, match="tta must be one of"):
        predict_all(temporal, clips(), "both", windows)


def test_every_augmentation_has_a_protocol_of_its_own(temporal, tmp_path):
    np.savez(tmp_path / "people.npz", **cross_arrays())
    data = CrossDataset(CrossOptions(f"{tmp_path}/people.npz", flip_tta=True)).load("test")
    data = replace(data, poses=data.poses.convert(H36M_16))
    own = evaluate_poses(temporal, data, "none", 9)
    protocols = [evaluate_poses(temporal, data, "none", 9, tta).protocol for tta in TTA]
    assert len(set(protocols)) == len(TTA)
    assert own.protocol == protocols[TTA.index("flip")]


def test_a_lifter_alone_is_evaluated_in_eval_mode():
    lifter = VideoPose3D(H36M_17, 2, VideoPose3DOptions(width=16, dropout=0.5)).train()
    predictor = LifterPredictor(lifter, InputSpec("xy", "off"))
    poses = clips(8, H36M_17)
    assert torch.equal(predict_all(predictor, poses), predict_all(predictor, poses))


# -- what the released code computes


@pytest.mark.long
@pytest.mark.shared
def test_the_released_trained_lifter_scores_what_its_own_evaluation_printed(shared, tmp_path):
    data = shared / "data"
    done = results(
        tmp_path,
        [
            f"published={shared / 'conformance' / 'poseaug_trained_simple_baseline.pth'}", "lifter=simple_baseline",
            "inputs=xy", "tracking.uri=off", "device=cpu",
            f'targets=["h36m:{data / "cmu"}?stride=5","npz:{data}/cross/uiprmd_3dhp.npz?stride=3&flip_tta=true"]',
        ],
    )  # fmt: skip
    printed = {"h36m": (89.124429, 72.904428), "uiprmd_3dhp": (166.680601, 110.326825)}
    for row in done["results"]:
        assert (row["mpjpe_mm"], row["pa_mpjpe_mm"]) == pytest.approx(printed[row["target"]], abs=0.01)
    assert [row["protocol"].partition("/tta=")[2].partition("/")[0] for row in done["results"]] == ["none", "flip"]
