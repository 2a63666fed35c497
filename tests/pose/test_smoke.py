import torch

from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints


def test_all():
    b = PoseBatch.from_joints(make_joints(8)[:, None], make_camera(8, True), H36M_17)
    assert b.valid.all()
    r = b.camera.unproject(b.joints_2d)
    assert torch.allclose(r, b.joints_3d[..., :2] / b.joints_3d[..., 2:], atol=1e-5)
    f = b.flip()
    assert torch.allclose(f.camera.project(f.joints_3d), f.joints_2d, atol=1e-6)
    b = b.replace(depth=b.joints_3d[..., 2])
    assert b.features(InputSpec()).shape == (8, 1, 17, 3)
    assert b.with_joints(b.joints_3d + 100.0).valid.sum() == 0
    from dg.pose.skeleton import H36M_16

    assert b.convert(H36M_16)[:3].flip().joints_3d.shape == (3, 1, 16, 3)
    PoseBatch.concatenate([b, b])
