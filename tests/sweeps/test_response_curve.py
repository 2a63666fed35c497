import numpy as np
import pytest
from PIL import Image

from sweeps.objective import Objective
from sweeps.outcome import FinishedTrial, best_of
from sweeps.report import chance_of, draw_curve, response_table, series_of, verdict

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

ORACLE = Objective("oracle:near", 0)


def make_points(seeds=3, slope=0.3, oracle=False):
    points = []
    for trial, value in enumerate([3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 4.62]):
        source = tuple(60 + slope * (value - 4.7) ** 2 + 0.4 * s for s in range(seeds))
        near = tuple(95 + 6 * (value - 4.0) ** 2 + s for s in range(seeds))
        wide = tuple(120 + 3 * (value - 5.5) ** 2 - s for s in range(seeds))
        points.append(
            FinishedTrial({"d_ref": value}, trial, (near if oracle else source,), source, {"near": near, "wide": wide})
        )
    return points


def in_order(points):
    return sorted(points, key=lambda p: p.params["d_ref"])


def test_the_curve_selected_on_comes_first_and_says_so():
    honest = series_of(make_points(), Objective())
    assert [c.chosen_by for c in honest] == [True, False, False]
    assert honest[0].label == "source validation (selected on)"
    assert [c.label for c in honest[1:]] == ["near: target (not used)", "wide: target (not used)"]
    assert {c.role for c in honest[1:]} == {"reported, not selected on"}
    oracle = series_of(make_points(oracle=True), ORACLE)
    assert oracle[0].label.startswith("near")
    assert "ORACLE" in oracle[0].label
    assert oracle[1].role == "reported, not selected on"


def test_the_table_has_a_row_a_trial_in_order_and_marks_the_best():
    points = in_order(make_points())
    lines = response_table(points, Objective(), "d_ref").splitlines()
    assert len(lines) == 1 + len(points)
    assert [float(line[1:].split()[0]) for line in lines[1:]] == sorted(p.params["d_ref"] for p in points)
    (marked,) = [line for line in lines if line.startswith("*")]
    assert float(marked[1:].split()[0]) == best_of(points, Objective()).params["d_ref"] == 4.62
    assert "±" in marked


def test_the_best_of_the_source_is_not_the_best_of_a_target():
    assert best_of(make_points(), Objective()).params["d_ref"] == 4.62
    assert best_of(make_points(oracle=True), ORACLE).params["d_ref"] == 4.0


def noisy(slope, seeds=3):
    noise = np.random.default_rng(0).normal(size=(7, seeds))
    return [
        FinishedTrial(p.params, p.trial, (tuple(np.add(p.objectives[0], n)),), p.source_val, p.targets)
        for p, n in zip(make_points(seeds, slope), noise, strict=True)
    ]


def test_a_flat_curve_is_called_flat_and_one_seed_leaves_it_open():
    assert "flat" in verdict(noisy(slope=0.01), Objective(), "d_ref")
    assert "flat" not in verdict(noisy(slope=5.0), Objective(), "d_ref")
    assert "seeds=[0,1,2]" in verdict(noisy(slope=0.3, seeds=1), Objective(), "d_ref")
    assert "one trial" in verdict(make_points()[:1], Objective(), "d_ref")


def test_chance_is_uniform_where_only_seeds_differ_and_small_where_the_parameter_matters():
    random = np.random.default_rng(1)
    level = 10 * random.normal(size=(1, 3))
    null = [chance_of((level + random.normal(size=(6, 3))).tolist()) for _ in range(400)]
    assert 0.42 < np.mean(null) < 0.58
    assert 0.02 < np.mean(np.less(null, 0.05)) < 0.09
    assert chance_of((level + random.normal(size=(6, 3)) + 10 * np.arange(6)[:, None]).tolist()) < 1e-4
    assert chance_of([[1.0, 2.0], [1.0, 2.0]]) == 1.0


@pytest.mark.parametrize("points", [make_points(), make_points(seeds=1), make_points()[:1]])
def test_the_picture_is_there_and_not_blank(points, tmp_path):
    path = draw_curve(in_order(points), Objective(), "d_ref", "m", tmp_path / "new" / "response.png")
    with Image.open(path) as image:
        assert image.size[0] >= 800
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50
