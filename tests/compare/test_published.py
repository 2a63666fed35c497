from collections import Counter
from dataclasses import fields

import pytest

from dg.compare.papers import PAPERS, find_table, table_names
from dg.compare.published import (
    TEXTS,
    PublishedError,
    check_entry,
    published_results,
)
from dg.datasets.protocols import BENCHMARKS, Protocol
from dg.methods import METHODS
from dg.settings.plugins import OptionError
from dg.tracking.names import METRICS
from lifters import LIFTERS

RESULTS = published_results()
ENTRY = {key: "x" for key in TEXTS} | {"id": "r9", "value": 1.0, "unit": "mm", "cited": False}


def test_all_numbers_are_there_once():
    assert len(RESULTS) == 880
    assert [r.id for r in RESULTS] == [f"r{number:04d}" for number in range(1, 881)]
    assert Counter(r.paper for r in RESULTS) == {
        "AugLift (arXiv 2508.07112 v4)": 342,
        "PoseDA (ICCV 2023)": 330,
        "PoseAug (CVPR 2021)": 144,
        "PoseAug repo (released code, result notebook)": 64,
    }


@pytest.mark.shared
def test_the_shipped_numbers_are_those_of_the_transcription(shared):
    import yaml

    entries = yaml.safe_load((shared / "design" / "published_results.yaml").read_text())["results"]
    assert [check_entry(entry) for entry in entries] == list(RESULTS)


def test_every_entry_means_something_in_our_terms():
    for result in RESULTS:
        meaning = result.meaning
        assert meaning.regime in ("DG", "DA", "supervised")
        assert meaning.selection in ("", "oracle")
        assert meaning.metric in (None, *METRICS)
        assert (meaning.metric is None) or (result.unit == ("percent" if meaning.metric in ("pck150", "auc") else "mm"))
        assert isinstance(meaning.protocol, Protocol)


def test_papers_own_numbers_are_on_the_protocols_that_the_survey_names():
    found = Counter(
        (r.paper.split()[0], name)
        for r in RESULTS
        for name, b in BENCHMARKS.items()
        if not r.meaning.protocol.differences(b.protocol("none"), leave_out=("depth", "source_2d")) and r.meaning.metric
    )
    assert set(found) == {
        ("PoseAug", "h36m"), ("PoseAug", "3DHP-2929"), ("PoseDA", "3DHP-2929"), ("AugLift", "3DPW-PB"),
    }  # fmt: skip


def test_quoted_numbers_never_have_a_whole_protocol():
    assert all(r.meaning.protocol.unknown() for r in RESULTS if r.cited)


def test_who_adapts_is_told_from_who_does_not():
    of = {(r.method, r.meaning.regime) for r in RESULTS}
    assert {("PoseDA", "DA"), ("GPA", "DA"), ("AdaptPose", "DA"), ("PoseAug", "DG"), ("DH-AUG", "DG")} <= of
    assert len({regime for method, regime in of if method in ("PoseDA", "GPA", "PoseAug", "AdaptPose")}) == 2
    (row,) = {r.meaning.adaptation for r in RESULTS if r.method == "AdaptPose VPose3D (target 3DHP)"}
    assert row == "3DHP, train or test not stated"
    assert all("supervised" != r.meaning.regime for r in RESULTS if r.train.startswith("Human3.6M"))


def test_the_papers_that_chose_on_the_test_set_are_marked():
    chosen = {r.paper.split()[0] for r in RESULTS if r.meaning.selection == "oracle"}
    assert chosen == {"PoseAug"}
    assert all("ORACLE selection" in r.source for r in RESULTS if r.meaning.selection == "oracle")


def test_depth_and_input_of_the_depth_methods_are_known():
    (row,) = [
        r for r in RESULTS if r.method == "AugLift + PoseAug (XYD + dscale2d)" and r.value == 92.6 and "4" in r.where
    ]
    meaning = row.meaning
    assert (meaning.protocol.depth, meaning.inputs, meaning.dscale2d, meaning.method) == (
        "images",
        "xyd",
        "paper",
        "poseaug",
    )
    assert meaning.protocol == BENCHMARKS["3DPW-PB"].protocol("images")


def test_our_names_among_the_meanings_are_plug_ins_or_planned_ones():
    planned = {"poseda", "dh_aug", "daf_dg", "cee_net", "posegu", "adaptpose", "evoskeleton"}
    later = {"sem_gcn", "st_gcn", "pose_former"}
    assert {r.meaning.method for r in RESULTS} - {None} <= set(METHODS) | planned
    assert {r.meaning.lifter for r in RESULTS} - {None, "*"} <= set(LIFTERS) | later
    assert {"erm", "poseaug"} <= {r.meaning.method for r in RESULTS}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": "57.6"}, "value must be a number"),
        ({"value": True}, "value must be a number"),
        ({"cited": "yes"}, "cited must be"),
        ({"unit": "cm"}, "unit one of"),
        ({"paper": ""}, "paper must be a text"),
        ({"where": 4}, "where must be a text"),
        ({"extra": "x"}, "expected keys"),
    ],
)
def test_a_malformed_entry_is_named(change, words):
    with pytest.raises(PublishedError, match="entry r9: .*" + words):
        check_entry(ENTRY | change)


@pytest.mark.parametrize("missing", [*TEXTS[1:], "value", "cited"])
def test_an_entry_without_one_of_its_keys_is_refused(missing):
    assert check_entry(ENTRY).value == 1.0
    with pytest.raises(PublishedError, match="entry r9: expected keys"):
        check_entry({k: v for k, v in ENTRY.items() if k != missing})


def test_the_loader_builds_nothing_but_plain_values(tmp_path, monkeypatch):
    from dg.compare import published

    (tmp_path / "evil.yaml").write_text("results: !!python/object/apply:os.system ['true']")
    monkeypatch.setattr(published, "files", lambda _: tmp_path)
    with pytest.raises(Exception, match="could not determine a constructor"):
        published._read("evil.yaml")


# -- finding a table ------------------------------------------------------------------------------------------------


def test_every_number_is_found_by_its_papers_short_name_and_its_table():
    found = [r.id for paper in PAPERS for table in table_names(paper) for r in find_table(paper, table)]
    assert sorted(found) == [r.id for r in RESULTS]


def test_a_table_is_found_however_it_is_written():
    assert find_table("AugLift", "Table 4") == find_table("auglift", "4")
    assert len(find_table("auglift", "4")) == 14
    assert {r.where for r in find_table("auglift", "7")} == {"Table 7 (dropout)", "Table 7 (block depth)"}
    assert len(find_table("poseda", "a")) == 96
    assert len(find_table("poseaug-repo", "notebook")) == 64


@pytest.mark.parametrize(
    ("paper", "table", "words"),
    [
        ("auglft", "4", ("did you mean 'auglift'", "poseda: 1 | 2", "poseaug-repo: notebook")),
        ("poseda", "44", ("it has: 1 | 2", "did you mean '4'")),
        ("poseda", "", ("no table ''",)),
    ],
)
def test_an_unknown_paper_or_table_lists_what_there_is(paper, table, words):
    with pytest.raises(OptionError) as wrong:
        find_table(paper, table)
    assert all(word in str(wrong.value) for word in words)


def test_every_field_of_an_entry_is_the_papers_own_word():
    assert {f.name for f in fields(RESULTS[0])} == {*TEXTS, "value", "cited", "note", "meaning"}
