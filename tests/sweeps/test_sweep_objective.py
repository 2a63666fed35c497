import pytest

from dg.settings.config import ConfigError
from sweeps.objective import SummaryError, any_oracle, parse_objective, parse_objectives, scores_of, suffix_of

TARGETS = ["synthetic:near", "npz:some/folder/uiprmd_3dpw.npz"]
SUMMARY = {
    "val": {"mpjpe_mm": 60.5},
    "results": [
        {"target": "synthetic_near", "selection": "last", "mpjpe_mm": 100.0},
        {"target": "uiprmd_3dpw", "selection": "last", "mpjpe_mm": 120.0},
        {"target": "synthetic_near", "selection": "oracle", "mpjpe_mm": 80.0},
        {"target": "uiprmd_3dpw", "selection": "oracle", "mpjpe_mm": 90.0},
    ],
}


def test_the_default_objective_reads_only_the_sources_validation():
    objective = parse_objective("source_val", TARGETS)
    assert not objective.is_oracle
    assert suffix_of([objective]) == ""
    assert objective.value(SUMMARY) == 60.5
    blind = SUMMARY | {"results": [r | {"mpjpe_mm": 1.0} for r in SUMMARY["results"]]}
    assert objective.value(blind) == 60.5


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("oracle:near", "oracle:near", 100.0),
        ("oracle:synthetic:near", "oracle:near", 100.0),
        ("oracle:synthetic_near", "oracle:near", 100.0),
        ("oracle:uiprmd_3dpw", "oracle:uiprmd_3dpw", 120.0),
        ("oracle:npz:some/folder/uiprmd_3dpw.npz", "oracle:uiprmd_3dpw", 120.0),
    ],
)
def test_a_target_is_used_only_under_the_name_oracle_and_carries_it(word, name, value):
    objective = parse_objective(word, TARGETS)
    assert objective.name == name
    assert objective.is_oracle
    assert suffix_of([objective]) == "-" + name.replace(":", "-")
    assert objective.value(SUMMARY) == value


@pytest.mark.parametrize(
    "word",
    [
        "near", "synthetic:near", "synthetic_near", "target", "targets", "test/synthetic_near/mpjpe_mm", "ORACLE:near",
        "Oracle:near", " oracle:near", "final/oracle/synthetic_near/mpjpe_mm", "best", "source_val,near", "val:near",
        "source_val ", "", "last", "mpjpe", "npz:some/folder/uiprmd_3dpw.npz", "oracle", "oracle:", "oracle:*",
        "oracle:..", "oracle:wide", "oracle:near,uiprmd_3dpw", "oracle:../../near", "oracle:oracle:near",
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_told_what_is_possible(word):
    with pytest.raises(ConfigError, match="oracle:") as error:
        parse_objective(word, TARGETS)
    assert "near" in str(error.value)


def test_a_short_name_of_two_targets_is_refused_and_the_full_one_taken():
    twins = ["npz:a/walk.npz", "npz:b/walk.npz"]
    with pytest.raises(ConfigError, match="more than one"):
        parse_objective("oracle:walk", twins)
    assert parse_objective("oracle:npz:b/walk.npz", twins).oracle == 1


@pytest.mark.parametrize("broken", [{}, SUMMARY | {"val": {}}, SUMMARY | {"val": {"mpjpe_mm": None}}, {"results": 3}])
def test_a_summary_without_an_evaluation_is_an_error(broken):
    with pytest.raises(SummaryError):
        scores_of(broken)
    with pytest.raises(SummaryError):
        parse_objective("source_val", TARGETS).value(broken)


RICH = {
    "wall_s": 12.0,
    "val": {"mpjpe_mm": 60.5, "pa_mpjpe_mm": 40.0, "pck150": 95.0},
    "results": [
        {"target": "synthetic_near", "selection": "last", "mpjpe_mm": 100.0, "pck150": 80.0},
        {"target": "uiprmd_3dpw", "selection": "last", "mpjpe_mm": 120.0, "pck150": 70.0},
    ],
}


@pytest.mark.parametrize(
    ("word", "name", "value", "maximise", "unit"),
    [
        ("source_val:pa_mpjpe_mm", "source_val:pa_mpjpe_mm", 40.0, False, "mm"),
        ("source_val:mpjpe_mm", "source_val", 60.5, False, "mm"),
        ("source_val:pck150", "source_val:pck150", 95.0, True, "%"),
        ("oracle:near:pck150", "oracle:near:pck150", 80.0, True, "%"),
        ("oracle:npz:some/folder/uiprmd_3dpw.npz:mpjpe_mm", "oracle:uiprmd_3dpw", 120.0, False, "mm"),
        ("seconds", "seconds", 12.0, False, "s"),
    ],
)
def test_other_figures_are_named_and_know_which_way_is_better(word, name, value, maximise, unit):
    objective = parse_objective(word, TARGETS)
    assert (objective.name, objective.maximise, objective.unit) == (name, maximise, unit)
    assert objective.value(RICH) == value


def test_seconds_of_a_run_that_was_resumed_are_those_of_all_its_sittings():
    assert parse_objective("seconds", TARGETS).value(RICH | {"seconds": 30.0}) == 30.0


def test_an_evaluation_on_the_way_is_read_as_the_end_is():
    record = {"val": RICH["val"], "targets": {r["target"]: r for r in RICH["results"]}}
    for word in ("source_val", "source_val:pck150", "oracle:near", "oracle:uiprmd_3dpw:pck150"):
        objective = parse_objective(word, TARGETS)
        assert objective.of_evaluation(record) == objective.value(RICH)
    assert parse_objective("seconds", TARGETS).of_evaluation(record) is None


@pytest.mark.parametrize(
    "word", ["near:pck150", "source_val:speed", "source_val:auc:auc", "seconds:mpjpe_mm", "Seconds"]
)
def test_a_figure_is_no_way_around_the_word_oracle(word):
    with pytest.raises(ConfigError, match="oracle"):
        parse_objective(word, TARGETS)


def test_of_two_objectives_one_oracle_is_enough_to_be_one():
    both = parse_objectives(["source_val", "oracle:near"], TARGETS)
    assert any_oracle(both)
    assert suffix_of(both) == "-oracle-near"
    assert not any_oracle(parse_objectives(["source_val", "seconds"], TARGETS))
