"""Frames are found where their data sets keep them, and called what keypoint files call them."""

from typing import get_args

import pytest

from dg.datasets.base import DataError
from dg.extract_depth.layouts import EXAMPLES, PATTERNS, by_any_name, find_frames, frame_name
from dg.extract_depth.settings import Layout


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("folder", {"a/b.jpg": "a/b.jpg"}),
        ("mpi_inf_3dhp", {
            "TS1/imageSequence/img_000001.jpg": "TS1/imageSequence/img_000001.jpg",
            "mpi_inf_3dhp_test_set/TS2/imageSequence/img_000010.jpg": "TS2/imageSequence/img_000010.jpg",
            "TS7/imageSequence/img_000001.jpg": None, "util/mpii.png": None,
        }),
        ("pw3d", {
            "imageFiles/downtown_arguing_00/image_00000.jpg": "downtown_arguing_00/image_00000.jpg",
            "downtown_bar_00/image_00012.jpg": "downtown_bar_00/image_00012.jpg", "logo.jpg": None,
        }),
        ("h36m", {
            "S9/S9_Directions_1.54138969/S9_Directions_1.54138969_000001.jpg": "S9/Directions 1.54138969/000001",
            "images/S11/S11_SittingDown.60457274/S11_SittingDown.60457274_00042.jpg":
                "S11/SittingDown.60457274/000042",
            "S1/Walking-2/imageSequence/58860488/img_000007.jpg": "S1/Walking 2.58860488/000007",
            "S1/S9_Walking.58860488/S1_Walking.58860488_000001.jpg": None,
        }),
        ("fit3d", {
            "s03/images/50591643/band_pull_apart/000001.jpg": "s03/50591643/band_pull_apart/000001",
            "train/s04/videos/65906101/squat/frame_12.png": "s04/65906101/squat/000012",
        }),
    ],
)  # fmt: skip
def test_files_are_called_by_their_short_names(tmp_path, layout, files):
    touch(tmp_path, *files)
    found = {frame.relative: frame.name for frame in find_frames(tmp_path, layout)}
    assert found == {file: name for file, name in files.items() if name}


def test_a_frame_answers_to_both_of_its_names(tmp_path):
    touch(tmp_path, "imageFiles/a/image_00001.jpg", "imageFiles/b/image_00000.jpg")
    numbers = by_any_name(find_frames(tmp_path, "pw3d"))
    assert numbers["a/image_00001.jpg"] == numbers["imageFiles/a/image_00001.jpg"] == 0
    assert numbers["b/image_00000.jpg"] == 1


def test_two_files_of_one_name_and_no_file_at_all_are_refused(tmp_path):
    touch(tmp_path, "x.txt")
    with pytest.raises(DataError, match="expected files such as TS1"):
        find_frames(tmp_path, "mpi_inf_3dhp")
    touch(tmp_path, "imageFiles/a/image_00001.jpg", "a/image_00001.jpg")
    with pytest.raises(DataError, match="are both the frame"):
        find_frames(tmp_path, "pw3d")


def test_every_layout_can_be_asked_for():
    assert set(get_args(Layout)) == set(PATTERNS) == set(EXAMPLES)


@pytest.mark.parametrize("layout", PATTERNS)
def test_every_layout_has_an_example_that_fits_it(layout):
    assert frame_name(EXAMPLES[layout], layout)
