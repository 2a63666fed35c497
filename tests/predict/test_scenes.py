"""Lifters that take depth or features of a picture: read as `dg extract-depth` reads them, lifted as in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dg.datasets.image_depth_file import read_image_depth
from dg.extract_depth import __main__ as extract_depth
from dg.images.people import to_skeleton
from dg.pose.skeleton import COCO_17, H36M_17
from dg.predict import __main__ as predict
from dg.predict.lifting import pose_batch
from dg.predict.predictor import ImagePredictor
from dg.predict.run import run
from dg.predict.settings import predict_options
from dg.settings.config import ConfigError
from dg.settings.errors import exit_code
from render_workers.depth import DEPTH_SOURCES
from tests.images.image_depth_source import PLACE
from tests.images.photo_maker import photograph, two_people
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose
from tests.trained.makers import SMALL, store

CPU = ["device=cpu", "threads=1", "picture=false"]
DEPTH_WIDTH, POSE_WIDTH = 16, 12
SIZES = {"depth_features": DEPTH_WIDTH, "image_features": POSE_WIDTH}
BASE = {"xy": [], "uadd": ["box_ref=0.5"]}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A photograph of two people and two tiny networks."""
    folder = tmp_path_factory.mktemp("scenes")
    save_depth_anything(folder / "depth")
    save_vitpose(folder / "pose")
    (folder / "in").mkdir()
    Image.fromarray(photograph(two_people()).rgb).save(folder / "in/two.png")
    return folder


@pytest.fixture(scope="module")
def people():
    return photograph(two_people()).people


def lifter(place, folder, channels, features, pose_network="pose"):
    folder.mkdir(exist_ok=True)
    sizes = [SIZES[name] for name in features]
    words = [f"inputs={channels}+{'+'.join(features)}", f"feature_sizes={sizes}", *BASE[channels]]
    words += [f"pose_network={place / pose_network}"] if "image_features" in features else []
    depth = ["depth=depth_anything_v2", f"depth.checkpoint={place / 'depth'}"]
    lift = ["method=erm", "lifter=simple_baseline", *SMALL["simple_baseline"]]
    return store(folder, *lift, *words, *depth, "skeleton=h36m_17")


def networks(place, features):
    named = [f"depth.checkpoint={place / 'depth'}", "depth.input_px=70"]
    return named + ([f"pose_network={place / 'pose'}"] if "image_features" in features else [])


def extracted(place, out, people, features, inputs="uadd"):
    """What `dg extract-depth` keeps of the same people: the path that training data takes."""
    found = [to_skeleton(person, H36M_17) for person in people]
    np.savez(
        out / "people.npz", image=np.array(["two.png"] * len(people)), joints_2d=np.stack([j for j, _ in found]),
        confidence=np.stack([c for _, c in found]), skeleton="h36m_17",
    )  # fmt: skip
    words = [f"images={place / 'in'}", f"keypoints={out / 'people.npz'}", f"out={out / 'depth.npz'}", "workers=0"]
    words += [f"features=[{','.join(features)}]", f"inputs={inputs}", "device=cpu", *networks(place, features)]
    assert extract_depth.main(words) == 0
    return read_image_depth(str(out / "depth.npz"))


@pytest.mark.parametrize(
    ("channels", "features"),
    [
        ("xy", ["image_features"]),
        ("xy", ["depth_features"]),
        ("uadd", ["depth_features", "image_features"]),
    ],
    ids=str,
)
def test_a_photograph_is_lifted_by_the_features_that_training_reads(place, people, tmp_path, channels, features):
    checkpoint, network = lifter(place, tmp_path / "run", channels, features)
    words = [f"{place / 'in'}", f"checkpoint={checkpoint}", f"out={tmp_path / 'out'}", "focal=420", *CPU]
    run(predict_options([*words, *networks(place, features)]), lambda _: None, lambda images: [people])
    found = json.loads((tmp_path / "out/two.png.json").read_text())
    assert found["networks"]["features"]["names"] == features
    assert found["protocol"]["depth"] == ("images" if channels == "uadd" else "none")
    trained = extracted(place, tmp_path, people, features)
    predictor = ImagePredictor(predict_options([*words, *networks(place, features)]), lambda images: [people])
    inputs = predictor.inputs_of(place / "in/two.png", Path("two.png"))
    for row, person in enumerate(inputs.people):
        assert np.array_equal(person.features, trained.features[row])
        assert person.features.std() > 0.01
    batch = pose_batch(inputs.people, [inputs.camera] * 2, H36M_17)
    x = batch.features(predictor.stored.inputs)
    width = sum(SIZES[name] for name in features)
    assert torch.equal(x[:, 0, :, -width:], torch.from_numpy(trained.features[:2]).float())
    with torch.no_grad():
        expected = network(x)[:, 0].numpy()
        without = network(torch.cat([x[..., :-width], torch.zeros_like(x[..., -width:])], -1))[:, 0].numpy()
    lifted = np.array([person["joints_3d_m"] for person in found["people"]])
    np.testing.assert_allclose(lifted, expected - expected[:, :1], atol=2e-4)
    assert np.abs(lifted - (without - without[:, :1])).max() > 1e-2


def keypoint_file(path, people, missing=()):
    """COCO annotations of the photograph's people."""
    rows = []
    for person in people:
        row = np.concatenate([person.keypoints, person.confidence[:, None]], -1)
        row[[COCO_17.index(joint) for joint in missing]] = 0
        rows.append(row.reshape(-1).tolist())
    tree = {
        "images": [{"id": 1, "file_name": "two.png", "width": 480, "height": 360}],
        "annotations": [{"image_id": 1, "category_id": 1, "keypoints": row} for row in rows],
    }
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize("channels", ["uadd", "xy"])
def test_keypoints_with_their_images_are_lifted_as_the_photograph_is(place, people, tmp_path, channels):
    features = ["depth_features", "image_features"]
    checkpoint, _ = lifter(place, tmp_path / "run", channels, features)
    given = [f"checkpoint={checkpoint}", "focal=420", *CPU, *networks(place, features)]
    run(predict_options([f"{place / 'in'}", f"out={tmp_path / 'a'}", *given]), lambda _: None, lambda images: [people])
    path = keypoint_file(tmp_path / "k.json", people)
    assert predict.main([f"keypoints={path}", f"images={place / 'in'}", f"out={tmp_path / 'b'}", *given]) == 0
    photo = json.loads((tmp_path / "a/two.png.json").read_text())["people"]
    (frame,) = json.loads((tmp_path / "b/k.json.json").read_text())["frames"]
    for one, other in zip(photo, frame["people"], strict=True):
        assert (one["depth_m"] is None) == (channels == "xy")
        for name in ("joints_2d_px", "depth_m", "nearest_depth_m", "farthest_depth_m", "joints_3d_m", "root_camera_m"):
            assert (one[name] is None) == (other[name] is None)
            if one[name] is not None:
                np.testing.assert_allclose(one[name], other[name], atol=2e-3)


def test_a_joint_that_was_not_found_has_no_features_and_no_3d(place, people, tmp_path):
    features = ["depth_features"]
    checkpoint, _ = lifter(place, tmp_path / "run", "uadd", features)
    path = keypoint_file(tmp_path / "k.json", people[:1], missing=["left_wrist"])
    given = [f"checkpoint={checkpoint}", f"out={tmp_path / 'out'}", *CPU, *networks(place, features)]
    assert predict.main([f"keypoints={path}", f"images={place / 'in'}", *given]) == 0
    (frame,) = json.loads((tmp_path / "out/k.json.json").read_text())["frames"]
    lost = [n for n, joint in enumerate(frame["people"][0]["joints_3d_m"]) if joint is None]
    assert lost == [H36M_17.index("left_wrist")]
    options = predict_options([f"{place / 'in'}", *given])
    (person,) = people[:1]
    person.keypoints[COCO_17.index("left_wrist")], kept = np.nan, person.keypoints.copy()
    predictor = ImagePredictor(options, lambda images: [[person]])
    (inputs,) = predictor.inputs_of(place / "in/two.png", Path("two.png")).people
    person.keypoints[:] = kept
    assert (inputs.features[lost] == 0).all()
    assert (np.abs(np.delete(inputs.features, lost, 0)).max(-1) > 0).all()


def test_what_is_missing_or_of_another_network_is_said(place, people, tmp_path, capsys, monkeypatch):
    both = ["depth_features", "image_features"]
    checkpoint, _ = lifter(place, tmp_path / "run", "xy", both)
    path = keypoint_file(tmp_path / "k.json", people)

    def said(*words) -> str:
        assert predict.main([f"checkpoint={checkpoint}", f"out={tmp_path / 'out'}", *CPU, *words]) in (2, 4)
        text = capsys.readouterr().err
        assert text.startswith("error: ")
        assert text.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return text

    assert "images=FOLDER" in said(f"keypoints={path}", *networks(place, both))
    here = [f"keypoints={path}", f"images={place / 'in'}"]
    assert "depth.checkpoint=" in said(*here, f"pose_network={place / 'pose'}")
    assert "pose_network=" in said(*here, *networks(place, ["depth_features"]))
    monkeypatch.setitem(DEPTH_SOURCES, "brightness", PLACE)
    assert "brightness has no features" in said(*here, f"pose_network={place / 'pose'}", "depth=brightness")
    network = save_vitpose(tmp_path / "wide", seed=1)
    config = json.loads((network / "config.json").read_text())
    config["backbone_config"]["hidden_size"] = 20
    (network / "config.json").write_text(json.dumps(config))
    text = said(*here, *networks(place, ["depth_features"]), f"pose_network={network}")
    assert "image_features of 12 channels" in text
    assert "image_features of 20 channels" in text
    tree = json.loads(path.read_text())
    tree["images"].append({"id": 2, "file_name": "absent.png", "width": 480, "height": 360})
    tree["annotations"].append({**tree["annotations"][0], "image_id": 2})
    path.write_text(json.dumps(tree))
    assert "the image of frame absent.png is absent, and the lifter takes more than 2D" in said(
        *here, *networks(place, both)
    )
    with pytest.raises(ConfigError) as caught:
        ImagePredictor(predict_options([f"{place / 'in'}", f"checkpoint={checkpoint}", *CPU]), lambda images: [people])
    assert exit_code(caught.value) == 2
