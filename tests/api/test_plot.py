"""`dg.plot_pose`: what a notebook shows, what is written, and what is refused."""

import numpy as np
import pytest
from PIL import Image

import dg
from tests.conftest import STANDING_17
from tests.drawing.test_viewer import BLUE, GREY, ORANGE, count, screenshot

POSE = np.asarray(STANDING_17, np.float64)


def test_a_notebook_gets_a_view_that_a_browser_draws(tmp_path):
    """In a frame of its own, where scripts run whatever page it stands in."""
    view = dg.plot_pose(POSE, POSE + np.array([0.7, 0, 0]), title='a "title" & more')
    shown = view._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "https:" not in shown
    picture = screenshot(f"<!doctype html><body>{shown}</body>", tmp_path)
    assert min(count(picture, colour) for colour in (ORANGE, BLUE, GREY)) > 50
    assert view._repr_png_().startswith(b"\x89PNG")


def test_it_is_written_as_a_page_or_as_a_picture(tmp_path):
    view = dg.plot_pose(POSE, title="standing")
    view.save(tmp_path / "pose.html")
    page = (tmp_path / "pose.html").read_text()
    assert page == view.page()
    assert "<h1>standing</h1>" in page
    view.save(tmp_path / "pose.png")
    with Image.open(tmp_path / "pose.png") as picture:
        assert len(picture.convert("RGB").getcolors(100_000)) > 20
    with pytest.raises(ValueError, match="nonsense"):
        view.save(tmp_path / "pose.nonsense")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pose.html", "pose.png"]


@pytest.mark.parametrize("other", [POSE[:16], POSE * np.nan])
def test_other_joints_are_refused_before_anything_is_drawn(other):
    with pytest.raises(ValueError, match=r"expected 17 finite joints \(h36m_17\)"):
        dg.plot_pose(POSE, other)
