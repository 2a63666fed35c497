"""MPII's annotation file: both formats give the same people, and a damaged one is one line."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from dg.files.errors import FileFormatError
from dg.files.mpii_file import read_mpii
from tests.files.mpii_maker import WRITERS, mpii_people

both = pytest.mark.parametrize("kind", sorted(WRITERS))


@both
def test_everybody_with_all_joints_is_read(tmp_path, kind):
    people = mpii_people()
    WRITERS[kind](tmp_path / f"mpii{kind}", people)
    np.testing.assert_allclose(read_mpii(tmp_path / f"mpii{kind}"), people, atol=1e-3)
    WRITERS[kind](tmp_path / f"few{kind}", people, lost=(4, 9))
    np.testing.assert_allclose(read_mpii(tmp_path / f"few{kind}"), people[:-1], atol=1e-3)


@both
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_that_is_cut_is_one_line_that_names_it(tmp_path, kind, share):
    path = tmp_path / f"mpii{kind}"
    WRITERS[kind](path, mpii_people(40))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FileFormatError) as error:
        read_mpii(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, "expected a list of people"),
        ([{"joints": [[0, 0]] * 14, "joints_vis": [1] * 14}], "expected 16 joints a person, got 14"),
        ([{"joints": [[1, "a"]] * 16, "joints_vis": [1] * 16}], "could not convert string"),
        ([{"joints": [[1, 2]] * 16, "joints_vis": [0] * 16}], "nobody in it has all 16"),
        ([{"joints": [[1, float("nan")]] * 16, "joints_vis": [1] * 16}], "expected pixels"),
        ([{"joints": [[1, 2]] * 16}], "KeyError"),
        (3, "expected a list of people"),
    ],
)
def test_json_of_another_kind_says_what_was_expected(tmp_path, content, message):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match=message):
        read_mpii(tmp_path / "x.json")


def test_a_mat_file_of_another_kind_says_what_was_expected(tmp_path):
    savemat(tmp_path / "x.mat", {"annot2": np.ones(3)})
    with pytest.raises(FileFormatError, match="has no RELEASE"):
        read_mpii(tmp_path / "x.mat")
    savemat(tmp_path / "x.mat", {"RELEASE": np.ones(3)})
    with pytest.raises(FileFormatError, match=r"expected MPII's mpii_human_pose_v1_u12_1\.mat"):
        read_mpii(tmp_path / "x.mat")
    with pytest.raises(FileFormatError, match="no such file"):
        read_mpii(tmp_path / "none.mat")
