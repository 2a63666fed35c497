import numpy as np
import pytest
import torch

from dg.pose.skeleton import H36M_16, H36M_17
from dg.training.build import initialise
from lifters.published import published_weights
from lifters.sem_gcn import SemGCN, SemGCNOptions
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from lifters.st_gcn import STGCN, STGCNOptions
from lifters.video_pose_3d import VideoPose3D, VideoPose3DOptions

# PoseAug's four, as its evaluation sees them: the graph networks' root stays where they put it.
POSEAUG = {
    "simple_baseline": lambda: SimpleBaseline(H36M_16, 2, SimpleBaselineOptions()),
    "video_pose_3d": lambda: VideoPose3D(H36M_16, 2, VideoPose3DOptions()),
    "sem_gcn": lambda: SemGCN(H36M_16, 2, SemGCNOptions(root="predicted")),
    "st_gcn": lambda: STGCN(H36M_16, 2, STGCNOptions(root="predicted")),
}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("skeleton", "channels", "root", "expected"),
    [
        (H36M_16, 2, "zero", 4_288_557),
        (H36M_16, 3, "zero", 4_304_941),
        (H36M_16, 6, "zero", 4_354_093),
        (H36M_17, 2, "predicted", 4_296_755),
        (H36M_17, 6, "predicted", 4_366_387),
    ],
)
def test_simple_baseline_has_the_published_number_of_parameters(skeleton, channels, root, expected):
    assert count(SimpleBaseline(skeleton, channels, SimpleBaselineOptions(root=root))) == expected


@pytest.mark.parametrize(
    ("skeleton", "channels", "options", "expected"),
    [
        (H36M_16, 2, VideoPose3DOptions(), 8_485_933),
        (H36M_16, 3, VideoPose3DOptions(), 8_502_317),
        (H36M_17, 2, VideoPose3DOptions(widths=(3, 3), root="predicted"), 4_357_171),
        (H36M_17, 6, VideoPose3DOptions(widths=(3, 3, 3), root="predicted"), 8_764_467),
    ],
)
def test_video_pose_3d_has_the_published_number_of_parameters(skeleton, channels, options, expected):
    assert count(VideoPose3D(skeleton, channels, options)) == expected


@pytest.mark.parametrize(
    ("skeleton", "channels", "expected"), [(H36M_16, 2, 267_343), (H36M_16, 3, 267_599), (H36M_17, 2, 267_373)]
)
def test_sem_gcn_has_the_published_number_of_parameters(skeleton, channels, expected):
    """At 17 joints: three more edge logits in each of ten convolutions."""
    assert count(SemGCN(skeleton, channels, SemGCNOptions())) == expected


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
@pytest.mark.parametrize(("channels", "expected"), [(2, 3_627_847), (3, 3_628_393)])
def test_st_gcn_has_the_published_number_of_parameters(skeleton, channels, expected):
    assert count(STGCN(skeleton, channels, STGCNOptions())) == expected


@pytest.mark.shared
@pytest.mark.parametrize("name", POSEAUG)
def test_one_frame_lifters_compute_what_the_released_code_computes(shared, name):
    golden = np.load(shared / "conformance/poseaug_golden.npz")
    lifter = POSEAUG[name]().eval()
    initialise(lifter, shared / f"conformance/poseaug_{name}.pth")
    with torch.no_grad():
        output = lifter(torch.from_numpy(golden["lifter_in"])[:, None])
    assert output.shape == (16, 1, 16, 3)
    assert np.abs(output[:, 0].numpy() - golden[f"{name}_out"]).max() < 1e-5


@pytest.mark.shared
@pytest.mark.parametrize("name", POSEAUG)
@pytest.mark.parametrize("key", ["state_dict", "model_pos"])
def test_a_run_starts_from_each_of_the_published_checkpoints(shared, tmp_path, name, key):
    """They hold the weights under either key, beside the epoch and more; some were saved from a parallel module."""
    golden = np.load(shared / "conformance/poseaug_golden.npz")
    weights = published_weights(torch.load(shared / f"conformance/poseaug_{name}.pth", weights_only=True))
    path, lifter = tmp_path / "ckpt_best.pth.tar", POSEAUG[name]()
    torch.save({"epoch": 50, "lr": 1e-4, key: {f"module.{k}": v for k, v in weights.items()}}, path)
    initialise(lifter, path)
    with torch.no_grad():
        output = lifter.eval()(torch.from_numpy(golden["lifter_in"])[:, None])
    assert np.abs(output[:, 0].numpy() - golden[f"{name}_out"]).max() < 1e-5


@pytest.mark.shared
@pytest.mark.parametrize(("frames", "width"), [(27, 128), (243, 64)])
def test_video_pose_3d_sequences_compute_what_the_released_code_computes(shared, frames, width):
    golden = np.load(shared / "conformance/sequence_lifters_golden.npz")
    name = f"videopose3d_{frames}_c{width}"
    features = torch.from_numpy(golden[f"{name}_in"])
    widths = (3,) * {27: 3, 243: 5}[frames]
    options = VideoPose3DOptions(widths=widths, width=width, root="predicted")
    lifter = VideoPose3D(H36M_17, features.shape[-1], options).eval()
    initialise(lifter, shared / f"conformance/{name}.pth")
    with torch.no_grad():
        output = lifter(features)
    assert output.shape == golden[f"{name}_out"].shape
    assert np.abs(output.numpy() - golden[f"{name}_out"]).max() < 1e-5


@pytest.mark.shared
def test_a_checkpoint_of_another_lifter_is_refused_and_changes_nothing(shared):
    lifter = VideoPose3D(H36M_16, 2, VideoPose3DOptions())
    before = lifter.last.weight.clone()
    with pytest.raises(ValueError, match=r"poseaug_simple_baseline\.pth.*another lifter"):
        initialise(lifter, shared / "conformance/poseaug_simple_baseline.pth")
    assert torch.equal(before, lifter.last.weight)
    with pytest.raises(ValueError, match=r"first\.linear\.weight.*channels"):
        initialise(
            SimpleBaseline(H36M_16, 3, SimpleBaselineOptions()), shared / "conformance/poseaug_simple_baseline.pth"
        )


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"weights\.pth"):
        initialise(SimpleBaseline(H36M_16, 2, SimpleBaselineOptions()), path)
