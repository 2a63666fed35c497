import pytest

from dg.config import ConfigError
from sweeps.objective import SummaryError, parse_objective, scores_of

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
    assert objective.suffix == ""
    assert objective.value(scores_of(SUMMARY)) == 60.5
    blind = SUMMARY | {"results": [r | {"mpjpe_mm": 1.0} for r in SUMMARY["results"]]}
    assert objective.value(scores_of(blind)) == 60.5


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
    assert objective.suffix == "-" + name.replace(":", "-")
    assert objective.value(scores_of(SUMMARY)) == value


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
