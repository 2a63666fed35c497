import numpy as np
import pytest
import torch
import trimesh

from dg.body.open_body import OpenBody
from dg.pose.skeleton import H36M_17
from render_workers.crop import subject_crop
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.shading import Headlight, Look, faces_around
from tests.conftest import make_camera, make_joints

GREY = Look()
FOCAL, CENTER, SIDE = torch.tensor([[80.0, 80.0]]), torch.tensor([[16.0, 16.0]]), 32


def picture(vertices, faces, look=GREY, focal=FOCAL, center=CENTER, side=SIDE):
    zbuffer, seen = WarpZBuffer(faces).zbuffer(vertices, focal, center, side)
    return Headlight(faces, look)(vertices, zbuffer, seen, focal, center), seen


def ball(subdivisions, z=5.0, radius=0.8):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32) + torch.tensor([0.0, 0.0, z])
    return vertices[None], torch.tensor(np.asarray(mesh.faces))


def wall(z=4.0):
    corners = torch.tensor([[-9.0, -9.0, z], [9.0, -9.0, z], [9.0, 9.0, z], [-9.0, 9.0, z]])
    return corners[None], torch.tensor([[0, 2, 1], [0, 3, 2]])


def rays(side=SIDE):
    pixel = torch.arange(side) + 0.5
    y, x = torch.meshgrid((pixel - 16) / 80, (pixel - 16) / 80, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1)


def test_a_wall_is_lit_by_the_cosine_of_the_ray():
    rgb, _ = picture(*wall(), Look(albedo=0.5, ambient=0.2))
    cosine = 1 / rays().norm(dim=-1)
    assert torch.allclose(rgb[0], (0.5 * (0.2 + 0.8 * cosine)).expand(3, -1, -1), atol=1e-5)


def test_smooth_normals_of_a_ball_are_those_of_the_sphere_and_flat_ones_are_not():
    vertices, faces = ball(3)
    ray = rays() / rays().norm(dim=-1, keepdim=True)
    along = 5 * ray[..., 2]
    half = (along**2 - (25 - 0.8**2)).clamp_min(0.0).sqrt()
    normal = ((along - half)[..., None] * ray - torch.tensor([0.0, 0.0, 5.0])) / 0.8
    cosine = -(normal * ray).sum(-1)
    inner = cosine > 0.4
    assert inner.sum() > 300
    errors = {}
    for normals in ("smooth", "flat"):
        rgb, _ = picture(vertices, faces, Look(albedo=1.0, ambient=0.0, normals=normals))
        errors[normals] = (rgb[0, 0] - cosine)[inner].abs()
    assert errors["smooth"].max() < 0.02
    assert errors["flat"].mean() > 3 * errors["smooth"].mean()


def slow_shade(vertices, faces, seen, look):
    """One pixel after the other: barycentric coordinates by solving for the ray's point, lighting by reflection."""
    grey = np.full(seen.shape, look.background)
    across = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    at_vertex = np.zeros_like(vertices)
    for face, corner in enumerate(faces):
        at_vertex[corner] += across[face]
    at_vertex /= np.linalg.norm(at_vertex, axis=1, keepdims=True)
    for y, x in zip(*np.nonzero(seen >= 0), strict=True):
        corner = faces[seen[y, x]]
        ray = np.array([(x + 0.5 - 16) / 80, (y + 0.5 - 16) / 80, 1.0])
        parts = np.linalg.solve(vertices[corner].T, ray)
        smooth = look.normals == "smooth"
        point = ray / parts.sum() if smooth else vertices[corner].mean(0)
        normal = parts @ at_vertex[corner] if smooth else across[seen[y, x]]
        normal, eye = normal / np.linalg.norm(normal), -point / np.linalg.norm(point)
        cosine = max(normal @ eye, 0.0)
        mirrored = 2 * (normal @ eye) * normal - eye
        shine = max(mirrored @ eye, 0.0) ** 64 * (cosine > 0)
        grey[y, x] = min(look.albedo * (look.ambient + (1 - look.ambient) * cosine) + look.specular * shine, 1.0)
    return grey


@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_shading_agrees_with_one_pixel_at_a_time(normals):
    look = Look(albedo=0.7, ambient=0.3, specular=0.2, background=0.4, normals=normals)
    vertices, faces = ball(1)
    rgb, seen = picture(vertices, faces, look)
    expected = slow_shade(vertices[0].double().numpy(), faces.numpy(), seen[0].numpy(), look)
    assert np.abs(rgb[0, 1].numpy() - expected).max() < 1e-3


def test_the_way_round_of_the_faces_does_not_matter():
    vertices, faces = ball(2)
    outward, _ = picture(vertices, faces)
    inward, _ = picture(vertices, faces.flip(1))
    assert torch.allclose(outward, inward, atol=1e-6)
    assert outward[0, 0, 16, 16] > 0.75


def test_background_and_albedo_are_what_was_asked_for():
    vertices, faces = ball(2)
    dark, seen = picture(vertices, faces, Look(albedo=0.4, background=0.0))
    bright, _ = picture(vertices, faces, Look(albedo=0.8, background=0.5))
    body = (seen >= 0)[:, None].expand(-1, 3, -1, -1)
    assert (dark[~body] == 0.0).all()
    assert (bright[~body] == 0.5).all()
    assert torch.allclose(2 * dark[body], bright[body], atol=1e-6)


def test_a_body_among_others_looks_as_alone():
    body, joints, camera = OpenBody(), make_joints(4, noise=0.03), make_camera(4)
    crop = subject_crop(camera, camera.project(joints), 64, 50.0)
    vertices = body.skin(body.fit(joints, H36M_17))
    whole, _ = picture(vertices, body.faces, Look(), crop.focal_px, crop.center_px, 64)
    for row in range(4):
        part = slice(row, row + 1)
        alone, _ = picture(vertices[part], body.faces, Look(), crop.focal_px[part], crop.center_px[part], 64)
        assert torch.equal(whole[part], alone)
    assert 0 <= whole.min() <= whole.max() <= 1


def test_faces_around_lists_each_vertex_s_faces():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 2, 3]])
    table = faces_around(faces)
    for vertex in range(5):
        expected = [f for f in range(3) if vertex in faces[f]]
        assert table[vertex].tolist() == expected + [3] * (table.shape[1] - len(expected))


@pytest.mark.parametrize("wrong", [{"albedo": 1.2}, {"background": -0.1}, {"ambient": 2.0}, {"normals": "round"}])
def test_a_look_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Look(**wrong)


@pytest.mark.gpu
def test_cuda_and_cpu_shade_alike():
    vertices, faces = ball(2)
    on_cpu, _ = picture(vertices, faces)
    zbuffer, seen = WarpZBuffer(faces, "cuda").zbuffer(vertices.cuda(), FOCAL.cuda(), CENTER.cuda(), SIDE)
    on_gpu = Headlight(faces)(vertices.cuda(), zbuffer, seen, FOCAL.cuda(), CENTER.cuda()).cpu()
    assert (on_gpu - on_cpu).abs().mean() < 1e-4
