"""The table of docs/predict.md: the starter lifter, averaged over time and not, and one of windows, on the same 2D.

    COMMON="data=h36m data.label=cmu data.root=CMU inputs=xy dscale2d=box skeleton=h36m_17 lifter.width=256
        lifter.dropout=0 pool=local threads=1 device=cpu seed=0 method=random_camera"
    dg train $COMMON lifter=video_pose_3d frames=27 batch_size=256 epochs=1000 max_steps=4000 evaluate_every=1000
        out=runs/windows 'method.hips=[0.9,1.5]' 'method.shoulders=[1.0,1.6]'
    python docs/compare_windows.py CMU CROSS runs/windows/best.pt

CMU and CROSS are the folders of docs/make_starter.py. 3 processor minutes. Whatever is random is drawn with seed 1.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dg.augment.detector_errors import DetectorErrors
from dg.augment.virtual_views import DRAWS, CameraRanges, place_views
from dg.datasets.h36m import MOVING_JOINTS
from dg.datasets.h36m_detections import unboxed
from dg.datasets.validation import read_arrays
from dg.evaluation.metrics import pose_errors
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17
from dg.predict.smoothing import smooth
from dg.predict.starter import STARTER
from dg.trained.lifting import PixelPoses, lift_poses
from dg.trained.stored import StoredLifter, load_checkpoint

SEED, LONGEST, SHORTEST, SHARE = 1, 300, 60, 0.25
FPS, SIGMAS_S = 30, (0.025, 0.05, 0.1)  # of the first set; standard deviations of a mean over time, seconds
FULL_RATE = "cmu at 30 fps"
TESTS = ("cmu_h36m", "cmu_3dhp", "cmu_3dpw", "uiprmd_h36m", "uiprmd_3dhp", "uiprmd_3dpw")


@dataclass(frozen=True)
class Clips:
    """Frames of clips: true joints [n, 17, 3] metres, 2D [n, 17, 2], sizes and focal lengths [n, 2] px, clip [n]."""

    name: str
    joints: torch.Tensor
    pixels: torch.Tensor
    size: torch.Tensor
    focal: torch.Tensor
    clip: np.ndarray


def main(cmu: str, cross: str, checkpoint: str) -> None:
    """Print the errors of both lifters on every test set, with exact 2D and with a detector's errors."""
    torch.set_num_threads(1)
    lifters = {"starter": load_checkpoint(STARTER), "windows": load_checkpoint(Path(checkpoint))}
    for clips in (full_rate(Path(cmu)), *cross_sets(Path(cross))):
        for what, pixels in (("exact", clips.pixels), ("noisy", detected(clips))):
            found = {name: lift(stored, clips, pixels) for name, stored in lifters.items()}
            for seconds in SIGMAS_S if clips.name == FULL_RATE else ():
                for name in lifters:
                    averaged = smooth(found[name].numpy(), clips.clip, seconds * FPS)
                    found[f"{name}, smooth={seconds}"] = torch.from_numpy(averaged)
            for name, joints in found.items():
                print(f"{clips.name:14s} {what} {name:22s} {len(joints)} frames  {errors(joints, clips)}", flush=True)


def full_rate(root: Path) -> Clips:
    """A quarter of the test performers' clips, cut at 10 s, each seen by a random camera, 1000 x 1000 pixels."""
    path = root / "data_3d_h36m.npz"
    motion = unboxed(read_arrays(path, ["positions_3d"], allow_objects=["positions_3d"])["positions_3d"])
    chance, generator = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    up = torch.tensor([[0.0, -1.0, 0.0]])
    joints, clip, focal = [], [], []
    for action in (take for subject in ("S9", "S11") for take in motion[subject].values()):
        world = torch.tensor(np.asarray(action)[:, list(MOVING_JOINTS)], dtype=torch.float32)
        turned = torch.stack([world[..., 0], -world[..., 2], world[..., 1]], -1)  # z up becomes y down
        for part in turned.split(LONGEST):
            if len(part) < SHORTEST or chance.random() > SHARE:
                continue
            centred = (part - part[len(part) // 2, :1]).flatten(0, 1)[None]
            length, placed = place_views(centred, up, torch.rand(1, DRAWS, generator=generator), CameraRanges())
            if (placed[..., 2] < 0.5).any():
                continue
            clip += [len(joints)] * len(part)
            joints.append(placed[0].view_as(part))
            focal += [500 * float(length)] * len(part)
    all_joints, lengths = torch.cat(joints), torch.tensor(focal)[:, None].expand(-1, 2)
    pixels = all_joints[..., :2] / all_joints[..., 2:] * lengths[:, None] + 500
    return Clips(FULL_RATE, all_joints, pixels, torch.full((len(clip), 2), 1000.0), lengths, np.array(clip))


def cross_sets(root: Path) -> Iterator[Clips]:
    """The test sets of docs/results.md."""
    for name in TESTS:
        arrays = np.load(root / f"{name}.npz")
        size = torch.tensor(arrays["res"], dtype=torch.float32)
        side = size.amax(1, keepdim=True)
        pixels = (torch.tensor(arrays["pose2d"]) * side[:, None] + size[:, None]) / 2
        focal = torch.tensor(arrays["intrinsics"][:, :2]) * side / 2
        clip = np.unique(arrays["clip"], return_inverse=True)[1]
        yield Clips(name, torch.tensor(arrays["pose3d"]), pixels, size, focal, clip)


def detected(clips: Clips) -> torch.Tensor:
    """The 2D as a detector would have found it. No joint is missing: `dg predict` draws these between the frames."""
    generator, found = torch.Generator().manual_seed(SEED), clips.pixels.clone()
    for number in np.unique(clips.clip):
        rows = np.flatnonzero(clips.clip == number)
        found[rows] = DetectorErrors(missing=0.0).detected(clips.pixels[rows], H36M_17, generator, len(rows))
    return found


def lift(stored: StoredLifter, clips: Clips, pixels: torch.Tensor) -> torch.Tensor:
    """Root-relative joints, metres."""
    camera = Camera.from_pixels(clips.focal, clips.size / 2, clips.size, torch.zeros(len(pixels), 5), longer_side=True)
    poses = PixelPoses(pixels, clips.size, camera).batch(H36M_17)
    return lift_poses(stored, poses, torch.from_numpy(clips.clip).long(), torch.device("cpu"))


def errors(found: torch.Tensor, clips: Clips) -> str:
    """MPJPE, PA-MPJPE, and the error of the acceleration."""
    true = clips.joints - clips.joints[:, :1]
    within = torch.from_numpy(clips.clip[2:] == clips.clip[:-2])
    gap = (found - true)[2:] - 2 * (found - true)[1:-1] + (found - true)[:-2]
    means = pose_errors(found, true).summary()
    jitter = 1000 * float(gap[within].norm(dim=-1).mean())
    return f"MPJPE {means['mpjpe_mm']:.1f}, PA {means['pa_mpjpe_mm']:.1f} mm, acceleration {jitter:.1f} mm per frame²"


if __name__ == "__main__":
    main(*sys.argv[1:])
