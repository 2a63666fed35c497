import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.skeleton import H36M_17
from render_workers.crop import subject_crop
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from tests.bench.zbuffer_reference import ray_triangle_zbuffer
from tests.conftest import make_camera, make_joints

FOCAL, CENTER = torch.tensor([[100.0, 100.0]]), torch.tensor([[32.0, 32.0]])


def draw(vertices, faces, resolution=64, focal=FOCAL, center=CENTER):
    depth, seen = WarpZBuffer(torch.as_tensor(faces)).zbuffer(vertices, focal, center, resolution)
    return depth, seen


def at_pixels(points, z, focal=100.0, center=32.0):
    """Vertices that project to pixel positions at depth z."""
    points, z = torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(z, dtype=torch.float32)
    return torch.cat([(points - center) / focal * z.reshape(-1, 1), z.expand(len(points)).reshape(-1, 1)], -1)[None]


def soup(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    middle = torch.rand(count, 1, 2, generator=generator) * 70 - 3
    corners = middle + 12 * torch.randn(count, 3, 2, generator=generator)
    z = 3 + torch.rand(count, 1, generator=generator) + 0.3 * torch.rand(count, 3, generator=generator)
    return at_pixels(corners.reshape(-1, 2), z.reshape(-1)), torch.arange(3 * count).view(-1, 3)


@pytest.mark.parametrize("winding", [[0, 1, 2], [0, 2, 1]])
def test_a_plane_three_metres_away_reads_three_metres_from_both_sides(winding):
    depth, seen = draw(at_pixels([[-200, -200], [400, -200], [-200, 400]], 3.0), [winding])
    assert torch.equal(depth, torch.full_like(depth, 3.0))
    assert (seen == 0).all()


def test_depth_on_a_tilted_plane_is_perspective_correct():
    vertices = torch.tensor([[[-9.0, -9.0, 1.1], [9.0, -9.0, 10.1], [-9.0, 90.0, 1.1]]])  # z = x / 2 + 5.6
    depth, _ = draw(vertices, [[0, 1, 2]], resolution=64, focal=FOCAL, center=CENTER)
    ray = (torch.arange(64) + 0.5 - 32) / 100
    expected = 5.6 / (1 - ray / 2)
    assert torch.allclose(depth[0, 31], expected, atol=2e-5)


def test_a_triangle_around_one_pixel_centre_covers_that_pixel_alone():
    depth, _ = draw(at_pixels([[10.3, 20.3], [10.9, 20.3], [10.5, 20.9]], 2.0), [[0, 1, 2]])
    assert depth.isfinite().nonzero().tolist() == [[0, 20, 10]]


def test_the_nearest_triangle_wins_in_either_order():
    vertices = torch.cat([at_pixels([[0, 0], [64, 0], [0, 64]], z) for z in (4.0, 2.0)], 1)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        depth, seen = draw(vertices, order)
        assert depth[0, 10, 10] == 2.0
        assert seen[0, 10, 10] == order.index([3, 4, 5])


def test_no_pixel_falls_between_triangles_that_share_edges():
    # A net over the whole image whose inner nodes are jittered; some of them, and some edges, on pixel centres.
    generator = torch.Generator().manual_seed(3)
    nodes = torch.stack(torch.meshgrid(torch.linspace(-1, 65, 12), torch.linspace(-1, 65, 12), indexing="ij"), -1)
    nodes[1:-1, 1:-1] += torch.randn(10, 10, 2, generator=generator)
    nodes[2:5, 2:5] = nodes[2:5, 2:5].floor() + 0.5
    corner = torch.arange(11)[:, None] * 12 + torch.arange(11)
    a, b, c, d = corner, corner + 1, corner + 12, corner + 13
    faces = torch.cat([torch.stack([a, b, c], -1).view(-1, 3), torch.stack([b, c, d], -1).view(-1, 3)])
    depth, _ = draw(at_pixels(nodes.reshape(-1, 2), 3.0), faces)
    assert depth.isfinite().all()


def test_a_posed_body_agrees_with_rays_through_every_pixel():
    body, joints, camera = OpenBody(), make_joints(2, noise=0.03), make_camera(2)
    crop = subject_crop(camera, camera.project(joints), 128, 100.0)
    vertices = body.skin(body.fit(joints, H36M_17))
    depth, seen = draw(vertices, body.faces, 128, crop.focal_px, crop.center_px)
    for row in range(2):
        focal, center = crop.focal_px[row].numpy(), crop.center_px[row].numpy()
        expected = ray_triangle_zbuffer(vertices[row].numpy(), body.faces.numpy(), focal, center, 128)
        assert (np.isfinite(expected) == np.isfinite(depth[row].numpy())).all()
        hit = np.isfinite(expected)
        assert 0.05 < hit.mean() < 0.2
        assert np.abs(depth[row].numpy()[hit] - expected[hit]).max() < 1e-5
    assert ((seen >= 0) == depth.isfinite()).all()


def test_a_soup_of_triangles_agrees_with_rays_also_across_the_border():
    vertices, faces = soup(300)
    depth, _ = draw(vertices, faces)
    expected = ray_triangle_zbuffer(vertices[0].numpy(), faces.numpy(), FOCAL[0].numpy(), CENTER[0].numpy(), 64)
    hit = np.isfinite(expected)
    assert (hit == np.isfinite(depth[0].numpy())).mean() > 0.999
    error = np.abs(depth[0].numpy()[hit] - expected[hit])
    assert np.quantile(error, 0.999) < 1e-4


def test_the_face_seen_at_a_pixel_is_the_one_whose_depth_is_there():
    vertices, faces = soup(40)
    depth, seen = draw(vertices, faces)
    for face in range(len(faces)):
        alone, _ = draw(vertices, faces[face : face + 1])
        here = seen[0] == face
        assert torch.equal(depth[0][here], alone[0][here])
    assert ((seen < 0) == depth.isinf()).all()


def test_depth_alone_is_the_depth_that_comes_with_faces():
    vertices, faces = soup(100)
    assert torch.equal(WarpZBuffer(faces).depth(vertices, FOCAL, CENTER, 64), draw(vertices, faces)[0])


def test_meshes_of_a_batch_do_not_touch_each_other():
    parts = [soup(50, seed) for seed in range(3)]
    vertices, faces = torch.cat([v for v, _ in parts]), parts[0][1]
    depth, seen = draw(vertices, faces, focal=FOCAL.expand(3, 2), center=CENTER.expand(3, 2))
    for row in range(3):
        alone = draw(vertices[row : row + 1], faces)
        assert torch.equal(depth[row], alone[0][0])
        assert torch.equal(seen[row], alone[1][0])


@pytest.mark.parametrize("bad", [0.0, -1.0, 1e-9, float("nan"), float("inf")])
def test_triangles_with_a_corner_behind_the_camera_or_nowhere_are_skipped(bad):
    vertices = torch.cat([at_pixels([[0, 0], [64, 0], [0, 64]], 4.0), at_pixels([[0, 0], [64, 0], [0, 64]], 2.0)], 1)
    vertices[0, 4, 2] = bad
    depth, seen = draw(vertices, [[0, 1, 2], [3, 4, 5]])
    assert depth[0, 10, 10] == 4.0
    assert seen.max() == 0


@pytest.mark.parametrize("resolution", [4, 5, 31, 130])
def test_any_image_size_is_filled_to_its_border_and_no_further(resolution):
    vertices = at_pixels([[-500, -500], [900, -500], [-500, 900]], 3.0)
    depth, _ = draw(vertices, [[0, 1, 2]], resolution)
    assert depth.shape == (1, resolution, resolution)
    assert (depth == 3.0).all()


def test_a_mesh_beside_the_image_leaves_background():
    depth, seen = draw(at_pixels([[100, 0], [160, 0], [100, 64]], 3.0), [[0, 1, 2]])
    assert depth.isinf().all()
    assert (seen == -1).all()


@pytest.mark.gpu
def test_cuda_and_cpu_agree():
    vertices, faces = soup(300)
    on_gpu = WarpZBuffer(faces, "cuda").zbuffer(vertices.cuda(), FOCAL.cuda(), CENTER.cuda(), 64)
    on_cpu = draw(vertices, faces)
    assert torch.allclose(on_gpu[0].cpu(), on_cpu[0], atol=1e-5)
    assert (on_gpu[1].cpu() == on_cpu[1]).float().mean() > 0.999
