import csv
import io
import re
from dataclasses import replace

import pytest

from dg.compare.differences import add_differences
from dg.compare.published import published_results
from dg.compare.published_rows import add_published
from dg.compare.sheets import Sheet, escape, to_latex, to_markdown
from dg.compare.text import CSV_HEAD, FORMATS, tables_to_csv
from tests.compare.make_results import benchmark_run, run, tables


def finished(*runs):
    made = tables(*runs)
    for table in made:
        add_differences(table, "erm")
        add_published(table, published_results())
    return made


def test_the_text_of_a_small_comparison():
    # dg compare on two methods with two seeds each
    runs = [run(100.0, 0), run(102.0, 1), run(89.0, 0, method="poseaug"), run(93.0, 1, method="poseaug")]
    assert FORMATS["markdown"](finished(*runs)) == (
        "### DG · MPJPE (mm) · best by source validation · trained on Human3.6M epochs=20 batch_size=1024\n"
        "\n"
        "| method  | input                       | lifter         | near               |\n"
        "|---------|-----------------------------|----------------|--------------------|\n"
        "| ERM     | xyd+dscale2d=focal, zbuffer | SimpleBaseline | 101.0 ± 1.4 (2)    |\n"
        "| PoseAug | xyd+dscale2d=focal, zbuffer | SimpleBaseline | **91.0 ± 2.8 (2)** |\n"
        "\n"
        "- near: near/camera-frame/n10/h36m_16/2d=gt/depth=zbuffer/tta=none/data=0a1b\n"
        "- mean ± standard deviation (seeds)\n"
        "- fewer than 5 seeds: a look, no claim\n"
        "- no published number of this metric is about near\n"
        "\n"
        "### Difference to ERM · DG · MPJPE (mm) · best by source validation · trained on Human3.6M epochs=20 "
        "batch_size=1024\n"
        "\n"
        "| method  | input                       | lifter         | near                    |\n"
        "|---------|-----------------------------|----------------|-------------------------|\n"
        "| PoseAug | xyd+dscale2d=focal, zbuffer | SimpleBaseline | -10.0 [-11.0, -9.0] (2) |\n"
        "\n"
        "- mean over seeds of method less ERM (negative is better) [95% bootstrap interval, paired over seeds]; "
        "it covers other seeds, not other test frames\n"
        "- fewer than 5 seeds: such an interval is too narrow, and one seed has none; no difference is called certain "
        "on them\n"
    )


def test_a_table_says_what_its_numbers_are_made_of_and_whether_the_loss_still_fell():
    figures = {"lifter_steps": 5440.0, "source_poses": 1392640.0, "generator_steps": 0.0}
    other = figures | {"generator_steps": 3265.0, "loss_change_last_fifth_percent": -9.0}
    runs = [run(100.0, 0, made_of=figures), run(89.0, 0, method="poseaug", made_of=other)]
    text = FORMATS["markdown"](tables(*runs))
    made = text[text.index("### What the numbers are made of") :]
    assert re.search(r"\| ERM .*\| 5,440 \| 1,392,640 +\| - +\| 0 +\| - ", made)
    assert re.search(r"\| PoseAug .*\| 3,265 +\| -9\.0 ", made)
    assert "has not converged" in made
    newer = run(100.0, 0, started=2, made_of=figures | {"lifter_steps": 10880.0})
    assert "10,880" in FORMATS["markdown"](tables(runs[0], newer))
    assert "5,440" not in FORMATS["markdown"](tables(runs[0], newer))
    assert "made of" not in FORMATS["markdown"](tables(run(100.0, 0)))


def test_markdown_has_one_row_a_line_and_marks_the_best():
    text = FORMATS["markdown"](tables(run(100.0), run(80.0, method="poseaug")))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert "**80.0 (1)**" in lines[-1]


def test_csv_is_read_back_with_full_precision():
    (row,) = csv.DictReader(io.StringIO(tables_to_csv(tables(run(100.123456, 0), run(101.0, 1)))))
    assert list(row) == CSV_HEAD
    assert float(row["mean"]) == pytest.approx(100.561728)
    assert (row["n"], row["seeds"], row["target"], row["regime"]) == ("2", "0 1", "near", "DG")


def test_csv_holds_every_cell_difference_and_mark():
    (table,) = made = finished(
        *(
            benchmark_run(80.0 + s + shift, seed=s, method=m)
            for m, shift in (("erm", 0.0), ("poseaug", -9.5))
            for s in range(5)
        )
    )
    rows = list(csv.DictReader(io.StringIO(tables_to_csv(made))))
    ours = [r for r in rows if r["source"] == "ours"]
    assert {r["selection"] for r in ours} == {"source_val"}
    (difference,) = [r for r in ours if r["baseline"]]
    assert [float(difference[k]) for k in ("difference", "low", "high", "paired_seeds")] == [-9.5, -9.5, -9.5, 5]
    assert difference["certain"] == "True"
    published = {(r["method"], r["source"]): float(r["mean"]) for r in rows if r["source"] != "ours"}
    assert published == {(row.labels[0], row.source): v for row in table.published for v in row.cells.values()}
    assert all(r["regime"] == "DG" and r["depth"] == "none" for r in rows)


def test_csv_gives_a_published_number_without_depth_its_own_protocol():
    depth = "3DHP-2929/univ_annot3/n2929/h36m_16/2d=gt/depth=rendered-zbuffer(oracle)/tta=flip/data=0a1b"
    made = finished(benchmark_run(60.0, inputs="xyd", depth="zbuffer", protocols={"3DHP-2929": depth}))
    rows = [r for r in csv.DictReader(io.StringIO(tables_to_csv(made))) if r["source"] != "ours"]
    assert rows
    assert {r["depth"] for r in rows} == {"none"}
    assert all(r["protocol"] == depth.replace("rendered-zbuffer(oracle)", "none") for r in rows)


def test_latex_escapes_names_and_uses_rules():
    text = FORMATS["latex"](tables(run(100.0, 0), run(102.0, 1), run(80.0, method="my_own")))
    assert r"my\_own" in text
    assert r"$\pm$" in text
    assert r"\textbf{80.0 (1)}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


def test_latex_keeps_the_marks_in_its_caption():
    (table,) = tables(run(regime="DA", adapted_to="near:test"), selection="oracle")
    (caption,) = re.findall(r"\\caption\{.*", FORMATS["latex"]([table]))
    assert all(word in caption for word in ("DA", "ORACLE", "depth=zbuffer", r"h36m\_16"))


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("a_b & 50 % #1 $x", r"a\_b \& 50 \% \#1 \$x"),
        ("{x}", r"\{x\}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("~^<>", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"),
        ("1 ± 2 · 3 ≠", r"1 $\pm$ 2 $\cdot$ 3 $\neq$"),
    ],
)
def test_latex_prints_what_stands_there(plain, latex):
    assert escape(plain) == latex


def test_latex_is_balanced_and_has_as_many_cells_as_heads():
    sheet = Sheet.of("t_1", ["a", "b|c"], [["x & y", "1"], ["{", "2"]], 1, ["50 %"], ["remark"])
    text = to_latex([sheet])
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {1}
    assert text.startswith("% remark\n")


def test_markdown_escapes_what_would_end_a_cell():
    assert r"b\|c" in to_markdown([Sheet.of("t", ["a", "b|c"], [["x", "1"]], 1)])


@pytest.mark.parametrize("form", FORMATS)
def test_no_domain_adaptation_in_a_table_of_generalisation(form):
    runs = [benchmark_run(80.0), benchmark_run(60.0, method="poseda", regime="DA", adapted_to="3DHP-2929:test")]
    dg, da = finished(*runs)
    text = FORMATS[form]([dg])
    assert "poseda" not in text
    assert "PoseDA," in text, "its tables hold baselines too"
    assert not re.search(r"(^|[|,&] *)(PoseDA|GPA|AdaptPose[^,|&]*)( *[|,&])xy", text)
    assert "3DHP-2929:test" in FORMATS[form]([da])
    assert replace(runs[1]).regime == "DA"
