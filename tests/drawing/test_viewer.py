"""The page of poses: what it carries, that no text breaks out of it, and that a browser draws it."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from dg.drawing.viewer import ViewerFrame, viewer_fragment, viewer_page
from dg.pose.skeleton import H36M_17
from tests.conftest import STANDING_17

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ORANGE, BLUE, GREY = (0xF0, 0x80, 0x00), (0x00, 0x96, 0xD6), (0xA0, 0xA0, 0xA0)


def standing() -> np.ndarray:
    return np.asarray(STANDING_17, np.float64) - np.asarray(STANDING_17, np.float64)[:1]


def data_of(fragment: str) -> dict:
    return json.loads(re.search(r"parentElement, (\{.*\})\);</script></figure>$", fragment, re.S)[1])


def screenshot(page: str, folder, size=(1000, 720)) -> np.ndarray:
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    (folder / "page.html").write_text(page)
    words = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=2000",
        f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}",
        f"--screenshot={folder}/page.png", f"file://{folder}/page.html",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert (folder / "page.png").is_file(), done.stderr[-2000:]
    return np.asarray(Image.open(folder / "page.png").convert("RGB")).astype(int)


def count(picture: np.ndarray, colour) -> int:
    return int((np.abs(picture - colour).max(-1) <= 3).sum())


def test_it_carries_every_joint_in_millimetres_and_leaves_out_what_is_not_known():
    pose = standing()
    pose[H36M_17.index("left_wrist")] = np.nan
    data = data_of(viewer_fragment([ViewerFrame([pose], labels=["7"])], H36M_17))
    (found,) = data["frames"][0]["poses"]
    wrist = 3 * H36M_17.index("left_wrist")
    assert found[wrist : wrist + 3] == [None] * 3
    known = [v for n, v in enumerate(found) if not wrist <= n < wrist + 3]
    assert np.allclose(known, np.delete(pose, H36M_17.index("left_wrist"), 0).reshape(-1) * 1000, atol=0.5)
    assert [tuple(bone[:2]) for bone in data["bones"]] == list(H36M_17.bones)


def test_no_text_ends_the_script_or_becomes_markup():
    bad = "</script><script>alert(1)</script><img src=x>"
    page = viewer_page(
        bad, [viewer_fragment([ViewerFrame([standing()], labels=[bad], caption=bad)], H36M_17, bad)], bad
    )
    assert "<img" not in page
    assert page.count("<script>") == page.count("</script>") == 2
    assert data_of(viewer_fragment([ViewerFrame(caption=bad)], H36M_17))["frames"][0]["caption"] == bad


def test_nothing_in_the_page_is_fetched():
    page = viewer_page("a", [viewer_fragment([ViewerFrame([standing()])], H36M_17)])
    assert not re.search(r"(https?:)?//[a-z]", page.replace("// ", ""))
    assert len(page) < 20_000


def test_poses_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected a pose \[17, 3\]"):
        viewer_fragment([ViewerFrame([np.zeros((16, 3))])], H36M_17)
    with pytest.raises(ValueError, match="at least one frame"):
        viewer_fragment([], H36M_17)


def test_a_browser_draws_the_pose_its_reference_and_its_picture(tmp_path):
    pose = standing()
    frame = ViewerFrame(
        [pose], [pose + np.array([0.8, 0, 0])], ["1"], [pose[:, :2] * 100 + 150], size=(300, 300), caption="frame 0"
    )
    shown = screenshot(viewer_page("Page", [viewer_fragment([frame, frame], H36M_17)]), tmp_path)
    left, right = shown[:, :310], shown[:, 330:]
    for side in (left, right):
        assert count(side, ORANGE) > 50
        assert count(side, BLUE) > 50
    assert count(right, GREY) > 50
    empty = screenshot(viewer_page("Page", [viewer_fragment([ViewerFrame()], H36M_17)]), tmp_path)
    assert count(empty, ORANGE) == count(empty, BLUE) == 0
