"""Videos: every frame once and in time, people over time, and files that are damaged."""

import json
import tracemalloc

import numpy as np
import pytest

from dg.images.people import Person
from dg.images.video import Video, VideoError, is_video, write_video
from dg.pose.skeleton import COCO_17
from dg.predict import __main__ as predict
from dg.predict.run import run
from dg.predict.settings import predict_options
from dg.settings.errors import OptionError
from tests.images.keypoint_files import body

av = pytest.importorskip("av", reason="needs the extra `video`")
WIDTH, HEIGHT, FRAMES, FPS = 320, 240, 24, 25.0
CPU = ["device=cpu", "threads=1"]


def pictures(frames=FRAMES, width=WIDTH, height=HEIGHT):
    """A bright bar that moves to the right, one column of eight pixels a frame."""
    for number in range(frames):
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[:, 8 * number : 8 * number + 8] = 230
        yield picture


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", pictures(), FPS)
    return tmp_path / "clip.mp4"


def bar(picture: np.ndarray) -> int:
    return round(float(np.argmax(picture.mean((0, 2)) > 130)) / 8)


def walker(picture: np.ndarray, seen=lambda _: True) -> list[Person]:
    """A person under the bar, where `seen` says that the detector finds one."""
    number = bar(picture)
    if not seen(number):
        return []
    joints = body(COCO_17)[:, :2] * 80 + [60 + 8 * number, 120]
    box = np.array([*joints.min(0), *joints.max(0)], np.float32)
    return [Person(box, 0.9, joints.astype(np.float32), np.full(17, 0.9, np.float32))]


def cut_video(folder):
    """The first two thirds of a file."""
    cut = folder / "cut.mkv"
    with av.open(str(cut), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    return cut


def test_frames_come_in_order_with_their_rate(clip):
    video = Video(clip)
    assert video.fps == pytest.approx(FPS)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(FRAMES))
    assert [bar(frame.rgb) for frame in frames] == list(range(FRAMES))
    assert frames[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert is_video(clip)
    assert not is_video(clip.with_name("clip.jpg"))


def test_a_walker_is_one_track_with_a_named_gap_and_a_motion(clip, tmp_path):
    said = []
    options = predict_options([str(clip), f"out={tmp_path}/out", "bvh=true", *CPU])
    summary = run(options, said.append, lambda images: [walker(images[0], lambda n: not 9 <= n < 12)])
    found = json.loads((tmp_path / "out/clip.mp4.json").read_text())
    assert found["fps"] == FPS
    assert found["tracks"] == [
        {"track": 1, "clip": 0, "first": 0, "last": FRAMES - 1, "frames": FRAMES - 3, "gaps": [[9, 11]]}
    ]
    assert any("person 1 is not found in frames 9 to 11" in line for line in said)
    assert summary["people"] == FRAMES - 3
    assert f"Frames: {FRAMES}\n" in (tmp_path / "out/clip.mp4.1.bvh").read_text()
    drawn = list(Video(tmp_path / "out/clip.mp4.overlay.mp4").frames())
    assert len(drawn) == FRAMES
    changed = [np.abs(d.rgb.astype(int) - p).max() for d, p in zip(drawn, pictures(), strict=True)]
    assert min(c for n, c in enumerate(changed) if not 9 <= n < 12) > 60
    page = (tmp_path / "out/clip.mp4.html").read_text()
    assert page.count("data:image/jpeg") == FRAMES
    assert not list((tmp_path / "out").glob(".*"))


def test_a_long_video_needs_no_more_memory_than_a_short_one(tmp_path):
    """Of frames that are read nothing stays."""
    peaks = []
    for frames in (10, 60):
        path = tmp_path / f"{frames}.mp4"
        write_video(path, pictures(frames, 640, 480), FPS)
        tracemalloc.start()
        count = sum(1 for _ in Video(path).frames())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == frames
    assert peaks[1] < 1.5 * peaks[0] + 1e6


def test_a_long_video_is_lifted_in_the_memory_of_a_short_one(tmp_path):
    """From the file to the overlay; 30 frames of 640 x 480 alone would be 28 MB."""
    peaks = []
    for frames in (10, 40):
        path = tmp_path / f"{frames}.mp4"
        write_video(path, pictures(frames, 640, 480), FPS)
        options = predict_options([str(path), f"out={tmp_path}/out", "page=false", "npz=false", *CPU])
        if not peaks:  # what is loaded and cached is so from here on
            run(options, lambda _: None, lambda images: [walker(images[0])])
        tracemalloc.start()
        summary = run(options, lambda _: None, lambda images: [walker(images[0])])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert summary["people"] == summary["images"] == frames
    assert peaks[1] < peaks[0] + 8e6


def test_what_is_no_video_or_ends_early_is_said(clip, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("this is no video")
    with pytest.raises(VideoError, match="cannot be read"):
        Video(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match="no such video"):
        Video(tmp_path / "none.mp4")
    assert predict.main([f"{tmp_path}/text.mp4", f"out={tmp_path}/out", *CPU]) == 4
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    cut = cut_video(tmp_path)
    frames = [frame.number for frame in Video(cut).frames()]
    assert 0 < len(frames) < FRAMES


def test_a_video_of_nobody_is_an_answer_and_a_damaged_one_is_lifted_up_to_there(clip, tmp_path):
    said: list[str] = []
    options = predict_options([str(clip), f"out={tmp_path}/a", *CPU])
    summary = run(options, said.append, lambda images: [[]])
    found = json.loads((tmp_path / "a/clip.mp4.json").read_text())
    assert (summary["people"], found["tracks"], len(found["frames"])) == (0, [], FRAMES)
    assert not (tmp_path / "a/clip.mp4.npz").exists()
    cut = cut_video(tmp_path)
    said.clear()
    options = predict_options([str(cut), f"out={tmp_path}/b", "picture=false", *CPU])
    summary = run(options, said.append, lambda images: [walker(images[0])])
    assert 0 < summary["people"] == summary["images"] < FRAMES
    assert any("cut.mkv" in line and "after frame" in line for line in said), said


def test_without_pyav_it_says_what_to_install(monkeypatch, clip):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OptionError, match=r"\[video\]"):
        Video(clip)
