"""The report: one file that holds everything, and that a browser shows."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dg.compare.report import __main__ as report
from dg.compare.report.page import report_page
from dg.compare.report.responses import responses_of
from dg.compare.report.sources import runs_in_folders
from dg.compare.results import RunResult
from dg.compare.settings import CompareOptions
from dg.compare.stored_runs import NothingToCompareError
from dg.pose.joint_map import skeleton_named
from dg.settings.config import TrainConfig
from tests.browser import Browser, needs_chromium

JOINTS = skeleton_named("h36m_16").joints
HOSTILE = "</script><img src=x onerror=alert(1)>"


def png(shade):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "png")
    return file.getvalue()


def pose(seed):
    return np.random.default_rng(seed).normal(0, 0.3, (16, 3)).round(4).tolist()


def details(shift):
    examples = [
        {"which": w, "row": i, "mpjpe_mm": 50.0 * i + shift, "action": "walk", "predicted": pose(i), "truth": pose(9)}
        for i, w in enumerate(("best", "median", "worst"))
    ]
    elevation = [{"from_deg": d, "n": 5, "mpjpe_mm": 80.0 + shift + d} for d in (-15, 0, 15)]
    target = {"joints": dict.fromkeys(JOINTS, 90.0), "actions": {}, "elevation": elevation, "examples": examples}
    return {"epoch": 2, "skeleton": "h36m_16", "targets": {"near": target}}


def a_run(folder: Path, method: str, seed: int, error: float, **settings) -> None:
    """What `dg train` leaves in its folder, as far as the report reads it."""
    folder.mkdir(parents=True)
    row = {"target": "near", "epoch": 2, "n": 9, "protocol": "near/x/n9/h36m_16/2d=gt/depth=none/tta=none/data=0a"}
    row |= {"mpjpe_mm": error, "pa_mpjpe_mm": error / 2, "n_mpjpe_mm": error, "pck150": 80.0, "auc": 40.0}
    curves = [{"epoch": e, "val": 70.0 - e, "near": error + 9 - 3 * e} for e in (1, 2, 3)]
    summary = {
        "method": method, "lifter": "simple_baseline", "inputs": "xy", "depth": "none",
        "dscale2d": settings.get("dscale2d", "off"),
        "seed": seed, "regime": "DG", "results": [row | {"selection": s} for s in ("source_val", "last")],
        "curves": curves, "made_of": {"lifter_steps": 30.0},
    }  # fmt: skip
    source = {"name": "h36m", "label": "cmu"}
    config = TrainConfig(data=source, method={"name": method}, seed=seed, inputs="xy", **settings)
    config = config.plain() | {"lifter": {"name": "simple_baseline"}, "depth": {"name": "zbuffer"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "best.json").write_text(json.dumps(details(error)))
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))))
    (folder / "run.png").write_bytes(png(seed))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(5):
        a_run(folder / f"erm-{seed}", "erm", seed, 90.0 + seed)
        a_run(folder / f"poseaug-{seed}", "poseaug", seed, 70.0 + seed / 2)
    return folder


def test_a_grids_folder_becomes_one_file_that_asks_for_nothing(runs, tmp_path, capsys):
    out = tmp_path / "deep" / "report.html"
    out.parent.mkdir()
    assert report.main([str(runs), f"out={out}"]) == 0
    assert "10 runs" in capsys.readouterr().out
    page = out.read_text()
    asked = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page) + re.findall(r"url\(|@import|fetch\(", page)
    assert asked == []
    assert "92.0 ± 1.6 (5)" in page
    assert "<b>71.0 ± 0.8 (5)</b>" in page
    assert "-21.0 [" in page, "the difference to the baseline with its interval"
    assert "trained on CMU" in page
    assert "h36m" not in re.sub(r"h36m_16|Human3.6M", "", page.split("<h2>Runs")[0])
    assert page.count('class="dg-viewer"') == 10


def test_words_from_outside_stay_text(runs):
    found = runs_in_folders([runs])
    page = report_page(found, CompareOptions(), HOSTILE)
    assert HOSTILE not in page
    assert page.count("<script>") == page.count("</script>")


def test_folders_without_a_finished_run_are_one_clear_error(tmp_path, capsys):
    with pytest.raises(NothingToCompareError, match=r"summary\.json"):
        runs_in_folders([tmp_path])
    assert report.main([str(tmp_path), f"out={tmp_path / 'r.html'}"]) == 4
    assert "no finished run" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_a_run_of_an_earlier_version_costs_only_what_it_lacks(tmp_path):
    a_run(tmp_path / "old", "erm", 0, 90.0)
    for name in ("best.json", "config.yaml", "run.png"):
        (tmp_path / "old" / name).unlink()
    summary = json.loads((tmp_path / "old" / "summary.json").read_text())
    del summary["curves"], summary["made_of"]
    (tmp_path / "old" / "summary.json").write_text(json.dumps(summary))
    page = report_page(runs_in_folders([tmp_path / "old"]), CompareOptions(), "old")
    assert "90.0 (1)" in page
    assert "dg-viewer" not in page


def result_of(method="erm", seed=0, value=90.0, frames="1", protocol="near/x", **params):
    params = {"method.name": method, "frames": frames, "epochs": "3", **params}
    labels = {"regime": "DG", "lifter": "pose_former", "inputs": "xy", "dscale2d": "depth", "depth": "none"}
    return RunResult(
        method=method, seed=str(seed), started=seed, params=params, values={"near": value},
        protocols={"near": protocol}, **labels,
    )  # fmt: skip


def test_a_response_curve_joins_runs_that_differ_in_one_parameter_and_their_seed_alone():
    runs = [
        result_of("erm", seed, 90.0 - n + seed, str(n), **{"lifter.frames": str(n)}) for n in (1, 9) for seed in (0, 1)
    ]
    runs += [result_of("poseaug", 0, 80.0, "1"), result_of("erm", 0, 70.0, "27", epochs="99")]
    curves = responses_of(runs, "frames")
    assert curves == {"near": {"ERM · xy+dscale2d=depth": {1.0: [89.0, 90.0], 9.0: [81.0, 82.0]}}}
    assert responses_of(runs, "d_ref") == {}, "no run says its d_ref"


def test_curves_of_other_protocols_and_settings_stay_apart_and_say_so():
    runs = [result_of("erm", 0, d, "1", f"near/{p}", d_ref=str(d), lr=lr)
            for d in (3.5, 4.0) for p in "ab" for lr in ("0.1", "0.2")]  # fmt: skip
    curves = responses_of(runs, "d_ref")
    assert list(curves) == ["near (near/a)", "near (near/b)"]
    assert list(curves["near (near/a)"]) == [f"ERM · xy+dscale2d=depth · lr={lr}" for lr in ("0.1", "0.2")]


def test_a_sweeps_folder_shows_its_response_curve_and_compares_no_trials(tmp_path):
    for trial, d_ref in enumerate((3.5, 4.5, 6.0)):
        for seed in (0, 1):
            folder = tmp_path / f"trial-{trial}" / f"seed-{seed}"
            a_run(folder, "erm", seed, 90.0 + d_ref + seed, d_ref=d_ref, dscale2d="paper")
    page = report_page(runs_in_folders([tmp_path]), CompareOptions(), "a sweep")
    assert "6 trials" in page
    assert "<h2>Comparison" not in page
    chart = page.split("<h2>Response to reference depth d_ref (m)</h2>")[1].split("<h2>")[0]
    assert chart.count("<svg") == 2, "source validation and one target"
    assert re.findall(r">(3\.5|4\.5|6)</text>", chart) == ["3.5", "4.5", "6"] * 2
    assert chart.count("<circle") == 12
    assert re.findall(r"<summary>(.*?)</summary>", page)[0] == "trial-0/seed-0: ERM · xy · CMU · seed 0 · d_ref=3.5"
    assert "<title>ERM · xy+dscale2d=paper: 94.5</title>" in chart


@pytest.mark.slow
@needs_chromium
def test_the_report_in_a_browser_turns_its_poses_and_sorts_its_tables(runs, tmp_path):
    out = tmp_path / "report.html"
    assert report.main([str(runs), f"out={out}"]) == 0
    with Browser(1300, 900) as browser:
        shown = browser.open(
            out.as_uri(), "Comparison", "Error by epoch", "Error by viewpoint", "worst, median and best"
        )
        assert "PoseAug" in shown
        assert "MPJPE (mm)" in shown
        first = "document.querySelector('tbody tr td').innerText"
        browser.run("document.querySelectorAll('th')[3].click()")
        assert browser.run(first) == "PoseAug"
        browser.run("document.querySelectorAll('th')[3].click()")
        assert browser.run(first) == "ERM"
        view = "document.querySelector('.dg-view')"
        browser.run(f"{view}.scrollIntoView()")
        pixels = f"{view}.toDataURL()"
        before = browser.run(pixels)
        box = browser.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({view}.getBoundingClientRect())")
        browser.drag((box[0], box[1]), (box[0] + 120, box[1] + 30))
        assert browser.run(pixels) != before, "the pose turns"
        browser.picture(tmp_path / "report.png")
        assert browser.errors == []
