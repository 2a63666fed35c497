"""The synthetic domains: what shifts between them, and that a seed means the same data."""

import pytest
import torch

from dg.datasets.synthetic import MIX, Options, Synthetic
from dg.datasets.synthetic_cameras import look_at
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options


@pytest.fixture(scope="module")
def domains():
    return {domain: Synthetic(Options(domain)).load("test" if domain != "source" else "train") for domain in MIX}


def root_depth(data):
    return data.poses.joints_3d[:, 0, 0, 2]


def test_the_default_is_small_enough_for_a_quick_start():
    sizes = {
        (d, s): len(Synthetic(Options(d)).load(s))
        for d, s in (("source", "train"), ("source", "val"), ("near", "test"))
    }
    assert 8_000 <= sizes["source", "train"] <= 12_000
    assert 1_200 <= sizes["source", "val"] <= 2_000
    assert 1_500 <= sizes["near", "test"] <= 2_500


@pytest.mark.parametrize(
    ("domain", "depth_m", "mean_m", "focal"),
    [
        ("source", (3.4, 6.8), (4.9, 5.4), {2.29, 2.30}),
        ("near", (2.5, 4.8), (3.2, 3.8), {2.05}),
        ("wide", (3.8, 6.5), (4.8, 5.6), {1.46, 1.47, 1.75}),
    ],
)
def test_a_domain_has_the_distances_and_lenses_of_its_model(domains, domain, depth_m, mean_m, focal):
    z = root_depth(domains[domain])
    assert z.min() > depth_m[0]
    assert z.max() < depth_m[1]
    assert mean_m[0] < z.mean() < mean_m[1]
    assert {round(f, 2) for f in domains[domain].poses.camera.focal.flatten().tolist()} <= focal


def camera_height(data):
    """Height of the camera above the floor, from the vertical that standing bodies define; metres."""
    joints = data.poses.joints_3d[:, 0]
    up = torch.nn.functional.normalize(joints[:, H36M_17.index("thorax")] - joints[:, [3, 6]].mean(1), dim=-1)
    return -(joints[:, [3, 6]].mean(1) * up).sum(-1)


def test_cameras_hang_at_the_heights_of_their_domain(domains):
    middle = {domain: camera_height(data).median() for domain, data in domains.items()}
    assert 1.2 < middle["near"] < 1.9
    assert 0.3 < middle["wide"] < 2.6
    assert 1.3 < middle["source"] < 1.7


def test_everyone_is_in_the_frame_in_every_domain(domains):
    for data in domains.values():
        assert data.poses.camera.in_frame(data.poses.joints_3d).all()
        assert data.poses.valid.all()


def test_portrait_frames_are_normalised_by_their_longer_side(domains):
    torch.testing.assert_close(domains["near"].poses.camera.extent[0], torch.tensor([1080 / 1920, 1.0]))


def test_domains_differ_in_people_and_in_what_they_do(domains):
    names = [set(d.subjects) for d in domains.values()]
    assert not names[0] & names[1]
    assert not names[1] & names[2]
    lengths = [bone_lengths(d.poses.joints_3d[:, 0], H36M_17).mean(0) for d in domains.values()]
    assert (lengths[0] - lengths[1]).abs().max() > 1e-3
    assert set(MIX["near"]) - set(MIX["source"])
    assert set(MIX["wide"]) - set(MIX["source"])


def test_the_source_is_seen_by_four_cameras_at_once(domains):
    data = domains["source"]
    lengths = bone_lengths(data.poses.joints_3d[:, 0], H36M_17).reshape(-1, 4, 50, 16)
    torch.testing.assert_close(lengths, lengths[:, :1].expand_as(lengths), atol=1e-4, rtol=0)
    assert data.fps == 10.0
    assert (data.clip.bincount() == 50).all()


def test_a_seed_gives_the_same_data_and_another_seed_other_data():
    def digest(**options):
        return Synthetic(Options("near", clips=12, frames=5, **options)).load("test").digest

    assert digest(seed=1) == digest(seed=1)
    assert len({digest(seed=seed) for seed in range(4)}) == 4


def test_the_global_random_stream_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Synthetic(Options("wide", clips=12, frames=5)).load("test")
    assert torch.equal(torch.rand(3), expected)


def test_stride_thins_the_same_motion():
    """The walk follows from the feet at full rate, whatever the stride."""
    fine = Synthetic(Options(clips=5, frames=21, stride=1)).load("train").poses.joints_3d.reshape(5, 4, 21, 17, 3)
    coarse = Synthetic(Options(clips=5, frames=5, stride=5)).load("train").poses.joints_3d.reshape(5, 4, 5, 17, 3)
    torch.testing.assert_close(coarse, fine[:, :, ::5])


@pytest.mark.parametrize("wrong", [{"domain": "far"}, {"clips": 0}, {"frames": 0}, {"stride": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_options(Synthetic, "data", "synthetic", wrong)


def test_convention_cameras_look_along_plus_z_with_y_down():
    rotation = look_at(torch.tensor([3.0, 0.0, 1.5]), torch.tensor([0.0, 0.0, 1.5]))
    torch.testing.assert_close(rotation @ torch.tensor([-1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(rotation @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, -1.0, 0.0]))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0))
