import csv
import io
import math
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dg.compare import __main__ as compare
from dg.compare.comparison import compare as compared
from dg.compare.settings import CompareOptions
from dg.compare.stored_runs import read_results
from dg.compare.tables import build_tables
from dg.compare.text import FORMATS
from dg.evaluation.metrics import PoseErrors
from dg.settings.errors import ConfigError, OptionError
from dg.tracking import METRICS, make_tracker, protocol_tag, run_tags, target_metric
from dg.tracking.names import metric_name
from tests.compare.make_results import benchmark_id
from tests.pictures import shows_something
from tests.stores import new_store


def test_wrong_options_are_all_named_with_what_is_possible():
    with pytest.raises(ConfigError) as wrong:
        compare.parse_options(["selction=last", "format=pdf", "stray", "publish=all", "published=everything"])
    words = ("'selection'", "latex", "key=value", "did you mean 'published'", "similar")
    assert all(word in str(wrong.value) for word in words)
    assert compare.main(["selction=last"]) == 2
    assert compare.parse_options(["tracking.uri=off"]).tracking_uri == "off"


def test_options_may_be_written_with_dashes():
    plain = compare.parse_options(["paper=auglift", "table=4", "format=csv"])
    for words in (
        ["--paper", "auglift", "--table", "4", "format=csv"],
        ["--paper=auglift", "--table=4", "--format=csv"],
    ):
        assert compare.parse_options(words) == plain
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        compare.parse_options(["--papr", "auglift"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["paper=auglift"], "go together"),
        (["table=4"], "go together"),
        (["format=png"], "out=FILE.png"),
        (["format=png", "out=x.png", "paper=auglift", "table=4"], "no paper="),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, reason, capsys):
    assert compare.main(words) == 2
    assert reason in capsys.readouterr().err


def test_a_missing_database_is_not_created(tmp_path, capsys):
    assert compare.main([f"tracking_uri=sqlite:///{tmp_path / 'no.db'}"]) == 4
    assert "train first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_none_is_one_clear_error(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, only some text" * 100)
    assert compare.main([f"tracking_uri=sqlite:///{tmp_path / 'mlflow.db'}"]) == 2
    assert "cannot read the tracking store" in capsys.readouterr().err


def test_help_is_short_work():
    code = (
        "import sys, dg.compare.__main__; assert dg.compare.__main__.main(['--help']) == 0;"
        "assert not {'torch', 'mlflow', 'numpy', 'yaml', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(f" {option}=" in shown for option in vars(CompareOptions()))


def test_every_metric_of_an_evaluation_has_a_place():
    assert set(METRICS) == set(PoseErrors.__dataclass_fields__) - {"action"}


def track(uri, folder, method, seed, value, status="FINISHED", tags=None, parent=None, old=False):
    tracker = make_tracker(uri, "dg", folder)
    params = {"method": {"name": method}, "seed": seed, "epochs": 2, "batch_size": 8, "data": {"name": "synthetic"}}
    identity = run_tags(
        method=method, regime="DG", lifter="simple_baseline", inputs="xyd", dscale2d="focal", depth_source="zbuffer",
        selection="source_val", oracle=("depth",), protocols={"near": "near/x/n5"},
    )  # fmt: skip
    tracker.start(f"{method}-{seed}", params, identity | (tags or {}), parent_run_id=parent)
    names = ("near", "unlabelled")
    metrics = {
        metric_name("final", "source_val", t, "mpjpe_mm") if old else target_metric(t, "mpjpe_mm"): value for t in names
    }
    tracker.log_metrics(metrics, step=2)
    if not old:
        rows = [{"target": "near", "selection": "oracle", "mpjpe_mm": value - 9, "pck150": 7.0, "n": 5}]
        tracker.log_table(rows, "selections.json")
    tracker.finish(status)
    return tracker.run_id


def track_benchmark(uri, folder, method, seed, value, regime="DG", adapted_to=""):
    """A blind run on all of Human3.6M, tested on the 2,929 frames of 3DHP."""
    tracker = make_tracker(uri, "dg", folder)
    data = {"name": "h36m", "label": "h36m", "stride": 1, "subjects_train": ["S1", "S5", "S6", "S7", "S8"]}
    params = {"method": {"name": method}, "seed": seed, "epochs": 50, "batch_size": 1024, "data": data}
    identity = run_tags(
        method=method, regime=regime, lifter="simple_baseline", inputs="xy", dscale2d="off", depth_source="none",
        selection="source_val", protocols={"3DHP-2929": benchmark_id("3DHP-2929")}, adapted_to=adapted_to,
    )  # fmt: skip
    tracker.start(f"{method}-{seed}", params, identity)
    tracker.log_metrics({metric_name("final", "source_val", "3DHP-2929", "mpjpe_mm"): value}, step=50)
    tracker.finish()


def test_runs_that_the_tracker_wrote_become_a_table(tmp_path, capsys):
    uri = new_store(tmp_path)
    assert compare.main([f"tracking_uri={uri}"]) == 4
    assert "no run at all" in capsys.readouterr().err
    parent = track(uri, tmp_path / "grid", "erm", 9, 1.0, tags={"sweep.id": "none: a parent"})
    for seed, value in ((0, 90.0), (1, 94.0)):  # one of an earlier version
        track(uri, tmp_path / f"e{seed}", "erm", seed, value, old=bool(seed))
    track(uri, tmp_path / "p", "poseaug", 0, 80.0, parent=parent)
    track(uri, tmp_path / "k", "poseaug", 1, 1.0, status="KILLED")
    track(uri, tmp_path / "s", "poseaug", 2, 2.0, tags={"sweep.id": "s1"})
    assert compare.main([f"tracking_uri={uri}"]) == 0
    shown = capsys.readouterr().out
    assert "92.0 ± 2.8 (2)" in shown
    assert "-10.0 (1)" in shown
    assert "zbuffer (oracle)" in shown
    assert "Left out: 1 killed runs, 2 sweep trials." in shown
    assert "unlabelled" not in shown, "a result without a protocol is no result"
    assert protocol_tag("near") == "protocol.near"
    out = tmp_path / "deep" / "table.csv"
    assert compare.main([f"tracking_uri={uri}", "format=csv", f"out={out}"]) == 0
    assert [row["method"] for row in csv.DictReader(out.open())] == ["erm", "poseaug"]
    assert compare.main([f"tracking_uri={uri}", "experiment=dgg"]) == 4
    assert "did you mean 'dg'" in capsys.readouterr().err
    assert compare.main([f"tracking_uri={uri}", "selection=last"]) == 4
    capsys.readouterr()
    assert compare.main([f"tracking_uri={uri}", "selection=oracle"]) == 0
    assert "71.0 (1)" in capsys.readouterr().out, "from the table of selections"
    _only_the_children_of_a_parent(uri, parent, capsys)


HOSTILE = "=HYPERLINK(1)\n| x | `y` <img> [a](http://b) \\input{/etc/passwd} \x1b[2J\x07 \u202e **b**"


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_names_from_a_store_stay_text_in_every_table(form):
    text, plain = _table_of(HOSTILE, form), _table_of("other", form)
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert len(text.splitlines()) == len(plain.splitlines())
    if form == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert all(not value.startswith(("=", "+", "@")) for value in row.values())
    elif form == "markdown":
        rows = [re.sub(r"\\.", "", line) for line in text.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) == 1
        assert not re.search(r"[`<]|\*\*|\]\(", rows[-1].replace("**", ""))
    else:
        assert "\\input" not in text


def _table_of(name, form):
    data = SimpleNamespace(
        tags=run_tags(method=name, regime="DG", lifter=name, inputs=name, dscale2d="focal", depth_source=name,
                      selection="source_val", protocols={"near": f"near/{name}"}),
        params={"method.name": name, "seed": "0", name: name},
        metrics={metric_name("final", "source_val", "near", "mpjpe_mm"): 1},
    )  # fmt: skip
    results, _ = read_results([_stored(data)], "source_val", "mpjpe_mm")
    return FORMATS[form](build_tables(results, "source_val", "mpjpe_mm"))


def _stored(data):
    return SimpleNamespace(data=data, info=SimpleNamespace(status="FINISHED", start_time=1))


def test_results_that_are_no_finite_number_are_left_out_and_counted():
    tags = run_tags(method="erm", regime="DG", lifter="x", inputs="xy", dscale2d="off", depth_source="none",
                    selection="source_val", protocols={"near": "near/x", "wide": "wide/x"})  # fmt: skip

    def stored(near, wide):
        metrics = {metric_name("final", "source_val", t, "mpjpe_mm"): v for t, v in (("near", near), ("wide", wide))}
        return _stored(SimpleNamespace(tags=tags, params={"seed": "0"}, metrics=metrics))

    runs = [stored(1.0, math.nan), stored(math.inf, -math.inf), stored(2.0, 3.0)]
    results, left_out = read_results(runs, "source_val", "mpjpe_mm")
    assert [r.values for r in results] == [{"near": 1.0}, {"near": 2.0, "wide": 3.0}]
    assert left_out == {"results that are no finite number": 3}


def _only_the_children_of_a_parent(uri, parent, capsys):
    text = compared(CompareOptions(tracking_uri=uri, parent=parent, format="csv"))
    assert [row["method"] for row in csv.DictReader(io.StringIO(text))] == ["poseaug"]
    for stranger in ("0" * 32, "it's"):
        assert compare.main([f"tracking_uri={uri}", f"parent={stranger}"]) == 4
        assert "was started by the run" in capsys.readouterr().err


def test_our_runs_stand_beside_the_papers_in_every_output(tmp_path, capsys, pictures):
    uri = new_store(tmp_path)
    for seed in range(5):
        track_benchmark(uri, tmp_path / f"e{seed}", "erm", seed, 86.0 + seed)
        track_benchmark(uri, tmp_path / f"p{seed}", "poseaug", seed, 76.0 + seed)
    track_benchmark(uri, tmp_path / "test", "poseda", 0, 60.0, "DA", "3DHP-2929:test")
    track_benchmark(uri, tmp_path / "train", "poseda", 1, 70.0, "DA", "3DHP-2929:train")
    assert compare.main([f"tracking_uri={uri}"]) == 0
    dg, da = capsys.readouterr().out.split("### DA")
    assert "PoseAug, Table 4; ORACLE selection" in dg
    assert "-10.0 [-10.0, -10.0] (5)*" in dg
    assert "3DHP-2929:t" not in dg
    assert [line.split("|")[4].strip() for line in da.splitlines() if "| ours" in line] == [
        "3DHP-2929:test", "3DHP-2929:train",
    ]  # fmt: skip
    assert compare.main([f"tracking_uri={uri}", "--paper", "poseaug", "--table", "4"]) == 0
    assert "85.3 / **88.0 ± 1.6 (5)**" in capsys.readouterr().out
    picture = tmp_path / "deep" / "table.png"
    assert compare.main([f"tracking_uri={uri}", "format=png", f"out={picture}"]) == 0
    assert shows_something(picture)


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_a_papers_table_is_shown_without_a_store_too(form, tmp_path, capsys):
    words = [f"tracking_uri=sqlite:///{tmp_path / 'no.db'}", "paper=auglift", "table=4", f"format={form}"]
    assert compare.main(words) == 0
    assert "92.6" in capsys.readouterr().out
    assert compare.main(["paper=auglft", "table=4"]) == 2
    assert "did you mean 'auglift'" in capsys.readouterr().err


def test_a_picture_is_no_text():
    with pytest.raises(OptionError, match="no text"):
        compared(CompareOptions(format="png", out="x.png"))
