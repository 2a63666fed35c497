"""Features at the joints: where a cell of a map lies in the image, one pass of the network, pools, cache, messages."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from dg.body.open_body import OpenBody
from dg.pose.input_spec import FEATURES
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import OptionError
from render_workers.base import RenderAnswer, RenderRequest
from render_workers.cache import DepthCache
from render_workers.crop import subject_crop
from render_workers.depth.checkpoint_files import DepthCheckpointError
from render_workers.depth.depth_anything_network import DepthAnythingNetwork
from render_workers.depth.pose_network import PoseNetwork, cut
from render_workers.feature_maps import FeatureMap
from render_workers.joint_features import LARGEST, FeatureOptions, FeatureReader, seen_places
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolOptions
from render_workers.uadd import UaddOptions
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints
from tests.fakes import POISON_KEY, depth_of, make_request
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose

BODY = OpenBody()
SIDE = 40


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    return save_depth_anything(tmp_path_factory.mktemp("depth") / "metric")


@pytest.fixture(scope="module")
def pose_folder(tmp_path_factory):
    return save_vitpose(tmp_path_factory.mktemp("pose") / "base")


def spec(depth_folder, pose_folder, names=FEATURES, **changes):
    options = {"checkpoint": str(depth_folder), "input_px": 28}
    plain = WorkerSpec(depth_name="depth_anything_v2", depth_options=options, resolution=32, subject_span_px=28.0)
    return replace(plain, features=FeatureOptions(names, str(pose_folder)) if names else None, **changes)


def request_for(rows, detect=False):
    joints, camera = make_joints(rows), make_camera(rows)
    return RenderRequest(joints, H36M_17, camera, camera.project(joints), torch.arange(rows), detect=detect)


def ramp(rows=2, side=SIDE):
    """Pictures that tell where they are: the first two channels are x and y of the pixel's centre."""
    places = torch.arange(side) + 0.5
    return torch.stack([places.expand(side, side), places[:, None].expand(side, side), torch.zeros(side, side)]).expand(
        rows, 3, side, side
    )


# -- maps


def test_a_linear_ramp_is_read_exactly_between_the_outermost_centres_and_as_there_beyond():
    cells = torch.stack(torch.meshgrid(torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij"))
    values = torch.stack([3 * cells[1] - 2, 0.5 * cells[0] + cells[1], torch.full((5, 7), 4.0)])[None]
    scale, shift = torch.tensor([[0.3, 0.21]]), torch.tensor([[-1.0, 0.4]])
    inside = torch.tensor([0.5, 0.5]) + torch.rand(1, 50, 2) * torch.tensor([6.0, 4.0])
    found = FeatureMap(values, scale, shift).at((inside - shift[:, None]) / scale[:, None])
    x, y = inside.unbind(-1)
    torch.testing.assert_close(found, torch.stack([3 * x - 2, 0.5 * y + x, torch.full_like(x, 4.0)], -1))
    outside = torch.tensor([[[-9.0, 2.0], [99.0, 2.0], [3.2, -50.0]]])
    found = FeatureMap(values, scale, shift).at((outside - shift[:, None]) / scale[:, None])
    torch.testing.assert_close(found[0, :, 0], 3 * torch.tensor([0.5, 6.5, 3.2]) - 2)


def test_it_is_the_weighted_mean_of_the_four_nearest_cells():
    values, points = torch.rand(2, 3, 4, 6), 0.6 + torch.rand(2, 9, 2) * torch.tensor([4.8, 2.8])
    found = FeatureMap(values, torch.ones(2, 2), torch.zeros(2, 2)).at(points)
    for image in range(2):
        for number, (x, y) in enumerate((points[image] - 0.5).tolist()):
            column, row = int(x), int(y)
            expected = torch.zeros(3)
            for r, c in ((row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)):
                expected += (1 - abs(x - c)) * (1 - abs(y - r)) * values[image, :, r, c]
            torch.testing.assert_close(found[image, number], expected)


class PatchMeans:
    """A network whose features are the mean colour of each patch, so that they tell where a patch lies."""

    config = SimpleNamespace(num_experts=1)

    def __init__(self, patch, padding):
        self.patch, self.padding = patch, padding

    def tokens(self, pixels):
        for axis in (2, 3) if self.padding else ():  # goes on beyond the border as within
            first, mirrored = pixels.narrow(axis, 0, 1), pixels.narrow(axis, 1, self.padding).flip(axis)
            pixels = torch.cat([2 * first - mirrored, pixels], axis)
        return avg_pool2d(pixels, self.patch).flatten(2).transpose(1, 2)

    def __call__(self, pixels):
        return SimpleNamespace(feature_maps=[self.tokens(pixels)])


@pytest.mark.parametrize("input_px", [56, 84])
def test_a_cell_of_the_depth_networks_map_lies_where_its_pixels_came_from(depth_folder, input_px):
    network, means = DepthAnythingNetwork(depth_folder, input_px), PatchMeans(14, 0)

    def model(pixels):
        tokens = means.tokens(pixels)
        network._keep(network.model, ([None, torch.cat([tokens[:, :1] * 0 + 99, tokens], 1)],))
        return SimpleNamespace(predicted_depth=pixels[:, 0])

    network.model.forward = model
    network.mean, network.std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    points = 10 + 20 * torch.rand(2, 30, 2)
    found = network.with_map(ramp())[1].at(points)
    # Bicubic resizing keeps ramps away from the border.
    torch.testing.assert_close(found[..., :2], points, atol=2e-3, rtol=0)


def test_a_cell_of_the_pose_networks_map_lies_where_its_pixels_came_from(pose_folder):
    network = PoseNetwork(pose_folder)
    network.backbone = PatchMeans(16, 2)
    network.mean, network.std, network._device = torch.zeros(3, 1, 1), torch.ones(3, 1, 1), torch.device("cpu")
    joints = torch.tensor([[[12.0, 9.3], [25.0, 30.1]], [[8.0, 17.0], [31.5, 26.0]]])
    found = network(ramp(), joints)
    low, high = joints.amin(1, keepdim=True), joints.amax(1, keepdim=True)
    points = low + (0.15 + 0.7 * torch.rand(2, 30, 2)) * (high - low)  # within the outermost centres
    torch.testing.assert_close(found.at(points)[..., :2], points, atol=1e-3, rtol=0)


def test_the_pose_network_sees_the_joints_box_widened_to_its_aspect_and_a_quarter_larger(pose_folder):
    network = PoseNetwork(pose_folder)
    joints = torch.tensor([[[10.0, 5.0], [16.0, 25.0]], [[10.0, 5.0], [34.0, 9.0]], [[3.0, 3.0], [3.0, 3.0]]])
    corner, zoom = network.window(joints)
    size = torch.tensor([48.0, 64.0]) / zoom
    torch.testing.assert_close(corner + size / 2, (joints[:, 0] + joints[:, 1]) / 2)
    torch.testing.assert_close(size[0], torch.tensor([20 * 0.75, 20.0]) * 1.25)  # upright: by its height
    torch.testing.assert_close(size[1], torch.tensor([24.0, 24 / 0.75]) * 1.25)  # lying: by its width
    assert zoom[2].isfinite()
    seen = cut(ramp(1), corner[:1], zoom[:1], (64, 48))[0]
    torch.testing.assert_close(seen[0, 0, 0], (corner[0, 0] + 0.5 / zoom[0, 0]).clamp(0.5, SIDE - 0.5))
    torch.testing.assert_close(seen[1, -1, 0], (corner[0, 1] + 63.5 / zoom[0, 0]).clamp(0.5, SIDE - 0.5))


# -- networks


def test_depth_and_features_come_of_one_pass_and_are_the_backbones_last_map(depth_folder):
    network, rgb, passes = DepthAnythingNetwork(depth_folder, 28, batch=2), torch.rand(3, 3, 56, 56), []
    handle = network.model.register_forward_pre_hook(lambda *_: passes.append(1))
    depth, found = network.with_map(rgb)
    assert len(passes) == 2  # of two images and of one
    handle.remove()
    assert torch.equal(depth, network(rgb))
    kept = []
    network.model.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    network(rgb)
    with torch.no_grad():
        maps = [network.model.backbone(pixels).feature_maps for pixels in kept]
    expected = torch.cat([m[-1][:, 1:] for m in maps])
    assert torch.equal(found.values.flatten(2).transpose(1, 2), expected)
    centres = torch.tensor([[14.0, 14.0], [42.0, 14.0], [14.0, 42.0], [42.0, 42.0]]).expand(3, 4, 2)
    torch.testing.assert_close(found.at(centres), expected)


@pytest.mark.parametrize("experts", [1, 3])
def test_a_pose_networks_features_are_those_that_its_head_reads(tmp_path, experts):
    network, rgb = PoseNetwork(save_vitpose(tmp_path / "pose", experts=experts)), torch.rand(3, 3, 40, 40)
    joints = 8 + 20 * torch.rand(3, 17, 2)
    found = network(rgb, joints)
    pixels = (cut(rgb, *network.window(joints), (64, 48)) - network.mean) / network.std
    more = {} if experts == 1 else {"dataset_index": torch.zeros(3, dtype=torch.long)}
    with torch.no_grad():
        expected = network.backbone(pixels, **more).feature_maps[-1]
    assert found.values.shape == (3, 12, 4, 3)
    torch.testing.assert_close(found.values.flatten(2).transpose(1, 2), expected)
    assert found.values.std() > 0.1


def test_a_pose_network_of_another_kind_or_none_is_named(depth_folder, tmp_path):
    with pytest.raises(DepthCheckpointError, match="type 'depth_anything', expected 'vitpose'"):
        FeatureOptions(("image_features",), str(depth_folder)).build()
    with pytest.raises(DepthCheckpointError, match=r"pose_network=.*found nothing.*pose_network=FOLDER"):
        FeatureOptions(("image_features",), str(tmp_path / "none")).build()
    with pytest.raises(ValueError, match="in this order"):
        FeatureOptions(("image_features", "depth_features"))


# -- the worker


def test_a_worker_reads_both_and_its_depth_stays_what_it_was(depth_folder, pose_folder):
    request = request_for(5)
    worker = spec(depth_folder, pose_folder).build()
    answer = worker.depth(request)
    assert (answer.features.dtype, answer.features.shape) == (np.float16, (5, 17, 16 + 12))
    assert answer.valid.all()
    assert np.array_equal(answer.depth, spec(depth_folder, pose_folder, ()).build().depth(request).depth)
    rgb = torch.from_numpy(worker.images(request)["rgb"])
    places = subject_crop(request.camera, request.joints_2d, 32, 28.0).joints_px
    of_depth = worker.source.network.with_map(rgb)[1].at(places)
    of_image = worker.features.pose(rgb, places).at(places)
    expected = torch.cat([of_depth, of_image], -1).half().numpy()
    assert np.array_equal(answer.features, expected)
    for number, name in enumerate(FEATURES):
        alone = spec(depth_folder, pose_folder, (name,)).build().depth(request).features
        assert np.array_equal(alone, answer.features[..., :16] if number == 0 else answer.features[..., 16:])


def test_features_depend_on_the_pose_alone_and_not_on_its_portion(depth_folder, pose_folder):
    whole = spec(depth_folder, pose_folder).build().depth(request_for(5)).features.astype(np.float32)
    portions = spec(depth_folder, pose_folder, micro_batch=2).build().depth(request_for(5)).features
    assert np.abs(whole - portions).max() < 5e-3
    assert np.abs(whole[0] - whole[1]).max() > 0.05


def test_detected_joints_are_read_at_their_detection(depth_folder, pose_folder):
    uadd = UaddOptions()
    worker = spec(depth_folder, pose_folder, ("depth_features",), uadd=uadd).build()
    request = request_for(3, detect=True)
    answer = worker.depth(request)
    crop = subject_crop(request.camera, request.joints_2d, 32, 28.0)
    places = seen_places(request, crop, torch.from_numpy(answer.depth))
    moved = subject_crop(request.camera, request.joints_2d, 32, 28.0).joints_px - places
    assert moved.norm(dim=-1).min() > 0
    # The same crop, and the same picture, of joints that are where they were detected.
    rgb = torch.from_numpy(worker.images(replace(request, detect=False))["rgb"])
    expected = worker.source.network.with_map(rgb)[1].at(places).half().numpy()
    assert np.array_equal(answer.features, expected)


def test_image_features_need_no_depth_network(pose_folder):
    plain = WorkerSpec(resolution=32, subject_span_px=28.0)
    worker = replace(plain, features=FeatureOptions(("image_features",), str(pose_folder))).build()
    answer = worker.depth(request_for(2))
    assert answer.features.shape == (2, 17, 12)
    assert np.array_equal(answer.depth, plain.build().depth(request_for(2)).depth)


def test_depth_features_of_a_source_without_any_are_refused(pose_folder):
    wrong = WorkerSpec(depth_name="noisy_zbuffer", features=FeatureOptions(("depth_features",)))
    for act in (wrong.build, wrong.feature_sizes):
        with pytest.raises(OptionError, match="needs depth=depth_anything_v2; noisy_zbuffer has no features"):
            act()


def test_sizes_are_known_without_the_weights(depth_folder, pose_folder, tmp_path):
    assert spec(depth_folder, pose_folder).feature_sizes() == (16, 12)
    assert spec(depth_folder, pose_folder, ("image_features",)).feature_sizes() == (12,)
    assert spec(depth_folder, pose_folder, ()).feature_sizes() == ()


def test_numbers_beyond_float16_are_cut_and_rows_that_are_none_are_invalid(depth_folder, pose_folder):
    worker = spec(depth_folder, pose_folder, ("depth_features",)).build()
    crop = subject_crop(make_camera(1), request_for(1).joints_2d, 32, 28.0)
    large = FeatureMap(torch.full((1, 2, 2, 2), 1e9), torch.ones(1, 2), torch.zeros(1, 2))
    assert (worker.features.read(large, None, crop, crop.joints_px) == LARGEST).all()

    class Broken(FeatureReader):
        def read(self, *arguments):
            features = super().read(*arguments)
            features[1] = torch.nan
            return features

    worker.features = Broken(worker.features.options, None)
    assert worker.depth(request_for(3)).valid.tolist() == [True, False, True]


def test_workers_refuse_other_weights_of_the_pose_network_than_the_run_began_with(depth_folder, pose_folder, tmp_path):
    pinned = spec(depth_folder, pose_folder).pinned()
    other = save_vitpose(tmp_path / "other", seed=1)
    with pytest.raises(OptionError, match=r"depth=depth_anything_v2 or pose_network=.* are not those"):
        replace(pinned, features=FeatureOptions(FEATURES, str(other))).build()


# -- pools and cache


class FeatureWorker:
    """Answers features that tell the row; a poisoned row is not finite."""

    def depth(self, request):
        depth = depth_of(request)
        depth[(request.keys == POISON_KEY).numpy()] = np.nan
        features = request.joints_2d.numpy().astype(np.float16)
        return RenderAnswer(depth, np.ones(len(depth), bool), features=features)


class FailingOnce(FeatureWorker):
    """Raises for whole requests, so that a pool halves them."""

    def depth(self, request):
        if len(request) > 3:
            raise ValueError("too many")
        return super().depth(request)


@pytest.mark.parametrize("worker", [FeatureWorker, FailingOnce])
def test_pools_bring_features_home_row_by_row_and_zero_for_quarantined_poses(worker):
    request = make_request(9, poison=(4,))
    with LocalPool(worker, PoolOptions(actors=1, max_quarantine=0.5)) as pool:
        answer = pool.submit(request).result()
    expected = request.joints_2d.numpy().astype(np.float16)
    expected[4] = 0
    assert answer.features.dtype == np.float16
    assert np.array_equal(answer.features, expected)
    assert not answer.valid[4]
    copied = pickle.loads(pickle.dumps(answer))
    assert np.array_equal(copied.features, expected)


def test_features_are_kept_with_depth_as_float16(tmp_path, depth_folder, pose_folder):
    drawn = spec(depth_folder, pose_folder)
    request = request_for(20)
    cache = DepthCache(tmp_path, drawn.digest(), features=28)
    first = cache.get(request, drawn.build().depth)
    again = cache.load(request)
    assert (cache.hits, cache.misses) == (1, 1)
    assert again.features.dtype == np.float16
    assert np.array_equal(again.features, first.features)
    assert np.array_equal(again.depth, first.depth)
    (file,) = tmp_path.glob("*.npz")
    assert 0 < file.stat().st_size - 20 * 17 * (4 + 2 * 28) < 1000
    assert DepthCache(tmp_path, drawn.digest(), features=27).load(request) is None
    np.savez(file, depth=first.depth)
    assert cache.load(request) is None


def test_the_caches_key_covers_what_features_come_from(depth_folder, pose_folder, tmp_path):
    other = save_vitpose(tmp_path / "other", seed=1)
    moved = save_vitpose(tmp_path / "moved")
    specs = [spec(depth_folder, pose_folder, names) for names in ((), FEATURES[:1], FEATURES[1:], FEATURES)]
    digests = [s.digest() for s in [*specs, spec(depth_folder, other)]]
    assert len(set(digests)) == 5
    assert spec(depth_folder, moved).digest() == digests[3]
    assert spec(depth_folder, other, FEATURES[:1]).digest() == digests[1]
