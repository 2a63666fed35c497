import json
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from dg.body.open_body import OpenBody
from dg.pose.skeleton import H36M_17
from dg.settings.command_line import parse
from dg.settings.networks import DEPTH_ANYTHING
from dg.settings.plugins import OptionError, make_options
from dg.train import run
from render_workers.base import RenderRequest
from render_workers.cache import DepthCache
from render_workers.crop import subject_crop
from render_workers.depth.checkpoint_files import DepthCheckpointError, content_digest, find_checkpoint
from render_workers.depth.depth_anything_network import DepthAnythingNetwork, input_size
from render_workers.depth.depth_anything_v2 import HYPERSIM_FOCAL, DepthAnythingV2
from render_workers.depth.pretrained import layout_on
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints
from tests.render_workers.depth_anything_maker import save_depth_anything

INF = float("inf")
BODY = OpenBody()


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    return save_depth_anything(tmp_path_factory.mktemp("depth") / "metric")


@pytest.fixture(scope="module")
def relative(tmp_path_factory):
    return save_depth_anything(tmp_path_factory.mktemp("depth") / "relative", metric=False)


@pytest.fixture
def checkpoint(metric, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(metric, tmp_path / "checkpoint"))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def source(folder, **options):
    return DepthAnythingV2(DepthAnythingV2.Options(checkpoint=str(folder), **options))


def spec(folder, **options):
    options = {"checkpoint": str(folder), "input_px": 28} | options
    return WorkerSpec(depth_name="depth_anything_v2", depth_options=options, resolution=32, subject_span_px=28.0)


def request_for(rows):
    joints, camera = make_joints(rows), make_camera(rows)
    return RenderRequest(joints, H36M_17, camera, camera.project(joints), torch.arange(rows))


def images(rows, side=56, seed=0):
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(seed))


# -- the network


def test_it_computes_what_transformers_does_on_normalised_pixels(metric):
    network, rgb = DepthAnythingNetwork(metric, input_px=56), images(3)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = network.model((rgb - mean) / std).predicted_depth
    assert network.metric
    assert torch.equal(network(rgb), expected)
    assert expected.std() > 1e-3


def test_normalisation_is_the_checkpoint_s_own(checkpoint):
    rgb = images(2)
    before = DepthAnythingNetwork(checkpoint, input_px=56)(rgb)
    (checkpoint / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    assert not torch.allclose(DepthAnythingNetwork(checkpoint, input_px=56)(rgb), before)
    (checkpoint / "preprocessor_config.json").unlink()
    assert torch.equal(DepthAnythingNetwork(checkpoint, input_px=56)(rgb), before)


@pytest.mark.parametrize(("side", "input_px"), [(40, 70), (90, 28)])
def test_images_are_resized_as_the_image_processor_does(metric, side, input_px):
    network, rgb, given = DepthAnythingNetwork(metric, input_px), images(1, side), []
    network.model.register_forward_pre_hook(lambda _model, inputs: given.append(inputs[0]))
    assert network(rgb).shape == (1, side, side)
    pixels = given[0][0] * network.std + network.mean
    for channel in range(3):
        expected = Image.fromarray(rgb[0, channel].numpy()).resize((input_px, input_px), Image.Resampling.BICUBIC)
        assert np.abs(pixels[channel].numpy() - np.asarray(expected)).max() < 1e-4


@pytest.mark.parametrize(("height", "width", "size"), [(128, 128, (140, 140)), (1000, 1002, (140, 140)),
                                                       (720, 1280, (140, 252)), (300, 100, (420, 140))])  # fmt: skip
def test_the_shorter_side_is_as_asked_and_both_are_multiples_of_14(height, width, size):
    assert input_size(height, width, 140) == size


def test_bfloat16_is_near_and_its_answer_finer_than_bfloat16(metric):
    rgb = images(4)
    exact = DepthAnythingNetwork(metric, 56)(rgb)
    coarse = DepthAnythingNetwork(metric, 56, precision="bfloat16")(rgb)
    assert coarse.dtype == torch.float32
    assert not torch.equal(coarse, exact)
    assert ((coarse - exact).abs() / exact).max() < 0.05
    assert not torch.equal(coarse, coarse.bfloat16().float())


@pytest.mark.parametrize("name", ["metric", "relative"])
def test_answers_do_not_depend_on_the_batch_and_repeat(name, request):
    folder = request.getfixturevalue(name)
    zbuffer = torch.where(torch.rand(5, 56, 56) < 0.5, 4 + torch.rand(5, 56, 56), INF)
    keys, rgb = torch.arange(5), images(5)
    whole = source(folder, input_px=28).estimate(zbuffer, rgb, keys)
    assert torch.equal(source(folder, input_px=28).estimate(zbuffer, rgb, keys), whole)
    for other in (source(folder, input_px=28, batch=2), source(folder, input_px=28, batch=1)):
        assert torch.allclose(other.estimate(zbuffer, rgb, keys), whole, atol=1e-4)
    assert torch.equal(whole.isinf(), zbuffer.isinf())


def test_it_sees_the_image_and_not_the_z_buffer(metric):
    estimator, keys = source(metric, input_px=28), torch.arange(2)
    near, far = torch.full((2, 56, 56), 2.0), torch.full((2, 56, 56), 9.0)
    answer = estimator.estimate(near, images(2), keys)
    assert torch.equal(estimator.estimate(far, images(2), keys), answer)
    assert not torch.allclose(estimator.estimate(near, images(2, seed=1), keys), answer)
    with pytest.raises(ValueError, match="shaded image"):
        estimator.estimate(near, None, keys)


def test_a_relative_network_s_depth_lies_where_the_z_buffer_is(relative):
    zbuffer = 3 + torch.rand(2, 56, 56)
    zbuffer[1] += 4
    answer = source(relative, input_px=28).estimate(zbuffer, images(2), torch.arange(2))
    assert torch.allclose(answer.mean((1, 2)), zbuffer.mean((1, 2)), atol=0.1)


# -- focal length


def test_depth_grows_with_the_focal_length_of_the_crop(metric, relative):
    depth, focal = torch.full((2, 4, 4), 3.0), torch.tensor([[HYPERSIM_FOCAL] * 2, [2 * HYPERSIM_FOCAL] * 2])
    assert source(metric).at_focal(depth, focal)[:, 0, 0].tolist() == pytest.approx([3.0, 6.0])
    assert torch.equal(source(metric, trained_focal=0.0).at_focal(depth, focal), depth)
    assert torch.equal(source(relative).at_focal(depth, focal), depth)
    # 512 / tan(30 degrees) = 886.8 of 768 pixels
    assert pytest.approx(512 / np.tan(np.pi / 6) / 768, abs=1e-4) == HYPERSIM_FOCAL


def test_a_worker_hands_the_crop_s_focal_length_on(metric):
    request = request_for(3)
    corrected, plain = (spec(metric, **o).build().depth(request).depth for o in ({}, {"trained_focal": 0.0}))
    crop = subject_crop(request.camera, request.joints_2d, 32, 28.0)
    ratio = crop.focal_px[:, :1].numpy() / 32 / HYPERSIM_FOCAL
    assert np.allclose(corrected, plain * ratio, rtol=1e-5)


# -- checkpoints


def test_a_local_folder_is_loaded_without_the_network(metric, no_network):
    assert np.isfinite(spec(metric).build().depth(request_for(2)).depth).all()


def test_a_hub_id_that_is_in_the_cache_is_loaded_without_the_network(metric, tmp_path, monkeypatch, no_network):
    repository = tmp_path / "models--someone--depth-hf"
    shutil.copytree(metric, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert source("someone/depth-hf").network.metric
    assert content_digest(find_checkpoint("someone/depth-hf")) == content_digest(metric)


def test_a_hub_id_that_cannot_be_reached_is_one_error_that_says_what_to_do(tmp_path, monkeypatch):
    asked = []

    def unreachable(name, local_files_only=False, **options):
        asked.append(local_files_only)
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DepthCheckpointError) as error:
        source(DEPTH_ANYTHING)
    message = str(error.value)
    assert asked == [True, False]
    assert "no route to host" in message
    assert "and more" not in message
    for needed in (f"https://huggingface.co/{DEPTH_ANYTHING}", "model.safetensors", "depth.checkpoint=FOLDER"):
        assert needed in message


def drop_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("head.conv1.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def pickle_only(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def another_model(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "dpt"}))


def no_json(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_weight, r"1 weights are missing .*head\.conv1\.weight"),
        (truncate, "cannot be loaded"),
        (pickle_only, r"has no \*\.safetensors"),
        (another_model, "type 'dpt', expected 'depth_anything'"),
        (no_json, "no JSON file"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
    ],
)
def test_a_spoilt_checkpoint_is_named(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(DepthCheckpointError, match=message):
        source(checkpoint)


@pytest.mark.parametrize("name", ["/no/such/folder", "one/two/three", "weights"])
def test_what_is_neither_folder_nor_hub_id_is_refused_without_the_network(name, no_network):
    with pytest.raises(DepthCheckpointError, match=r"expected a folder or a hub id OWNER/NAME, found nothing"):
        source(name)


def test_a_file_in_place_of_a_folder_is_refused(checkpoint):
    with pytest.raises(DepthCheckpointError, match="found a file"):
        source(checkpoint / "model.safetensors")


def test_without_transformers_the_error_says_what_to_install(metric, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OptionError, match=r"extra `depth`; pip install -c constraints\.txt -e '\.\[depth\]'"):
        source(metric)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_px": 128}, "input_px must be a multiple of 14, such as 126, got 128"),
        ({"input_px": 0}, "such as 14, got 0"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"precision": "half"}, "precision must be one of"),
        ({"trained_focal": -1.0}, "trained_focal must not be negative"),
        ({"background": 2.0}, "background must be from 0 to 1"),
        ({"chekpoint": "x"}, "did you mean 'checkpoint'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        make_options(DepthAnythingV2, "depth", "depth_anything_v2", options)


# -- the cache's key


def test_the_digest_follows_what_the_network_computes_and_not_where_it_lies(metric, checkpoint):
    base = spec(metric).digest()
    assert spec(checkpoint).digest() == base
    assert spec(metric, batch=3).digest() == base
    others = [spec(metric, **o).digest() for o in ({"input_px": 42}, {"background": 0.5}, {"trained_focal": 0.0})]
    assert len({base, *others}) == 4


def test_changed_weights_never_find_the_old_depth(checkpoint, tmp_path):
    request = request_for(2)
    before = spec(checkpoint)
    cache = DepthCache(tmp_path / "cache", before.digest())
    old = cache.get(request, before.build().depth).depth
    save_depth_anything(checkpoint, seed=1)
    after = spec(checkpoint)
    cache = DepthCache(tmp_path / "cache", after.digest())
    new = cache.get(request, after.build().depth).depth
    assert cache.misses == 1
    assert not np.allclose(old, new)


def test_a_pinned_spec_refuses_other_weights(checkpoint):
    pinned = spec(checkpoint).pinned()
    assert pinned.digest() == spec(checkpoint).digest()
    pinned.build()
    save_depth_anything(checkpoint, seed=1)
    with pytest.raises(OptionError, match="were changed since"):
        pinned.build()
    assert replace(pinned, depth_name="zbuffer", depth_options={}, source_digest="").pinned().build()


# -- a whole run


def test_a_lifter_trains_on_its_depth(metric, tmp_path):
    words = [
        "depth=depth_anything_v2", f"depth.checkpoint={metric}", "depth.input_px=28", "depth.normals=flat",
        "render.resolution=32", "render.subject_span_px=28", "method=random_rigid", "pool=local", "tracking.uri=off",
        "targets=[synthetic:near]",
        "data.clips=2", "data.frames=12", "batch_size=16", "lifter.width=16", "max_steps=4", "epochs=1", "device=cpu",
        "threads=1", f"cache={tmp_path / 'cache'}", f"out={tmp_path / 'run'}",
    ]  # fmt: skip
    summary = run(parse(words), quiet=True)
    assert summary["lifter_steps"] == 4
    ledger = summary["ledger"]
    assert ledger["submitted"] == ledger["done"] > 0
    assert all("depth=rendered-depth_anything_v2(oracle)" in row["protocol"] for row in summary["results"])


@pytest.mark.gpu
def test_a_gpu_answers_like_the_cpu(metric):
    request = request_for(40)
    on_cpu = replace(spec(metric), device="cpu").build().depth(request).depth
    exact = replace(spec(metric, precision="float32"), device="cuda").build()
    exact.ready()
    assert np.abs(exact.depth(request).depth / on_cpu - 1).max() < 1e-2
    fast = replace(spec(metric), device="cuda").build()
    assert next(fast.source.network.model.backbone.parameters()).dtype == torch.float32
    assert np.abs(fast.depth(request).depth / on_cpu - 1).max() < 0.05
    assert next(fast.source.network.model.backbone.parameters()).dtype == torch.bfloat16


def grey_images(rows, side=48):
    """One channel seen three times, as the headlight makes them."""
    return torch.rand(rows, 1, side, side, generator=torch.Generator().manual_seed(3)).expand(-1, 3, -1, -1)


def test_one_grey_channel_gives_what_three_equal_ones_give(metric):
    network, grey = DepthAnythingNetwork(metric, 56), grey_images(3)
    assert torch.equal(network(grey), network(grey.contiguous()))


def test_positions_are_resized_once_for_each_size(metric, monkeypatch):
    embeddings = type(DepthAnythingNetwork(metric, 56).model.backbone.embeddings)
    resize, calls = embeddings.interpolate_pos_encoding, []
    counted = lambda self, *given: calls.append(given[1:]) or resize(self, *given)  # noqa: E731
    monkeypatch.setattr(embeddings, "interpolate_pos_encoding", counted)
    network = DepthAnythingNetwork(metric, 56, batch=2)
    first = network(grey_images(6))
    assert torch.equal(network(grey_images(6)), first)
    assert calls == [(56, 56)]
    network(grey_images(1, 96)[..., :48, :])
    assert len(calls) == 2


def test_a_compiled_network_sees_full_batches_alone_and_answers_the_same(metric, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: compiled.append((type(self).__name__, given)))
    plain, network = DepthAnythingNetwork(metric, 56, batch=4), DepthAnythingNetwork(metric, 56, batch=4, compiled=True)
    assert compiled == [("Dinov2Backbone", {"dynamic": False})]
    sizes = []
    network.model.backbone.register_forward_pre_hook(lambda module, given, named=None: sizes.append(len(given[0])))
    images = grey_images(6)
    depth, features = network.with_map(images)
    expected, expected_features = plain.with_map(images)
    torch.testing.assert_close(depth, expected)
    torch.testing.assert_close(features.values, expected_features.values)
    assert sizes == [4, 4]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_channels_last_answers_the_same_and_is_kept_to_the_end(metric, precision):
    plain = DepthAnythingNetwork(metric, 56, precision=precision)
    network, seen = DepthAnythingNetwork(metric, 56, precision=precision, layout="channels_last"), []
    for convolution in (network.model.neck.fusion_stage.layers[-1].projection, network.model.head.conv3):
        convolution.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    answer, expected = network(grey_images(3)), plain(grey_images(3))
    assert len(seen) == 2
    # Of one channel or one pixel, both layouts are one.
    assert all(part.is_contiguous(memory_format=torch.channels_last) and not part.is_contiguous() for part in seen)
    tolerance = 1e-5 if precision == "float32" else 2e-2
    torch.testing.assert_close(answer, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("device", "layout", "last"), [("cuda", "auto", True), ("cpu", "auto", False),
                                                        ("cuda", "channels_first", False)])  # fmt: skip
def test_how_maps_lie_in_memory_goes_by_the_device_unless_said(device, layout, last):
    assert (layout_on(torch.device(device), layout) == torch.channels_last) == last


def test_compiling_and_layout_are_no_part_of_what_an_estimate_is(metric):
    options = {"checkpoint": str(metric)}
    specs = [WorkerSpec(depth_name="depth_anything_v2", depth_options=options | more)
             for more in ({}, {"compile": True}, {"layout": "channels_last"}, {"input_px": 70})]  # fmt: skip
    assert specs[0].digest() == specs[1].digest() == specs[2].digest() != specs[3].digest()
