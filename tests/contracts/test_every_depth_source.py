"""What every entry of DEPTH_SOURCES must keep. Registering a source is enough to be tested."""

import pytest
import torch

from dg.settings.plugins import make_options, resolve
from render_workers.base import DepthSource
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.network_source import NetworkDepthSource
from tests.render_workers.depth_anything_maker import save_depth_anything

INF = float("inf")
# Sources that need files: options with which they run on files of the test's own.
MAKERS = {"depth_anything_v2": lambda folder: {"checkpoint": str(save_depth_anything(folder)), "input_px": 70}}


@pytest.fixture(scope="module", params=sorted(DEPTH_SOURCES))
def source(request, tmp_path_factory):
    kind = resolve(DEPTH_SOURCES, "depth", request.param)
    given = MAKERS[request.param](tmp_path_factory.mktemp(request.param)) if request.param in MAKERS else {}
    return kind(make_options(kind, "depth", request.param, given))


def scene(rows, size=128):
    """Grey discs three to five metres away, nearer ones darker, on white background."""
    pixel = torch.arange(size) - size / 2 + 0.5
    inside = (pixel[:, None] ** 2 + pixel[None, :] ** 2 < (size / 3) ** 2).expand(rows, size, size)
    z = torch.linspace(3, 5, rows)[:, None, None].expand(rows, size, size)
    zbuffer = torch.where(inside, z, INF)
    rgb = torch.where(inside, z / 6, 1.0)[:, None].expand(-1, 3, -1, -1)
    return zbuffer, rgb, torch.arange(rows) + 7


def test_it_is_a_depth_source_whose_options_are_a_frozen_dataclass(source):
    assert isinstance(source, DepthSource)
    assert type(source).Options.__dataclass_params__.frozen


def test_it_answers_depth_where_the_body_is_and_background_elsewhere(source):
    zbuffer, rgb, keys = scene(3)
    before = zbuffer.clone()
    answer = source.estimate(zbuffer, rgb if source.needs_rgb else None, keys)
    assert answer.shape == zbuffer.shape
    assert answer.dtype == torch.float32
    assert torch.equal(answer.isinf(), zbuffer.isinf())
    assert (answer > 0).all()
    assert torch.equal(zbuffer, before), "the z-buffer must not be written to"


def test_a_metric_source_is_in_metres_and_nearer_is_smaller(source):
    if not source.metric:
        pytest.skip("a relative source is aligned before use")
    zbuffer, rgb, keys = scene(64)
    answer = source.estimate(zbuffer, rgb if source.needs_rgb else None, keys)
    body = zbuffer[0] < INF
    true, estimated = zbuffer[:, body].median(1).values, answer[:, body].median(1).values
    if not source.needs_rgb:  # a network cannot know the distance of a flat disc
        assert ((estimated - true).abs() / true).median() < 0.1
        assert torch.corrcoef(torch.stack([true, estimated]))[0, 1] > 0.7


def test_an_oracle_and_only_an_oracle_makes_no_error(source):
    zbuffer, rgb, keys = scene(3)
    answer = source.estimate(zbuffer, rgb if source.needs_rgb else None, keys)
    assert torch.equal(answer, zbuffer) == source.oracle


def test_an_answer_does_not_depend_on_the_batch(source):
    zbuffer, rgb, keys = scene(4)
    rgb = rgb if source.needs_rgb else None
    whole = source.estimate(zbuffer, rgb, keys)
    parts = [
        source.estimate(zbuffer[i : i + 1], None if rgb is None else rgb[i : i + 1], keys[i : i + 1]) for i in range(4)
    ]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-4)


NETWORKS = [n for n in sorted(DEPTH_SOURCES) if issubclass(resolve(DEPTH_SOURCES, "depth", n), NetworkDepthSource)]


@pytest.fixture(scope="module", params=NETWORKS)
def on_images(request, tmp_path_factory):
    """A source for photographs, and what is known of it before its weights are loaded."""
    kind = resolve(DEPTH_SOURCES, "depth", request.param)
    given = MAKERS[request.param](tmp_path_factory.mktemp(request.param)) if request.param in MAKERS else {}
    options = make_options(kind, "depth", request.param, given, kind.ImageOptions)
    return kind.for_images(options), kind.facts(options)


@pytest.mark.parametrize("size", [(90, 120), (120, 90), (75, 75)])
def test_photographs_of_any_size_get_finite_depth_whatever_the_batch(on_images, size):
    source, _ = on_images
    rgb = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    depth = source.estimate_images(rgb)
    assert depth.shape == (3, *size)
    assert depth.dtype == torch.float32
    assert depth.isfinite().all()
    assert (depth > 0).all()
    assert torch.allclose(torch.cat([source.estimate_images(image[None]) for image in rgb]), depth, atol=1e-4)


def test_metres_of_photographs_grow_with_the_focal_length_from_the_one_that_is_known(on_images):
    source, facts = on_images
    assert facts.metric
    depth = torch.full((1, 4, 4), 3.0)
    known = source.at_focal(depth, torch.full((1, 2), facts.trained_focal))
    assert torch.allclose(known, depth)
    assert torch.allclose(source.at_focal(depth, torch.full((1, 2), 2 * facts.trained_focal)), 2 * depth)


def test_options_of_photographs_are_among_those_of_bodies(on_images):
    source, facts = on_images
    names = set(source.ImageOptions.__dataclass_fields__)
    assert names <= set(source.Options.__dataclass_fields__)
    assert source.ImageOptions.__dataclass_params__.frozen
    assert set(facts.settings) <= names
