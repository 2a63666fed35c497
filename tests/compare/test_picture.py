import numpy as np
import pytest
from PIL import Image

from dg.compare.picture import OURS_COLOUR, write_picture
from dg.compare.published import published_results
from dg.compare.published_rows import add_published
from tests.compare.make_results import benchmark_run, run, tables

PICTURES_ARE_DRAWN = True  # see tests/conftest.py


def pixels_of(path, colour):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.asarray(Image.open(path).convert("RGB")) == wanted).all(-1).sum())


def test_a_picture_shows_the_rows_and_grows_with_them(tmp_path):
    small, large = tmp_path / "deep" / "small.png", tmp_path / "large.png"
    write_picture(tables(run(100.0), run(90.0, method="poseaug")), small)
    (table,) = tables(*(benchmark_run(80.0 + i, method=f"m{i}") for i in range(4)))
    add_published(table, published_results())
    write_picture([table], large)
    assert Image.open(small).format == "PNG"
    assert Image.open(large).height > 2 * Image.open(small).height
    assert pixels_of(small, OURS_COLOUR) > 0
    assert pixels_of(large, OURS_COLOUR) > 2 * pixels_of(small, OURS_COLOUR)
    assert [p.name for p in small.parent.iterdir()] == ["small.png"]


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one table"):
        write_picture([], tmp_path / "x.png")
