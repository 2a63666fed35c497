"""`dg predict keypoints=`: files of people of whom everything is known, through the starter lifter to the files."""

import json

import numpy as np
import pytest
from PIL import Image

from dg.images.keypoint_file import read_keypoint_file
from dg.images.people import Person, joints_on, to_skeleton
from dg.pose.skeleton import COCO_17, H36M_17
from dg.predict import __main__ as predict
from tests.images import keypoint_files as files
from tests.images.keypoint_files import FRAMES, HEIGHT, WIDTH

CPU = ["device=cpu", "threads=1"]


def lifted(tmp_path, path, *words):
    """The answer of the whole command."""
    assert predict.main([f"keypoints={path}", f"out={tmp_path}/out", *CPU, *words]) == 0
    return json.loads((tmp_path / "out" / f"{path.name}.json").read_text())


def refused(capsys, *words) -> str:
    """The one line of an error."""
    assert predict.main([*words, *CPU]) in (2, 4)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_a_person_over_time_has_a_number_an_archive_and_a_motion(tmp_path):
    path, truth = files.alphapose(tmp_path)
    found = lifted(tmp_path, path, f"size={WIDTH}x{HEIGHT}", "bvh=true")
    assert [[p["track"] for p in frame["people"]] for frame in found["frames"]] == [list(truth.tracks)] * FRAMES
    assert [frame["number"] for frame in found["frames"]] == [0, 1, 2]
    arrays = np.load(tmp_path / "out" / f"{path.name}.npz")
    assert arrays["joints_3d"].shape == (2 * FRAMES, 17, 3)
    wrist = H36M_17.index("left_wrist")
    assert np.isnan(arrays["joints_3d"][2, wrist]).all()
    assert np.isfinite(arrays["guessed_3d"]).all()
    assert np.isnan(arrays["joints_3d"]).any(-1).sum() == 1
    assert found["frames"][1]["people"][0]["joints_3d_m"][wrist] is None
    for track in truth.tracks:
        text = (tmp_path / "out" / f"{path.name}.{track}.bvh").read_text()
        assert f"Frames: {FRAMES}\n" in text
    assert not list((tmp_path / "out").glob(".*"))


def test_what_it_wrote_is_a_keypoint_file_of_the_same_people(tmp_path):
    path, _ = files.coco(tmp_path)
    found = lifted(tmp_path, path)
    again = read_keypoint_file(tmp_path / "out" / f"{path.name}.npz")
    flat = [
        j if j is not None else [np.nan] * 2 for f in found["frames"] for p in f["people"] for j in p["joints_2d_px"]
    ]
    np.testing.assert_allclose(again.joints_2d.reshape(-1, 2), flat, atol=0.01)
    assert again.frames.size.tolist() == [[WIDTH, HEIGHT]] * FRAMES


def test_images_give_sizes_and_pictures_and_scale_the_joints(tmp_path):
    path, _ = files.coco_results(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in (10, 11, 12):
        Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), "gray").save(tmp_path / "photos" / f"{number:012d}.jpg")
    found = lifted(tmp_path, path, f"images={tmp_path}/photos")
    assert {(f["width"], f["height"]) for f in found["frames"]} == {(2 * WIDTH, 2 * HEIGHT)}
    assert "data:image/jpeg" in (tmp_path / "out" / f"{path.name}.html").read_text()
    annotated, truth = files.coco(tmp_path)
    for number in range(FRAMES):
        Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), "gray").save(tmp_path / "photos" / f"{number}.jpg")
    found = lifted(tmp_path, annotated, f"images={tmp_path}/photos")
    assert found["keypoints"]["notes"] == [
        "the images are of another size than the keypoints were made on; joints were scaled"
    ]
    hip = found["frames"][0]["people"][0]["keypoints"]["joints_2d_px"][COCO_17.index("left_hip")]
    np.testing.assert_allclose(hip, 2 * truth.joints[0, 0, COCO_17.index("left_hip")], atol=0.01)


def test_another_joint_order_than_the_format_has_is_found_and_said(tmp_path, capsys):
    """Human3.6M's joints in a file whose format says COCO's."""
    truth = files.truth(H36M_17)
    rows = files.triples(truth)
    tree = [
        {"image_id": f, "category_id": 1, "keypoints": rows[f, p].tolist(), "score": 1.0}
        for f in range(FRAMES) for p in range(2)
    ]  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(tree))
    found = lifted(tmp_path, tmp_path / "r.json", f"size={WIDTH}x{HEIGHT}")
    assert "in the order of h36m_17 by their proportions, not coco_17" in capsys.readouterr().out
    seen = found["frames"][0]["people"][0]["joints_2d_px"]
    np.testing.assert_allclose(seen, truth.joints[0, 0], atol=0.01)
    kept = read_keypoint_file(tmp_path / "r.json", (WIDTH, HEIGHT), joints="coco_17")
    assert kept.skeleton == COCO_17


def test_a_head_is_where_the_eye_is_that_was_found():
    truth = files.truth()
    joints, confidence = (v[0, :1].astype(np.float32) for v in (truth.joints, truth.confidence))
    joints[0, COCO_17.index("left_eye")] = np.nan
    made, sure = joints_on(joints, confidence, COCO_17, H36M_17)
    head = H36M_17.index("head")
    np.testing.assert_allclose(made[0, head], joints[0, COCO_17.index("right_eye")])
    assert sure[0, head] == pytest.approx(0.9)
    joints[0, COCO_17.index("left_hip")] = np.nan
    person = Person(np.zeros(4, np.float32), 1.0, joints[0], confidence[0])
    pixels, _ = to_skeleton(person, H36M_17)
    lost = {H36M_17.joints[n] for n in np.flatnonzero(np.isnan(pixels).any(-1))}
    assert lost == {"left_hip", "pelvis", "spine"}


def test_half_a_person_is_lifted_without_the_half_that_is_missing_and_less_is_left_out(tmp_path, capsys):
    truth = files.truth()
    rows = files.triples(truth)
    legs = [3 * COCO_17.index(f"{side}_{j}") for side in ("left", "right") for j in ("knee", "ankle")]
    for start in legs:
        rows[0, 0, start : start + 3] = [0, 0, 0]
    rows[0, 1, 15:] = 0  # all but the face
    tree = [{"image_id": 1, "category_id": 1, "keypoints": rows[0, p].tolist(), "score": 1.0} for p in range(2)]
    (tmp_path / "r.json").write_text(json.dumps(tree))
    found = lifted(tmp_path, tmp_path / "r.json", f"size={WIDTH}x{HEIGHT}")
    assert "1 people are left out: fewer than 8" in capsys.readouterr().out
    (person,) = found["frames"][0]["people"]
    lost = {name for name, joint in zip(found["joints"], person["joints_3d_m"], strict=True) if joint is None}
    assert lost == {f"{side}_{j}" for side in ("left", "right") for j in ("knee", "ankle")}


def test_nobody_is_an_answer(tmp_path, capsys):
    (tmp_path / "r").mkdir()
    for number in range(2):
        text = json.dumps({"version": 1.3, "people": []})
        (tmp_path / "r" / f"a_{number:012d}_keypoints.json").write_text(text)
    found = lifted(tmp_path, tmp_path / "r", "size=640x480")
    assert [frame["people"] for frame in found["frames"]] == [[], []]
    assert "nobody in 2 frames" in capsys.readouterr().out


def test_bad_files_are_one_line_each_and_nothing_is_written(tmp_path, capsys):
    out = f"out={tmp_path}/out"
    (tmp_path / "a.json").write_text('{"cats": [1, 2]}')
    said = refused(capsys, f"keypoints={tmp_path}/a.json", out)
    assert "found JSON, an object with the keys ['cats']" in said
    assert "COCO keypoints, OpenPose, AlphaPose, MMPose / RTMLib, Ultralytics, MediaPipe" in said
    (tmp_path / "b.json").write_text("[[[")
    assert "expected a JSON file" in refused(capsys, f"keypoints={tmp_path}/b.json", out)
    assert "found nothing" in refused(capsys, f"keypoints={tmp_path}/none", out)
    (tmp_path / "c.mp4").write_bytes(b"x")
    assert "expected keypoints in" in refused(capsys, f"keypoints={tmp_path}/c.mp4", out)
    results, _ = files.coco_results(tmp_path)
    assert "size=WIDTHxHEIGHT" in refused(capsys, f"keypoints={results}", out)
    assert "lie far outside" in refused(capsys, f"keypoints={results}", "size=64x48", out)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "photos/other.jpg")
    annotated, _ = files.coco(tmp_path)
    said = refused(capsys, f"keypoints={annotated}", f"images={tmp_path}/photos", out)
    assert "none of the 3 images of the keypoints is there, the first is 0.jpg" in said
    Image.new("RGB", (480, 640)).save(tmp_path / "photos/0.jpg")
    said = refused(capsys, f"keypoints={annotated}", f"images={tmp_path}/photos", out)
    assert "480 x 640 pixels, but its keypoints were made on 640 x 480" in said
    row = [100.0, 100.0, 1.0] * 17
    crowd = [{"image_id": 1, "category_id": 1, "keypoints": row, "score": 1.0}] * 10_000
    (tmp_path / "crowd.json").write_text(json.dumps(crowd))
    said = refused(capsys, f"keypoints={tmp_path}/crowd.json", "size=640x480", out)
    assert "10,000 people in frame 1; expected at most 1,000" in said
    assert not (tmp_path / "out").exists()


def test_nan_is_a_missing_joint_in_json_and_in_an_archive_and_infinity_is_refused(tmp_path, capsys):
    truth = files.truth()
    rows = np.where(np.arange(51) < 15, np.nan, files.triples(truth))[0, :1]  # nose, eyes and ears
    tree = [{"image_id": 1, "category_id": 1, "keypoints": rows[0].tolist(), "score": 1.0}]
    (tmp_path / "a.json").write_text(json.dumps(tree))
    assert "NaN" in (tmp_path / "a.json").read_text()
    flat = rows.reshape(1, 17, 3)
    np.savez(tmp_path / "b.npz", joints_2d=flat[..., :2], skeleton="coco_17", size=[WIDTH, HEIGHT])
    answers = [lifted(tmp_path, tmp_path / name, f"size={WIDTH}x{HEIGHT}") for name in ("a.json", "b.npz")]
    for found in answers:
        (person,) = found["frames"][0]["people"]
        lost = {name for name, joint in zip(found["joints"], person["joints_3d_m"], strict=True) if joint is None}
        assert lost == {"neck", "head"}
    np.savez(tmp_path / "c.npz", joints_2d=np.full((4, 17, 2), np.nan), skeleton="coco_17", size=[WIDTH, HEIGHT])
    found = lifted(tmp_path, tmp_path / "c.npz")
    assert [frame["people"] for frame in found["frames"]] == [[]] * 4
    assert "4 people with too few joints left out" in capsys.readouterr().out
    tree[0]["keypoints"] = [float("inf")] * 51
    (tmp_path / "d.json").write_text(json.dumps(tree))
    said = refused(capsys, f"keypoints={tmp_path}/d.json", f"out={tmp_path}/none", f"size={WIDTH}x{HEIGHT}")
    assert "infinity" in said
    assert not (tmp_path / "none").exists()


def test_people_of_absent_and_of_damaged_images_are_lifted_without_a_picture_and_it_is_said(tmp_path, capsys):
    path, _ = files.coco(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in (0, 1):
        Image.new("RGB", (WIDTH, HEIGHT), "gray").save(tmp_path / f"photos/{number}.jpg")
    whole = (tmp_path / "photos/1.jpg").read_bytes()
    (tmp_path / "photos/1.jpg").write_bytes(whole[: len(whole) // 2])
    found = lifted(tmp_path, path, f"images={tmp_path}/photos")
    assert [len(frame["people"]) for frame in found["frames"]] == [2, 2, 2]
    said = capsys.readouterr().out
    assert "1 images are absent: 2.jpg" in said
    assert "without a picture:" in said
    assert "2 unreadable" in said
    assert set(json.loads((tmp_path / "out/summary.json").read_text())["unreadable"]) == {"1.jpg", "2.jpg"}
    assert (tmp_path / "out/a.json.html").read_text().count("data:image/jpeg") == 1


def test_keypoints_of_a_clip_with_images_give_a_gif_of_their_skeletons(tmp_path, pictures):
    path, truth = files.alphapose(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(FRAMES):
        Image.new("RGB", (WIDTH, HEIGHT), "gray").save(tmp_path / f"photos/{number}.jpg")
    lifted(tmp_path, path, f"images={tmp_path}/photos")
    with Image.open(tmp_path / f"out/{path.name}.overlay.gif") as moving:
        assert moving.n_frames == FRAMES
        assert moving.size == (WIDTH, HEIGHT)
        assert moving.info["loop"] == 0
        for frame in range(FRAMES):
            moving.seek(frame)
            drawn = np.abs(np.asarray(moving.convert("RGB")).astype(int) - 128).max(-1) > 40
            for person in range(2):
                knee, ankle = (truth.joints[frame, person, COCO_17.index(f"left_{j}")] for j in ("knee", "ankle"))
                x, y = ((knee + ankle) / 2).round().astype(int)
                assert drawn[y - 1 : y + 2, x - 1 : x + 2].any()
            assert drawn.mean() < 0.05
    (tmp_path / f"out/{path.name}.overlay.gif").unlink()
    lifted(tmp_path, path, f"images={tmp_path}/photos", "picture=false")
    assert not list((tmp_path / "out").glob("*.gif"))


def test_a_folder_that_is_named_by_dots_writes_into_out_alone(tmp_path, monkeypatch):
    folder, _ = files.openpose(tmp_path)
    monkeypatch.chdir(folder)
    (folder / "below").mkdir()
    for name in (".", "..", "below/.."):
        monkeypatch.chdir(folder / "below" if name == ".." else folder)
        out = tmp_path / "far/out"
        assert predict.main([f"keypoints={name}", f"out={out}", f"size={WIDTH}x{HEIGHT}", *CPU]) == 0
        assert {p.name for p in out.iterdir()} == {"op.json", "op.npz", "op.html", "summary.json"}
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["out"]


def test_names_in_a_file_never_lead_out_of_the_folder(tmp_path):
    """Names of images are text in the answer; what is written is named after the keypoint file."""
    path, _ = files.coco(tmp_path)
    tree = json.loads(path.read_text())
    tree["images"][0]["file_name"] = "../../evil<script>.jpg"
    path.write_text(json.dumps(tree))
    found = lifted(tmp_path, path)
    assert found["frames"][0]["image"] == "../../evil<script>.jpg"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "a.json.json", "a.json.npz", "a.json.html", "summary.json",
    }  # fmt: skip
    assert not list(tmp_path.parent.glob("evil*"))
    assert "evil<script>" not in (tmp_path / "out/a.json.html").read_text()
