"""`dg predict`: photographs of which everything is known, through detector, depth and lifter to the files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dg.images.detector import PersonPoseDetector
from dg.images.people import Person, to_skeleton
from dg.images.settings import DetectorOptions
from dg.pose.skeleton import H36M_16, H36M_17
from dg.predict import __main__ as predict
from dg.predict.lifter_inputs import LiftedPerson
from dg.predict.lifting import pose_batch
from dg.predict.picture import draw_picture
from dg.predict.predictor import ImagePredictor
from dg.predict.run import run
from dg.predict.settings import predict_options
from tests.images.detector_maker import save_rt_detr, save_vit_pose
from tests.images.photo_maker import photograph, two_people
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.trained.makers import SMALL, store

LIFTER = ["method=erm", "lifter=simple_baseline", *SMALL["simple_baseline"]]
KINDS = {
    "xy": ["inputs=xy"], "xyd": ["inputs=xyd"], "xyc": ["inputs=xyc", "box_ref=0.5"],
    "uadd": ["inputs=uadd", "box_ref=0.5", "skeleton=h36m_17"],
    "xycd_paper": ["inputs=xycd", "dscale2d=paper", "detection.radius_mode=scale"],
}  # fmt: skip
CPU = ["device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def photos():
    return {"two": photograph(two_people()), "nobody": photograph(two_people()[:0])}


@pytest.fixture
def folder(tmp_path, photos):
    for name, photo in photos.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(photo.rgb).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


class Known:
    """A detector and a depth network that know the photographs. asked: images whose depth was wanted."""

    def __init__(self, photos):
        self.photos = {photo.rgb.tobytes(): photo for photo in photos}
        self.asked = 0

    def people(self, images):
        return [list(self.photos[image.tobytes()].people) for image in images]

    def depth(self, image, _camera):
        self.asked += 1
        return self.photos[image.tobytes()].depth


def predicted(folder, photos, *words, checkpoint="best.pt", name="two.png"):
    """The JSON of one image, and how often depth was wanted."""
    known, said = Known(photos.values()), []
    given = [f"{folder}/in", f"checkpoint={folder}/{checkpoint}", f"out={folder}/out", *CPU, *words]
    run(predict_options(given), said.append, known.people, known.depth)
    return json.loads((folder / "out" / f"{name}.json").read_text()), known, said


def by_hand(photo, kind, focal_px):
    """The lifter's input `[joints, channels]` of each person, from the definitions (METHODS 1.4, 4.1, 4.3)."""
    height, width = photo.depth.shape
    rows = []
    for person in photo.people:
        joints, confidence = to_skeleton(person, H36M_17 if kind == "uadd" else H36M_16)
        xy = (2 * joints - [width, height]) / max(width, height)
        if kind == "xy":
            rows.append(xy)
            continue
        disks = [disk(photo.depth, joint, c, joints, kind) for joint, c in zip(joints, confidence, strict=True)]
        median, low, high = np.array(disks).T
        if kind == "xyd":
            rows.append((xy * (median[0] / 4.5) * (2.29 / (2 * focal_px / max(width, height))), median))
            continue
        channels = [2 * confidence - 1]
        if kind != "xyc":
            channels += [np.clip(median - median[0], -2, 2) / 2]
        if kind == "uadd":
            channels += [np.clip(end - median[0], -2, 2) / 2 for end in (low, high)]
        if kind == "xycd_paper":
            xy = xy * (median[0] / 4.5)
        else:
            box = (np.ptp(xy[:, 0]) + np.ptp(xy[:, 1])) / 2
            xy = xy.mean(0) + (xy - xy.mean(0)) * 0.5 / box
        rows.append(np.concatenate([xy, np.array(channels).T], -1))
    return rows


def disk(depth, joint, confidence, joints, kind):
    height, width = depth.shape
    if kind == "xyd":
        confidence = 1.0  # a small disk, near enough to the joint itself
    if kind == "xycd_paper":
        torso = np.linalg.norm(joints[0] - joints[8]) * 1000 / max(width, height)
        radius = np.clip(0.04 * torso * (1 + 3 * (1 - confidence)) ** 1.5, 3, 30)
    else:
        radius = 3 + (1 - confidence) * 27
    radius = radius * max(width, height) / 1000
    v, u = np.mgrid[:height, :width]
    values = depth[(u - np.floor(joint[0])) ** 2 + (v - np.floor(joint[1])) ** 2 <= radius**2]
    return np.median(values), values.min(), values.max()


@pytest.mark.parametrize("kind", ["xy", "xyc", "uadd", "xycd_paper"])
def test_the_answer_is_that_of_the_lifter_for_the_input_by_its_definition(folder, photos, kind):
    _, lifter = store(folder, *LIFTER, *KINDS[kind])
    found, known, _ = predicted(folder, photos, "focal=420", "picture=false")
    with torch.no_grad():
        x = torch.tensor(np.stack(by_hand(photos["two"], kind, 420.0)), dtype=torch.float32)
        expected = lifter(x[:, None])[:, 0].numpy()
    expected = expected - expected[:, :1]
    assert len(found["people"]) == 2
    for person, joints in zip(found["people"], expected, strict=True):
        assert np.allclose(person["joints_3d_m"], joints, atol=2e-3)
    needs_depth = kind in ("uadd", "xycd_paper")
    assert known.asked == 2 * needs_depth
    assert found["protocol"] == {"2d": "rt-detr+vitpose", "depth": "images" if needs_depth else "none", "tta": "none"}


def test_xyd_reads_depth_at_the_joint_and_scales_2d_by_depth_and_focal_length(folder, photos):
    checkpoint, _ = store(folder, *LIFTER, *KINDS["xyd"])
    known = Known(photos.values())
    options = predict_options([f"{folder}/in/two.png", f"checkpoint={checkpoint}", "focal=420", *CPU])
    predictor = ImagePredictor(options, known.people, known.depth)
    inputs = predictor.inputs_of(folder / "in/two.png", Path("two.png"))
    batch = pose_batch(inputs.people, [inputs.camera] * 2, H36M_16)
    features = batch.features(predictor.stored.inputs)[:, 0].numpy()
    for row, (xy, median), person in zip(features, by_hand(photos["two"], "xyd", 420.0), inputs.people, strict=True):
        assert np.allclose(person.depth, median, atol=0.12)
        at_root = person.depth[0] / median[0]
        assert np.allclose(row[:, :2], xy * at_root, atol=1e-4)
        assert np.allclose(row[:, 2], (person.depth - person.depth[0]) / 2, atol=1e-5)
        assert person.nearest is None


def test_people_stand_where_they_stood_but_for_their_own_thickness(folder, photos):
    store(folder, *LIFTER, *KINDS["uadd"])
    found, _, _ = predicted(folder, photos, "focal=420", "picture=false")
    assert found["camera"]["known"]
    for person, true in zip(found["people"], photos["two"].joints_3d, strict=True):
        root = np.array(person["root_camera_m"])
        assert 0 < true[0, 2] - root[2] < 0.25
        hips = (true[1] + true[4]) / 2  # of which a detector's pelvis is the middle
        assert np.allclose(root[:2] / root[2], (hips[:2] / hips[2]).numpy(), atol=2e-3)
        joints = np.array(person["joints_3d_camera_m"])
        assert np.allclose(joints - root, person["joints_3d_m"], atol=2e-4)


def test_without_a_focal_length_one_is_assumed_and_said_and_nobody_is_placed(folder, photos):
    store(folder, *LIFTER, *KINDS["xyd"])
    found, _, said = predicted(folder, photos, "picture=false")
    assert not found["camera"]["known"]
    assert found["camera"]["focal_px"] == pytest.approx([2.29 * 480 / 2] * 2)
    assert found["people"][0]["joints_3d_camera_m"] is None
    assert any("assumed 2.29" in line for line in said)
    assert any("depth=zbuffer" in line for line in said)


def test_the_size_of_the_image_file_does_not_matter(folder, photos):
    """Twice the pixels of the same view: the same depth and, with the focal length in the new pixels, the same 3D."""
    store(folder, *LIFTER, *KINDS["uadd"])
    small, _, _ = predicted(folder, photos, "focal=420", "picture=false")
    double = photograph(two_people(), 960, 720, 840.0)
    Image.fromarray(double.rgb).save(folder / "in/two.png")
    large, _, _ = predicted(folder, {**photos, "two": double}, "focal=840", "picture=false")
    for one, two in zip(small["people"], large["people"], strict=True):
        assert np.allclose(2 * np.array(one["joints_2d_px"]), two["joints_2d_px"], atol=0.05)
        off = np.abs(np.array(one["depth_m"]) - two["depth_m"])
        assert np.median(off) < 0.01
        assert np.allclose(one["root_camera_m"], two["root_camera_m"], atol=0.03)


def test_the_whole_command_with_tiny_networks_from_folders(folder, capsys, pictures):
    store(folder, *LIFTER, *KINDS["uadd"])
    detector, pose = save_rt_detr(folder / "rt", labels=("person",)), save_vit_pose(folder / "vit")
    depth = save_depth_anything(folder / "da")
    (folder / "in/broken.png").write_bytes((folder / "in/two.png").read_bytes()[:-500])
    (folder / "in/deep").mkdir()
    (folder / "in/two.png").rename(folder / "in/deep/2.png")
    words = [
        f"{folder}/in", f"checkpoint={folder}/best.pt", f"out={folder}/in/out", f"detector={detector}", f"pose={pose}",
        f"depth.checkpoint={depth}", "depth.input_px=70", "person_score=0.2", "max_people=2", "fov=60", *CPU,
    ]  # fmt: skip
    assert predict.main(words) == 0
    printed = capsys.readouterr().out
    assert "broken.png" in printed
    assert "1 unreadable" in printed
    summary = json.loads((folder / "in/out/summary.json").read_text())
    assert list(summary["unreadable"]) == ["broken.png"]
    assert summary["images"] == 2
    (people,) = PersonPoseDetector(
        DetectorOptions(str(detector), str(pose), person_score=0.2, max_people=2, device="cpu")
    )([np.asarray(Image.open(folder / "in/deep/2.png"))])
    found = json.loads((folder / "in/out/deep/2.png.json").read_text())
    assert len(found["people"]) == len(people) > 0
    for person, detected in zip(found["people"], people, strict=True):
        assert np.allclose(person["box_px"], detected.box, atol=0.01)
        assert np.isfinite(person["joints_3d_m"]).all()
        assert np.isfinite(person["depth_m"]).all()
    assert {"detector", "pose", "depth"} == set(found["networks"])
    assert len(found["checkpoint"]["sha256"]) == 64
    with Image.open(folder / "in/out/deep/2.png.prediction.png") as picture:
        assert min(picture.size) > 400
    assert not [path for path in folder.rglob("*.tmp")]


def test_what_it_wrote_is_not_taken_for_photographs_the_next_time(folder, photos):
    store(folder, *LIFTER, *KINDS["xy"])
    known = Known(photos.values())
    words = [f"{folder}/in", f"checkpoint={folder}", f"out={folder}/in", *CPU]
    again = [run(predict_options(words), lambda _: None, known.people) for _ in range(2)]
    assert [summary["images"] for summary in again] == [2, 2]
    assert sorted(path.name for path in (folder / "in").glob("*.png")) == [
        "nobody.png", "nobody.png.prediction.png", "two.png", "two.png.prediction.png",
    ]  # fmt: skip


def test_one_of_the_people_can_be_asked_for_and_nobody_is_an_answer(folder, photos):
    store(folder, *LIFTER, *KINDS["xy"])
    first, second = photos["two"].people
    sure = Person(second.box, second.score, second.keypoints, np.full_like(second.confidence, 0.99))
    known = Known(photos.values())
    words = [f"{folder}/in", f"checkpoint={folder}", f"out={folder}/out", "people=best", "picture=false", *CPU]
    summary = run(
        predict_options(words),
        lambda _: None,
        lambda images: [[first, sure] if people else [] for people in known.people(images)],
    )
    found = json.loads((folder / "out/two.png.json").read_text())
    assert [person["box_px"] for person in found["people"]] == [pytest.approx(second.box.tolist(), abs=0.01)]
    assert summary["without_people"] == ["nobody.png"]
    assert json.loads((folder / "out/nobody.png.json").read_text())["people"] == []


def test_a_lifter_of_windows_sees_a_still_person_or_the_clip_of_the_folder(tmp_path):
    checkpoint, lifter = store(
        tmp_path, "method=erm", "inputs=xy", "lifter=video_pose_3d", "lifter.width=16", "frames=9"
    )
    assert lifter.target_frames(9) == slice(4, 5)
    (tmp_path / "in").mkdir()
    frames = [photograph(two_people()[:1] + torch.tensor([0.1 * i, 0, 0])) for i in range(3)]
    for number, photo in enumerate(frames):
        Image.fromarray(photo.rgb).save(tmp_path / "in" / f"{8 + number}.png")
    known = Known(frames)
    answers = {}
    for name, more in (("still", []), ("clip", ["sequence=true", "people=best"])):
        out = tmp_path / name
        words = [f"{tmp_path}/in", f"checkpoint={checkpoint}", f"out={out}", "picture=false", *CPU, *more]
        run(predict_options(words), lambda _: None, known.people)
        answers[name] = [json.loads((out / f"{8 + i}.png.json").read_text())["people"][0] for i in range(3)]
    xy = torch.tensor(np.stack([row for photo in frames for row in by_hand(photo, "xy", 420.0)]), dtype=torch.float32)
    still = [[i] * 9 for i in range(3)]
    clip = [[min(max(i + step, 0), 2) for step in range(-4, 5)] for i in range(3)]
    for name, rows in (("still", still), ("clip", clip)):
        with torch.no_grad():
            expected = lifter(xy[torch.tensor(rows)])[:, 0]
        expected = (expected - expected[:, :1]).numpy()
        assert np.allclose([person["joints_3d_m"] for person in answers[name]], expected, atol=2e-4), name


def test_the_views_of_the_picture_have_equal_axes_and_show_the_joints(folder, photos, pictures):
    checkpoint, _ = store(folder, *LIFTER, *KINDS["xyd"])
    known = Known(photos.values())
    options = predict_options([f"{folder}/in/two.png", f"checkpoint={checkpoint}", *CPU])
    inputs = ImagePredictor(options, known.people, known.depth).inputs_of(folder / "in/two.png", Path("two.png"))
    joints = photos["two"].joints_3d[:, [j for j in range(17) if j != 9]].numpy()
    people = [LiftedPerson(p, j - j[:1]) for p, j in zip(inputs.people, joints, strict=True)]
    figure = draw_picture(inputs, people, H36M_16, "a caption")
    views = [axis for axis in figure.axes if "m" in axis.get_xlabel()]
    assert len(views) == 4
    for number, axis in enumerate(views):
        across = 2 if number % 2 else 0
        left, right = axis.get_xlim()
        low, high = axis.get_ylim()
        assert low > high, "y points down"
        assert right - left == pytest.approx(low - high)
        drawn = np.concatenate([line.get_xydata() for line in axis.lines])
        shown = people[number // 2].joints_3d[:, [across, 1]]
        assert np.allclose(np.unique(drawn.round(4), axis=0), np.unique(shown.round(4), axis=0))
        assert ((drawn > [left, high]) & (drawn < [right, low])).all()
    assert "depth, m" in [axis.get_ylabel() for axis in figure.axes]


WRONG = {
    "no images": (["checkpoint={run}"], 2, "keypoints=FILE"),
    "an unknown order of joints": (["{in}", "checkpoint={run}", "joints=coco"], 2, "coco_17"),
    "a size of one number": (["{in}", "checkpoint={run}", "size=1920"], 2, "WIDTHxHEIGHT"),
    "a typo": (["{in}", "checkpoint={run}", "focall=3"], 2, "focal"),
    "a normalised focal length": (["{in}", "checkpoint={run}", "focal=2.29"], 2, "pixels"),
    "two cameras": (["{in}", "checkpoint={run}", "focal=500", "fov=60"], 2, "one of"),
    "half a camera": (["{in}", "checkpoint={run}", "camera=500,500"], 2, "fx,fy,cx,cy"),
    "another depth source": (["{in}", "checkpoint={run}", "depth=zbuffer"], 2, "depth_anything_v2"),
    "a depth option that is not": (["{in}", "checkpoint={run}", "depth.input=70"], 2, "input_px"),
    "no multiple of 14": (["{in}", "checkpoint={run}", "depth.input_px=71"], 2, "multiple of 14"),
    "a sequence of everybody": (["{in}", "checkpoint={run}", "sequence=true"], 2, "people=best"),
    "a word for a number": (["{in}", "checkpoint={run}", "batch=many"], 2, "whole number"),
    "a score above one": (["{in}", "checkpoint={run}", "person_score=30"], 2, "person_score"),
    "a boundless camera": (["{in}", "checkpoint={run}", "focal=inf"], 2, "pixels"),
    "no such checkpoint": (["{in}", "checkpoint={in}/none.pt"], 4, "no checkpoint"),
    "no such images": (["{in}/none", "checkpoint={run}"], 4, "found nothing"),
    "no images in the folder": (["{empty}", "checkpoint={run}"], 4, "no images"),
    "no detector": (["{in}", "checkpoint={run}", "detector={in}/x"], 4, "detector=FOLDER"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_words_and_files_are_one_message_and_an_exit_code(folder, capsys, kind):
    store(folder, *LIFTER, *KINDS["xy"])
    (folder / "empty").mkdir()
    words, code, message = WRONG[kind]
    places = {"in": f"{folder}/in", "run": folder, "empty": f"{folder}/empty"}
    assert predict.main([*(word.format(**places) for word in words), *CPU]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert "Traceback" not in printed


def test_only_unreadable_images_are_an_error(folder, photos, capsys):
    store(folder, *LIFTER, *KINDS["xy"])
    for path in (folder / "in").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="none of the 2 images can be read"):
        predicted(folder, photos)


def test_help_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from dg.predict.__main__ import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'transformers', 'ray', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[IMAGE | FOLDER | VIDEO]" in done.stdout
