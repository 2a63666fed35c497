"""RT-DETR and ViTPose with random weights, saved and loaded as published ones are, and laws of what surrounds them."""

import json
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dg.images.detector import PersonPoseDetector
from dg.images.people import Person, to_skeleton
from dg.images.settings import DetectorOptions
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17, SMPL_24
from dg.settings.errors import ConfigError, exit_code
from dg.settings.plugins import OptionError
from dg.settings.reader import build
from render_workers.depth.checkpoint_files import DepthCheckpointError
from tests.images.detector_maker import save_rt_detr, save_vit_pose


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    return {
        "v1": save_rt_detr(root / "v1", 1, ("person",)), "v2": save_rt_detr(root / "v2", 2, ("person",)),
        "two": save_rt_detr(root / "two", labels=("bicycle", "person")),
        "pose": save_vit_pose(root / "pose"), "experts": save_vit_pose(root / "experts", experts=3),
    }  # fmt: skip


def detector(folders, kind="v2", pose="pose", **options):
    return _loaded(DetectorOptions(str(folders[kind]), str(folders[pose]), device="cpu", **options))


_loaded = cache(PersonPoseDetector)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "pose"), [("v1", "pose"), ("v2", "experts")])
def test_people_lie_in_their_image_and_do_not_depend_on_the_other_images(folders, kind, pose):
    images = [noise(120, 160), noise(90, 60, 1), noise(64, 64, 2)]
    together = detector(folders, kind, pose, person_score=0.0, max_people=4, batch=3)(images)
    for image, people in zip(images, together, strict=True):
        assert people
        (alone,) = detector(folders, kind, pose, person_score=0.0, max_people=4, batch=5)([image])
        for person, again in zip(people, alone, strict=True):
            for name in ("box", "score", "keypoints", "confidence"):
                assert np.allclose(getattr(person, name), getattr(again, name), atol=2e-2), name
            height, width = image.shape[:2]
            left, top, right, bottom = person.box
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert person.keypoints.shape == (17, 2)
            assert ((person.confidence >= 0) & (person.confidence <= 1)).all()
        sizes = [person.score * person.area for person in people]
        assert sizes == sorted(sizes, reverse=True)


class Answers:
    """A network that answers the same whatever it sees."""

    def __init__(self, config, **outputs):
        self.config, self.outputs = config, SimpleNamespace(**outputs)

    def __call__(self, *_, **__):
        return self.outputs


def answers(monkeypatch, found, logits, boxes):
    """The detector, whose network answers these."""
    outputs = {"logits": torch.tensor(logits)[None], "pred_boxes": torch.tensor(boxes)[None]}
    monkeypatch.setattr(found, "_detector", Answers(found._detector.config, **outputs))
    return found


def test_only_sure_people_are_kept_cut_at_the_border_and_sorted(monkeypatch, folders):
    # Centre and size, in parts of the image; the first class is no person.
    boxes = [
        [0.5, 0.5, 0.2, 0.4],
        [0.3, 0.5, 0.4, 0.8],
        [0.9, 0.9, 0.4, 0.4],
        [0.5, 0.5, 0.9, 0.9],
        [0.2, 0.2, 0.1, 0.3],
    ]
    logits = [[-9.0, 2.0], [-9.0, 1.0], [-9.0, 0.5], [4.0, -9.0], [-9.0, -2.0]]
    found = answers(monkeypatch, detector(folders, "two", person_score=0.3), logits, boxes)
    ((kept, scores),) = found.boxes([noise(100, 200)])
    assert np.allclose(kept, [[20, 10, 100, 90], [80, 30, 120, 70], [140, 70, 200, 100]], atol=1e-3)
    assert np.allclose(scores, torch.tensor([1.0, 2.0, 0.5]).sigmoid(), atol=1e-6)
    one = answers(monkeypatch, detector(folders, "two", person_score=0.3, max_people=1), logits, boxes)
    assert np.allclose(one.boxes([noise(100, 200)])[0][0], kept[:1])
    nobody = answers(monkeypatch, detector(folders, "two", person_score=0.99), logits, boxes)
    assert nobody([noise(100, 200)]) == [[]]


class BrightestPoint:
    """A pose network that sees one thing: where its crop is bright. The corner heatmap pixels are those of the crop."""

    def __init__(self, config):
        self.config = config

    def __call__(self, crops, **_):
        size = [4 * (side // 16) for side in crops.shape[2:]]
        bright = (crops.mean(1, keepdim=True) - crops.amin()).clamp_min(0)
        heatmap = interpolate(bright, size, mode="bilinear", align_corners=True)
        return SimpleNamespace(heatmaps=(heatmap / heatmap.amax()).expand(-1, 17, -1, -1))


@pytest.mark.parametrize("place", [(70.0, 50.0), (64.5, 71.25), (90.5, 40.0)])
@pytest.mark.parametrize("box", [[50, 20, 100, 90], [20.5, 30.25, 130.0, 80.0], [60, 10, 100, 119]])
def test_a_point_of_the_image_comes_back_through_crop_and_heatmap(monkeypatch, folders, place, box):
    """Pixel centres at +0.5: a blob whose mass is centred at (x, y) is found there, whatever the box."""
    left, top, right, bottom = box
    cell = 1.25 * max(right - left, 0.75 * (bottom - top)) / 12  # of the heatmap, in pixels
    y, x = np.mgrid[:120, :160] + 0.5
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * (1.5 * cell) ** 2))
    image = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, -1)
    found = detector(folders)
    monkeypatch.setattr(found, "_pose", BrightestPoint(found._pose.config))
    keypoints, confidence = found.keypoints(image, np.array([box], np.float32))
    assert keypoints.shape == (1, 17, 2)
    assert np.abs(keypoints - place).max() < 0.035 * cell
    assert np.allclose(confidence, 1)


def test_keypoints_of_an_undecided_network_stay_within_the_crop(monkeypatch, folders):
    found = detector(folders)
    boxes = np.array([[50, 20, 100, 90], [10, 20, 150, 40]], np.float32)
    for level in (0.0, -1.0, 1.0):
        heatmaps = torch.full((2, 17, 16, 12), level)
        heatmaps[:, :, 3:, 5:] *= 1.5
        monkeypatch.setattr(found, "_pose", Answers(found._pose.config, heatmaps=heatmaps))
        keypoints, confidence = found.keypoints(noise(120, 160), boxes)
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, 0.625 * np.array([[52.5, 70], [140, 140 / 0.75]])
        assert (np.abs(keypoints - 0.5 - centre[:, None]) <= half[:, None] + 0.51).all()
        assert ((confidence >= 0) & (confidence <= 1)).all()


def test_heatmaps_that_are_not_finite_are_an_error_that_names_the_network(monkeypatch, folders):
    found = detector(folders)
    monkeypatch.setattr(found, "_pose", Answers(found._pose.config, heatmaps=torch.full((1, 17, 16, 12), torch.nan)))
    with pytest.raises(DepthCheckpointError, match="pose="):
        found.keypoints(noise(120, 160), np.array([[50, 20, 100, 90]], np.float32))


def person(keypoints, confidence):
    return Person(np.zeros(4, np.float32), 1.0, keypoints.astype(np.float32), confidence.astype(np.float32))


def test_joints_of_human36m_are_made_of_cocos_as_the_paper_makes_them():
    """METHODS 1.2, written out."""
    generator = np.random.default_rng(0)
    points, sure = generator.uniform(0, 500, (17, 2)), generator.uniform(0, 1, 17)
    ours, cocos = [1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14, 15, 16], [12, 14, 16, 11, 13, 15, 0, 5, 7, 9, 6, 8, 10]
    copied = dict(zip(ours, cocos, strict=True))

    def expected(values):
        made = np.zeros((17, *values.shape[1:]))
        for joint, source in copied.items():
            made[joint] = values[source]
        made[0] = (values[11] + values[12]) / 2
        made[8] = (values[5] + values[6]) / 2
        made[7] = (made[0] + made[8]) / 2
        made[10] = (values[1] + values[2]) / 2
        return made

    joints, confidence = to_skeleton(person(points, sure), H36M_17)
    assert np.allclose(joints, expected(points), atol=1e-3)
    assert np.allclose(confidence, expected(sure), atol=1e-6)
    fewer, _ = to_skeleton(person(points, sure), H36M_16)
    assert np.allclose(fewer, np.delete(joints, 9, 0))
    assert COCO_17.index("nose") == 0
    with pytest.raises(ValueError, match="no rule"):
        to_skeleton(person(points, sure), SMPL_24)


def wrong(folders, tmp_path, kind):
    """(option, checkpoint, what the message says)."""
    if kind == "nothing there":
        return "detector", tmp_path / "nowhere" / "net", ["download", "huggingface.co", "detector=FOLDER"]
    if kind == "no weights":
        (tmp_path / "config.json").write_text("{}")
        return "pose", tmp_path, ["safetensors", "pose=FOLDER"]
    if kind == "pose network as detector":
        return "detector", folders["pose"], ["'vitpose'", "rt_detr"]
    if kind == "detector as pose network":
        return "pose", folders["v2"], ["'rt_detr_v2'", "vitpose"]
    if kind == "no person":
        return "detector", save_rt_detr(tmp_path / "cats", labels=("cat", "dog")), ["person", "cat"]
    if kind == "other keypoints":
        return "pose", save_vit_pose(tmp_path / "ap10k", keypoints=5), ["17", "5"]
    folder = save_vit_pose(tmp_path / "size")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"size": {"height": 256, "width": 192}}))
    return "pose", folder, ["(64, 48)", "(256, 192)"]


@pytest.mark.parametrize(
    "kind",
    [
        "nothing there", "no weights", "pose network as detector", "detector as pose network", "no person",
        "other keypoints", "crops of another size",
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used_is_one_clear_error(folders, tmp_path, kind):
    option, checkpoint, words = wrong(folders, tmp_path, kind)
    places = {"detector": str(folders["v2"]), "pose": str(folders["pose"]), option: str(checkpoint)}
    with pytest.raises(DepthCheckpointError) as caught:
        PersonPoseDetector(DetectorOptions(device="cpu", **places))
    assert all(word in str(caught.value) for word in [*words, option])
    assert exit_code(caught.value) == 4


def test_damaged_weights_are_refused_and_pickles_are_not_read(folders, tmp_path):
    folder = save_rt_detr(tmp_path / "damaged")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DepthCheckpointError, match=r"detector.*cannot be loaded"):
        PersonPoseDetector(DetectorOptions(str(folder), str(folders["pose"]), device="cpu"))
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(DepthCheckpointError, match="safetensors"):
        PersonPoseDetector(DetectorOptions(str(folder), str(folders["pose"]), device="cpu"))


@pytest.mark.parametrize(
    "options", [{"person_score": 1.0}, {"person_score": -0.1}, {"max_people": -1}, {"batch": 0}, {"device": "tpu"}]
)
def test_options_say_what_they_expect(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"^{name} must"):
        build(DetectorOptions, options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_option_error(folders):
    with pytest.raises(OptionError, match="device=cuda"):
        PersonPoseDetector(DetectorOptions(str(folders["v2"]), str(folders["pose"]), device="cuda"))
