"""The pure parts of the PyTorch3D backend anywhere; parity with Warp where PyTorch3D is installed."""

import importlib.util
import sys

import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import OptionError
from render_workers.crop import subject_crop
from render_workers.rasterizers.pytorch3d_zbuffer import (
    PyTorch3DZBuffer,
    camera_arguments,
    face_numbers,
    light_arguments,
    metres,
    turned,
)
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.shading import Headlight, Look, ShadingRasterizer
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints

BODY = OpenBody()
needs_pytorch3d = [
    pytest.mark.pytorch3d,
    pytest.mark.skipif(not importlib.util.find_spec("pytorch3d"), reason="PyTorch3D is not installed"),
]


def scene(rows=4, side=128):
    joints, camera = make_joints(rows, noise=0.03), make_camera(rows)
    crop = subject_crop(camera, camera.project(joints), side, 100.0 * side / 128)
    return BODY.skin(BODY.fit(joints, H36M_17)), crop.focal_px, crop.center_px, side


def test_turning_is_a_rotation_and_its_own_inverse():
    points = torch.randn(5, 3)
    assert torch.equal(turned(turned(points)), points)
    half_turn = rotation_from_axis_angle(torch.tensor([[0.0, 0.0, torch.pi]]))[0]
    assert torch.allclose(turned(points), points @ half_turn.T, atol=1e-6)
    assert turned(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-1.0, -2.0, 3.0]  # left, up, forward


def test_its_camera_sees_turned_vertices_where_ours_sees_them():
    vertices, focal, center, side = scene()
    given = camera_arguments(focal, center, side)
    assert given["image_size"].tolist() == [[128.0, 128.0]] * 4
    assert given["in_ndc"] is False
    # PyTorch3D's manual: in screen space x = c - f X / Z and y = c - f Y / Z, since X points left and Y up.
    theirs = turned(vertices)
    f, c = given["focal_length"][:, None], given["principal_point"][:, None]
    seen = c - f * theirs[..., :2] / theirs[..., 2:]
    ours = focal[:, None] * vertices[..., :2] / vertices[..., 2:] + center[:, None]
    assert torch.allclose(seen, ours, atol=1e-4)
    assert (seen[..., 0] > 0).all()
    assert (seen[..., 0] < side).all()


def test_background_and_face_numbers_become_ours():
    zbuf = torch.tensor([[[-1.0, 3.0], [4.0, -1.0]], [[2.0, -1.0], [-1.0, 5.0]]])
    numbers = torch.tensor([[[-1, 0], [6, -1]], [[7, -1], [-1, 13]]])  # seven faces a mesh, counted through
    assert metres(zbuf).tolist() == [[[torch.inf, 3.0], [4.0, torch.inf]], [[2.0, torch.inf], [torch.inf, 5.0]]]
    assert face_numbers(numbers, 7).tolist() == [[[-1, 0], [6, -1]], [[0, -1], [-1, 6]]]


def test_its_light_is_at_the_camera_and_shares_out_the_look():
    lights = light_arguments(Look(ambient=0.3, specular=0.1))
    assert lights["location"] == ((0.0, 0.0, 0.0),)
    assert lights["ambient_color"] == ((0.3,) * 3,)
    assert lights["diffuse_color"] == ((0.7,) * 3,)
    assert lights["specular_color"] == ((0.1,) * 3,)


def test_without_pytorch3d_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(OptionError, match=r"pip install .*github.com/facebookresearch/pytorch3d"):
        WorkerSpec(rasterizer="pytorch3d").build()


class TestParity:
    pytestmark = needs_pytorch3d

    def test_depth_and_coverage_are_warps(self):
        arguments = scene()
        theirs, faces = PyTorch3DZBuffer(BODY.faces).zbuffer(*arguments)
        ours, ours_faces = WarpZBuffer(BODY.faces).zbuffer(*arguments)
        body = ours.isfinite()
        assert torch.equal(theirs.isfinite(), body)
        assert (theirs[body] - ours[body]).abs().max() < 1e-5
        assert (faces == ours_faces).float().mean() > 0.999  # faces that touch may be told apart otherwise
        assert torch.equal(faces < 0, ~body)

    @pytest.mark.parametrize("normals", ["smooth", "flat"])
    def test_its_shaders_make_the_headlight_s_picture(self, normals):
        arguments, look = scene(), Look(specular=0.2, background=0.5, normals=normals)
        backend = PyTorch3DZBuffer(BODY.faces)
        assert isinstance(backend, ShadingRasterizer)
        _, theirs = backend.shaded(*arguments, look)
        zbuffer, seen = WarpZBuffer(BODY.faces).zbuffer(*arguments)
        ours = Headlight(BODY.faces, look)(arguments[0], zbuffer, seen, *arguments[1:3])
        assert theirs.shape == ours.shape
        assert (theirs - ours).abs().mean() < 1e-3

    def test_a_worker_reads_the_same_depth(self):
        from render_workers.base import RenderRequest

        joints, camera = make_joints(4), make_camera(4)
        request = RenderRequest(joints, H36M_17, camera, camera.project(joints), torch.arange(4))
        theirs, ours = (WorkerSpec(rasterizer=name).build().depth(request).depth for name in ("pytorch3d", "warp"))
        assert abs(theirs - ours).max() < 1e-5
