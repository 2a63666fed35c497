"""Features of photographs: what networks' maps say at the joints, kept as float16, found again by rows."""

import numpy as np
import pytest
import torch

from dg.datasets.image_depth_file import read_image_depth
from dg.extract_depth.__main__ import main
from dg.files.safe_load import load_npz
from dg.images.reading import read_image
from render_workers.depth.depth_anything_network import DepthAnythingNetwork
from tests.extract_depth.photos import people_in, write_photos
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    save_depth_anything(folder / "network")
    save_vitpose(folder / "pose")
    np.savez(folder / "people.npz", **people_in(write_photos(folder / "photos", 6), folder / "photos"))
    given = [
        f"images={folder / 'photos'}", f"keypoints={folder / 'people.npz'}", f"out={folder / 'depth.npz'}", "workers=0",
        f"depth.checkpoint={folder / 'network'}", "depth.input_px=42", "device=cpu", "batch=3",
        "features=[depth_features,image_features]", f"pose_network={folder / 'pose'}",
    ]  # fmt: skip
    assert main(given) == 0
    return folder


def test_features_of_the_depth_network_are_its_map_at_the_joints(extracted):
    found, people = read_image_depth(str(extracted / "depth.npz")), load_npz(extracted / "people.npz")
    assert found.features.dtype == np.float16
    width = found.feature_sizes["depth_features"]
    assert list(found.feature_sizes) == ["depth_features", "image_features"]
    network = DepthAnythingNetwork(extracted / "network", 42, 1)
    for row, name in enumerate(people["image"]):
        rgb = torch.from_numpy(read_image(extracted / "photos" / name).copy()).permute(2, 0, 1)[None].float() / 255
        joints = torch.from_numpy(people["joints_2d"][row])
        known = joints.isfinite().all(-1)
        exact = network.with_map(rgb)[1].at(joints[known][None])[0]
        got = torch.from_numpy(found.features[row][known.numpy(), :width]).float()
        torch.testing.assert_close(got, exact, atol=5e-3, rtol=5e-3)
        assert (found.features[row][~known.numpy()] == 0).all()


def test_features_in_another_order_are_refused(extracted, capsys):
    given = ["images=x", "keypoints=y", "out=z", "features=[image_features,depth_features]"]
    assert main(given) == 2
    assert "in this order" in capsys.readouterr().err
