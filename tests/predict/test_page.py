"""The page of `dg predict` in a browser: turned and scrubbed by the mouse, depth in place of the picture."""

import json

import numpy as np
from PIL import Image

from dg.predict import __main__ as predict
from dg.predict.run import run
from dg.predict.settings import predict_options
from tests.browser import Browser, needs_chromium
from tests.images import keypoint_files as files
from tests.images.photo_maker import photograph, two_people
from tests.trained.makers import SMALL, store

CPU = ["device=cpu", "threads=1", "picture=false"]
VIEW = "document.querySelector('.dg-view').toDataURL()"
PICTURE = "document.querySelector('.dg-picture').toDataURL()"
pytestmark = needs_chromium


def place_of(browser: Browser, selector: str) -> tuple[float, float]:
    """The middle of an element, pixels."""
    found = browser.run(f"JSON.stringify(document.querySelector({selector!r}).getBoundingClientRect())")
    box = json.loads(found)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_clip_is_scrubbed_and_turned(tmp_path):
    path, _ = files.alphapose(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(files.FRAMES):
        Image.new("RGB", (files.WIDTH, files.HEIGHT), (40, 60 * number, 90)).save(tmp_path / f"photos/{number}.jpg")
    assert predict.main([f"keypoints={path}", f"images={tmp_path}/photos", f"out={tmp_path}/out", *CPU]) == 0
    with Browser(1300, 760) as browser:
        page = tmp_path / f"out/{path.name}.html"
        shown = browser.open(page.as_uri(), "0.jpg: 2 people")
        assert "starter lifter, random_camera, xy, focal length" in shown
        before = browser.run(VIEW), browser.run(PICTURE)
        slider = "document.querySelector('.dg-slider')"
        browser.run(f"{slider}.value = 2; {slider}.dispatchEvent(new Event('input')); 0")
        browser.wait_for("2.jpg: 2 people")
        after = browser.run(VIEW), browser.run(PICTURE)
        assert before[0] != after[0]
        assert before[1] != after[1]
        x, y = place_of(browser, ".dg-view")
        browser.drag((x, y), (x + 90, y + 30))
        assert browser.run(VIEW) != after[0]
        assert browser.errors == []


def test_the_depth_of_a_photograph_takes_the_place_of_its_picture(tmp_path):
    photo = photograph(two_people())
    Image.fromarray(photo.rgb).save(tmp_path / "two.png")
    store(tmp_path, "method=erm", "lifter=simple_baseline", *SMALL["simple_baseline"], "inputs=xyd")
    words = [f"{tmp_path}/two.png", f"checkpoint={tmp_path}/best.pt", f"out={tmp_path}/out", "focal=420", *CPU]
    run(predict_options(words), lambda _: None, lambda images: [photo.people], lambda image, camera: photo.depth)
    with Browser(1300, 760) as browser:
        browser.open((tmp_path / "out/two.png.html").as_uri(), "two.png: 2 people", "depth")
        before = browser.run(PICTURE)
        browser.run("document.querySelector('.dg-depth').click()")
        browser.picture(tmp_path / "depth.png")
        assert browser.run(PICTURE) != before
        assert browser.errors == []
    shown = np.asarray(Image.open(tmp_path / "depth.png").convert("RGB")).astype(int)[90:430, 30:490]
    assert (np.ptp(shown, axis=-1) > 100).mean() > 0.3  # the colours of depth; the picture is nearly grey
