"""Shape checks on, one thread, and where the shared folders lie."""

import gc
import os
import secrets
import sys
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
# Ray's servers listen on all interfaces: whoever runs the tests shares no cluster with whoever reaches the machine. Ray
# reads it once a process, so clusters of one test session must not differ in it; workers of xdist inherit it.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

from tests.shape_checker import install as check_shapes

check_shapes(["dg", "lifters", "render_workers", "sweeps"])

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from dg.datasets.synthetic import Synthetic  # noqa: E402
from dg.drawing import figures  # noqa: E402
from dg.pose.camera import Camera  # noqa: E402
from dg.pose.devices import seed_global_stream  # noqa: E402
from tests.pictures import ONE_PIXEL  # noqa: E402
from tests.stores import created_by_copying  # noqa: E402

# A busy machine is no failure of a law.
settings.register_profile("any_speed", deadline=None)
settings.load_profile("any_speed")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_finish():
    """What modules hold lives to the end: the collector, a twentieth of the time, walks it no more, and less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items):
    if not SHARED.is_dir():
        skip = pytest.mark.skip(reason="the shared folder is absent")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seed():
    seed_global_stream(0)
    torch.set_num_threads(1)


_plain_load, _plain_drawn = Synthetic.load, figures._drawn


@lru_cache(maxsize=64)
def _motion(options, split):
    return _plain_load(Synthetic(options), split)


@pytest.fixture(autouse=True, scope="module")
def _motion_is_made_once(request):
    """Runs share synthetic motion, which depends on its options alone; not where just that is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "datasets" and request.path.stem != "test_every_dataset":
            patch.setattr(Synthetic, "load", lambda self, split: _motion(self.options, split))
        yield


@pytest.fixture(autouse=True, scope="session")
def _stores_are_copied():
    """The tables of a new MLflow store are a copy; of what creates them, tests/reliability has the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dg.tracking.stores._create_whole", created_by_copying)
        yield


@pytest.fixture(autouse=True, scope="module")
def _pictures_are_not_drawn(request):
    """Figures are made but not drawn, which is half of what a small run costs, where no test looks at one.

    A module whose tests look at pictures has PICTURES_ARE_DRAWN; a single test asks for the fixture `pictures`.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "PICTURES_ARE_DRAWN", False):
            patch.setattr(figures, "_drawn", lambda figure, dpi: ONE_PIXEL)
            if "dg.training.run_record" in sys.modules:  # every run has these two: their figures are not even made
                patch.setattr("dg.training.run_record.draw_run", lambda details, views: ONE_PIXEL)
                patch.setattr("dg.training.view_log.draw_views", lambda sets: ONE_PIXEL)
        yield


@pytest.fixture
def pictures(monkeypatch):
    """Pictures are drawn in this test."""
    monkeypatch.setattr(figures, "_drawn", _plain_drawn)


@pytest.fixture
def shared() -> Path:
    return SHARED


@pytest.fixture
def fake_train(tmp_path, monkeypatch) -> Path:
    """A folder to work in, where grids and sweeps start a small program in the place of dg.train."""
    from tests.fake_commands import install  # here, for few tests need sweeps and Optuna

    install(monkeypatch, tmp_path)
    return tmp_path


def make_camera(rows: int, distorted: bool = False) -> Camera:
    """Cameras like Human3.6M's first one."""
    distortion = torch.tensor([-0.2071, 0.2478, -0.00308, -0.000976, -0.00142]) if distorted else torch.zeros(5)
    return Camera(
        focal=torch.tensor([2.29, 2.2876]).repeat(rows, 1),
        center=torch.tensor([0.025, 0.029]).repeat(rows, 1),
        distortion=distortion.repeat(rows, 1),
        extent=torch.tensor([1.0, 1.002]).repeat(rows, 1),
    )


# A standing person in H36M-17 order, camera frame, metres, facing the camera: a person's left is at +x.
STANDING_17 = torch.tensor([
    [0.0, 0.0, 0.0], [-0.13, 0.0, 0.0], [-0.13, 0.44, 0.02], [-0.13, 0.88, 0.06],
    [0.13, 0.0, 0.0], [0.13, 0.44, 0.02], [0.13, 0.88, 0.06],
    [0.0, -0.23, 0.0], [0.0, -0.48, 0.02], [0.0, -0.58, -0.04], [0.0, -0.70, 0.0],
    [0.15, -0.45, 0.02], [0.25, -0.20, 0.02], [0.28, 0.04, -0.04],
    [-0.15, -0.45, 0.02], [-0.25, -0.20, 0.02], [-0.28, 0.04, -0.04],
])  # fmt: skip


def make_joints(rows: int, joints: int = 17, noise: float = 0.05, seed: int = 0) -> torch.Tensor:
    """`[rows, joints, 3]` perturbed standing people, 4 to 6 m in front of the camera."""
    generator = torch.Generator().manual_seed(seed)
    pose = STANDING_17 if joints == 17 else STANDING_17[[i for i in range(17) if i != 9]]
    moved = pose + noise * torch.randn(rows, joints, 3, generator=generator)
    offset = torch.randn(rows, 1, 3, generator=generator) * torch.tensor([0.3, 0.15, 0.4])
    return moved + offset + torch.tensor([0.0, 0.0, 5.0])
