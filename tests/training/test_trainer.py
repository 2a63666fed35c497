"""The laws of a run: the same seed gives the same weights, however often it is stopped and whoever renders."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from dg.files.checkpoint import load_file
from dg.methods import METHODS
from dg.methods.finite_steps import DivergedError
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import RunInfo, TrainConfig
from dg.settings.errors import exit_code
from dg.settings.plugins import resolve
from dg.train import main, run
from dg.training.build import make_method
from dg.training.problem import load_problem
from dg.training.rendering import make_live_depth
from dg.training.run import train
from dg.training.trainer import Trainer, evaluation_interval
from tests.cases import mostly_long
from tests.train_process import has_checkpoint, wait_for

SMALL = [
    "pool=local", "tracking.uri=off", "data.clips=2", "data.frames=20", "batch_size=16", "lifter.width=32",
    "epochs=2", "evaluate_every=1", "device=cpu", "threads=1", "render.lookahead=2", "virtual_cameras=1",
    "targets=['synthetic:near?clips=2&frames=8','synthetic:wide?clips=2&frames=8']",
]  # fmt: skip
ONE_TARGET = ["targets=[synthetic:near?clips=2&frames=8]", "virtual_cameras=0"]
# So that few steps see every stage of a method.
QUICK = {"warmup_iterations": 1, "history": 30, "population": 200}
POSEAUG = ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1", "method.translation=residual"]


def small(tmp_path: Path, *words: str) -> TrainConfig:
    """Its depth cache is that of all tests: what is not augmented is drawn once."""
    return parse([*SMALL, f"cache={tmp_path.parent / 'cache'}", f"out={tmp_path / 'run'}", *words])


def last_weights(out: str) -> dict[str, torch.Tensor]:
    newest = sorted(Path(out).glob("checkpoint-*.pt"))[-1]
    return load_file(newest)["method"]["networks"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_writes_what_other_work_relies_on(tmp_path):
    summary = run(small(tmp_path, *POSEAUG), quiet=True)
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary))
    wanted = {"run_id", "method", "lifter", "inputs", "dscale2d", "d_ref", "depth", "seed", "epochs", "wall_s"}
    wanted |= {"results", "ledger", "throughput"}
    assert wanted <= written.keys()
    wanted = {"protocol", "target", "selection", "n", "mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc"}
    assert all(wanted <= row.keys() for row in written["results"])
    assert {row["selection"] for row in written["results"]} == {"last", "source_val", "virtual_cameras", "oracle"}
    ledger = written["ledger"]
    assert ledger["submitted"] == ledger["done"] + ledger["quarantined"] > 0
    assert written["throughput"].keys() == {"rendered_poses_per_s", "trained_poses_per_s"}


def test_depth_results_are_labelled_oracle_and_oracle_selection_is_never_worse(tmp_path):
    rows = run(small(tmp_path, "method=erm", "epochs=3"), quiet=True)["results"]
    assert all("oracle" in row["protocol"] for row in rows)
    by = {(r["target"], r["selection"]): r["mpjpe_mm"] for r in rows}
    assert all(by[t, "oracle"] <= min(by[t, "last"], by[t, "source_val"]) for t in {t for t, _ in by})


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["method=erm"], id="erm"),
        pytest.param(["method=random_rigid"], id="rigid"),
        pytest.param(POSEAUG, marks=pytest.mark.long, id="poseaug"),
        pytest.param(
            [*POSEAUG, "threads=2", "data.clips=8", "batch_size=512"], marks=pytest.mark.long, id="poseaug, two threads"
        ),
    ],
)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, words):
    configs = [
        small(tmp_path, *words, "max_steps=5", f"seed={seed}", f"out={tmp_path / str(number)}", *ONE_TARGET)
        for number, seed in enumerate((3, 3, 4))
    ]
    for config in configs:
        run(config, quiet=True)
    first, again, other = (last_weights(config.out) for config in configs)
    assert same(first, again)
    assert not same(first, other)


# The others stand for these; a new method is among the others.
ENOUGH = {"adaptpose", "cee_net", "daf_dg", "dh_aug", "evoskeleton", "posegu", "random_camera", "random_rigid"}


@pytest.mark.parametrize("name", mostly_long(sorted(METHODS), METHODS.keys() - ENOUGH))
def test_every_method_spends_the_same_budget_of_lifter_steps(tmp_path, name):
    method = resolve(METHODS, "method", name)
    known = {f.name for f in fields(method.Options)}
    words = [f"method={name}", "pretrain_epochs=0", "epochs=1", "batch_size=32", *ONE_TARGET]
    words += [f"method.{option}={value}" for option, value in QUICK.items() if option in known]
    words += ["adapt_to=synthetic:wide"] if method.regime == "DA" else []
    config = small(tmp_path, *words)
    budget = config.epochs * (len(load_problem(config, check_plugins(config)).train) // config.batch_size)
    # A method that makes two lifter steps an update may pass the end by one.
    assert budget <= run(config, quiet=True)["lifter_steps"] <= budget + 1


def test_max_steps_ends_the_training_early(tmp_path):
    assert run(small(tmp_path, "method=erm", "max_steps=3", "inputs=xy"), quiet=True)["lifter_steps"] == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stops, and its summary."""
    folder = tmp_path_factory.mktemp("whole")
    config = small(folder, *POSEAUG, "depth=noisy_zbuffer", "max_steps=14")
    return config, run(config, quiet=True)


@pytest.mark.parametrize("stop_at", mostly_long([2, 6], [2]))
def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path, whole, stop_at):
    config, summary = whole
    cut = replace(config, out=str(tmp_path / "cut"), resume="auto")
    interrupted = stopped_after(cut, stop_at)
    assert interrupted["interrupted"]
    resumed = run(cut, quiet=True)
    assert not resumed["interrupted"]
    assert same(last_weights(config.out), last_weights(cut.out))
    assert resumed["results"] == json.loads(json.dumps(summary["results"]))


def test_a_run_whose_newest_checkpoint_is_cut_goes_on_from_the_one_before(tmp_path, capsys):
    words = [*SMALL, "method=erm", "inputs=xy", "checkpoint_minutes=1e-9", "cache=off", f"out={tmp_path / 'run'}"]
    assert main(words) == 0
    *_, before, newest = sorted((tmp_path / "run").glob("checkpoint-*.pt"))
    weights = last_weights(str(tmp_path / "run"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    capsys.readouterr()
    assert main([*words, "resume=auto"]) == 0
    told = capsys.readouterr().out
    assert f"warning: {newest}" in told
    assert f"going on from {before.name}" in told
    assert same(last_weights(str(tmp_path / "run")), weights)
    for path in (tmp_path / "run").glob("checkpoint-*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    assert main([*words, "resume=auto"]) == 4
    assert "resume=overwrite" in capsys.readouterr().err


def stopped_after(config: TrainConfig, updates: int) -> dict:
    """Run until so many updates have been made, then ask it to stop, as Ctrl-C does."""
    made, plain = [], Trainer._update

    def counted(self, key, batch, proposal):
        plain(self, key, batch, proposal)
        made.append(key)
        if len(made) == updates:
            self.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_update", counted)
        return train(config, RunInfo(config.out, "off", "cut", ""), lambda record: None, threading.Event())


def test_the_second_run_renders_no_unaugmented_pose_again(tmp_path):
    words = ["method=erm", f"cache={tmp_path / 'cache'}"]
    first = run(small(tmp_path, *words), quiet=True)["ledger"]
    second = run(small(tmp_path, *words, "d_ref=5.5", f"out={tmp_path / 'second'}"), quiet=True)["ledger"]
    assert first["done"] > 0
    assert second["submitted"] == 0


def test_another_depth_source_never_reads_a_stale_cache(tmp_path):
    words = ["method=erm", f"cache={tmp_path / 'cache'}"]
    run(small(tmp_path, *words), quiet=True)
    other = run(small(tmp_path, *words, "depth=noisy_zbuffer", f"out={tmp_path / 'n'}"), quiet=True)
    assert other["ledger"]["done"] > 0


def test_a_loss_that_is_no_number_stops_the_run_with_its_own_exit_code(tmp_path):
    with pytest.raises(DivergedError) as caught:
        run(small(tmp_path, "method=erm", "inputs=xy", "lr=1e30", "batch_size=8"), quiet=True)
    assert exit_code(caught.value) == 5


def test_gradients_that_stay_no_numbers_end_the_run_and_leave_the_batch_behind(tmp_path):
    with pytest.raises(DivergedError, match=r"10 steps in a row(.|\n)*diverged.pt") as caught:
        run(small(tmp_path, "method=erm", "inputs=xy", "lr=1e38", "batch_size=8", "epochs=8"), quiet=True)
    assert exit_code(caught.value) == 5
    dump = load_file(tmp_path / "run" / "diverged.pt")
    assert dump["batches"][0]["poses"]["joints_3d"].isfinite().all()  # the data were not at fault


def test_the_lifter_starts_from_a_given_checkpoint(tmp_path):
    first = small(tmp_path, "method=erm", "inputs=xy")
    run(first, quiet=True)
    config = small(tmp_path, "method=erm", "inputs=xy", f"init_from={tmp_path / 'run' / 'best.pt'}")
    options = check_plugins(config)
    lifter = make_method(config, options, load_problem(config, options)).lifter
    assert same(dict(lifter.state_dict()), load_file(tmp_path / "run" / "best.pt")["lifter"])


def test_a_fresh_lifter_answers_zero_or_as_its_authors_draw_it(tmp_path):
    def loss_after(steps: int, start: str) -> float:
        words = ("method=erm", "inputs=xy", "data.clips=8", "epochs=100", f"max_steps={steps}", "evaluate_every=100")
        out = f"out={tmp_path / f'{start}-{steps}'}"
        return run(small(tmp_path, *words, *ONE_TARGET, f"output_init={start}", out), quiet=True)["results"][0][
            "mpjpe_mm"
        ]

    config = {
        start: small(tmp_path, "method=erm", "inputs=xy", f"output_init={start}") for start in ("zero", "original")
    }
    problem = load_problem(config["zero"], check_plugins(config["zero"]))
    lifters = {start: make_method(c, check_plugins(c), problem).lifter for start, c in config.items()}
    differ = {
        n for n, v in lifters["zero"].state_dict().items() if not torch.equal(v, lifters["original"].state_dict()[n])
    }
    assert differ == {"last.weight", "last.bias"}
    assert torch.count_nonzero(lifters["zero"].last.weight) == 0
    assert loss_after(60, "zero") < 0.7 * loss_after(60, "original")


def test_resuming_with_other_settings_is_refused(tmp_path):
    run(small(tmp_path, "method=erm", "inputs=xy"), quiet=True)
    words = [*SMALL, "method=erm", "inputs=xy", "seed=9", "resume=auto", f"out={tmp_path / 'run'}"]
    assert main(words) == 4


BAD = [
    (["method=nope"], 2, "unknown method"),
    (["epochs=0"], 2, "epochs must be positive"),
    (["data=h36m", "data.root=absent-folder"], 4, "absent-folder"),
    (['targets=["npz:absent.npz"]'], 4, "absent.npz"),
    (["body=smpl", "body.path=absent.pkl"], 4, "absent.pkl"),
    (["init_from=absent.pt"], 4, "absent.pt"),
    (["batch_size=1000000"], 2, "larger than"),
    (["tracking.uri=somewhere"], 2, "tracking.uri"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[" ".join(w) for w, _, _ in BAD])
def test_bad_input_is_one_clear_message_a_documented_code_and_no_half_file(tmp_path, capsys, words, code, message):
    base = [w for w in SMALL if not (w.startswith("data.") and words[0] == "data=h36m")]
    assert main([*base, f"out={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}", *words]) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert "Traceback" not in told
    assert not [*tmp_path.glob("run/*.json"), *tmp_path.glob("run/*.tmp")]


@pytest.mark.reliability
def test_ctrl_c_checkpoints_says_how_to_go_on_and_leaves_nothing_running(tmp_path):
    words = [*SMALL, "method=erm", "inputs=xy", "epochs=2000", "evaluate_every=1000", f"out={tmp_path / 'run'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dg", "train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: has_checkpoint(tmp_path))
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    assert f"\n  dg train {SMALL[0]} " in out
    assert "resume=auto" in out
    assert load_file(sorted((tmp_path / "run").glob("checkpoint-*.pt"))[-1])["method"]["networks"]


def test_live_depth_gives_each_valid_row_its_own_depth_and_marks_the_others(tmp_path):
    config = small(tmp_path, "method=erm")
    options = check_plugins(config)
    live = make_live_depth(config, options, 0.0)
    assert live is not None
    poses = load_problem(config, options).train.poses[:6]
    poses = poses.replace(valid=torch.tensor([True, False, True, True, False, True]))
    with live.pool:
        rendered = live.submit(poses, seed=1).result()
        alone = live.submit(poses[2:3], seed=1).result()
    assert torch.equal(rendered.valid, poses.valid)
    assert torch.equal(rendered.depth[1], poses.joints_3d[1, :, :, 2])
    # The visible surface lies in front of the joint, by less than a body's width.
    behind = (rendered.joints_3d[..., 2] - rendered.depth)[rendered.valid]
    assert (behind > -0.05).float().mean() > 0.95
    assert behind.median() < 0.25
    assert torch.allclose(alone.depth[0], rendered.depth[2], atol=1e-5)


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (6, 1), (12, 1), (14, 2), (25, 3), (30, 3), (50, 5), (200, 20)])
def test_a_run_is_evaluated_about_ten_times(epochs, every):
    assert evaluation_interval(epochs) == every
