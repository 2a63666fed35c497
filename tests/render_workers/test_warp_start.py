"""What a GPU and a cluster ask of Warp's start: a device number, a folder that can be written to, one compilation."""

import tempfile
import threading
from pathlib import Path

import pytest
import torch
import warp as wp
from warp._src import context

import render_workers
from dg.pose.devices import indexed
from dg.settings.errors import ConfigError
from render_workers.kernels import launching, warp_start
from render_workers.kernels.module import HOMES, MODULE
from render_workers.kernels.warp_start import kernel_folder, load_kernels, start_warp
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer


class Faces(torch.Tensor):
    """Remembers where it was to be moved, which is to a GPU that is not there."""

    def to(self, device, dtype):
        self.where = device
        return self

    def contiguous(self):
        return self


def test_a_rasteriser_on_cuda_without_a_number_runs_on_the_current_device(monkeypatch):
    start_warp()
    gpus, loaded = [object(), object()], []
    monkeypatch.setattr(context.runtime, "cuda_devices", gpus)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(launching, "load_kernels", lambda module, where: loaded.append((module, where)))
    with pytest.raises(TypeError):
        wp.device_from_torch(torch.device("cuda"))
    rasterizer = WarpZBuffer(torch.tensor([[0, 1, 2]]).as_subclass(Faces), "cuda")
    assert rasterizer.faces.where == rasterizer.device == indexed("cuda") == torch.device("cuda", 1)
    assert loaded == [(MODULE.name, gpus[1])]


def test_kernels_go_to_the_folder_that_is_named_or_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("WARP_CACHE_PATH", str(tmp_path / "named"))
    assert kernel_folder() is None
    monkeypatch.setenv("WARP_CACHE_PATH", "/proc/nowhere")
    with pytest.raises(ConfigError, match="WARP_CACHE_PATH=/proc/nowhere cannot be written to"):
        kernel_folder()
    monkeypatch.delenv("WARP_CACHE_PATH")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert kernel_folder() is None


def test_without_a_home_kernels_go_to_a_private_folder_that_processes_share(monkeypatch, tmp_path):
    monkeypatch.delenv("WARP_CACHE_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = Path(kernel_folder())
    assert first.parent == tmp_path
    assert first.stat().st_mode & 0o077 == 0
    assert kernel_folder() == str(first)
    # Kernels are executed: a folder that others can write to is not trusted, nor a link to elsewhere.
    first.chmod(0o777)
    assert kernel_folder() != str(first)
    first.chmod(0o700)
    first.rename(tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    assert kernel_folder() != str(first)


def test_processes_load_kernels_one_after_another_so_that_the_first_compiles_for_all(monkeypatch, tmp_path):
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    inside, release, order = threading.Event(), threading.Event(), []

    def load(module, device):
        order.append(f"{device} begins")
        inside.set()
        assert release.wait(30)
        order.append(f"{device} ends")

    monkeypatch.setattr(wp, "load_module", load)
    threads = [threading.Thread(target=load_kernels, args=("kernels", name)) for name in ("first", "second")]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    threads[1].join(0.2)  # time to go wrong in
    assert order == ["first begins"]
    release.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first begins", "first ends", "second begins", "second ends"]


def test_whoever_waits_too_long_for_the_lock_compiles_for_itself(monkeypatch, tmp_path):
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    monkeypatch.setattr(warp_start, "LOCK_S", 0.05)
    loaded = []
    monkeypatch.setattr(wp, "load_module", lambda module, device: loaded.append(device))
    with warp_start.FileLock(tmp_path / "kernels.lock"):
        load_kernels("kernels", "cpu")
    assert loaded == ["cpu"]


def test_all_kernels_are_in_one_module_which_is_complete_before_it_is_compiled():
    """One that were missing would have all others compiled anew when it is first imported."""
    folder = Path(render_workers.__file__).parent
    files = {path: path.read_text() for path in folder.rglob("*.py")}
    registering = {path for path, text in files.items() if "@wp.kernel" in text}
    assert {folder.parent / f"{home.replace('.', '/')}.py" for home in HOMES} == registering
    homes = {folder / "kernels", folder / "rasterizers"}
    assert {path.parent for path, text in files.items() if "import warp" in text} <= homes
    for path in registering:
        assert files[path].count("@wp.kernel(module=MODULE)") == files[path].count("@wp.kernel"), path
