"""The plainest z-buffer there is: every ray against every triangle, in numpy and double precision."""

import numpy as np

CHUNK = 512


def ray_triangle_zbuffer(
    vertices: np.ndarray, faces: np.ndarray, focal_px: np.ndarray, center_px: np.ndarray, resolution: int
) -> np.ndarray:
    """`[resolution, resolution]` z in metres of one mesh `[vertices, 3]` at pixel centres; background inf."""
    pixel = np.arange(resolution) + 0.5
    x, y = (pixel - center_px[0]) / focal_px[0], (pixel - center_px[1]) / focal_px[1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((resolution, resolution))], -1).reshape(-1, 3)
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    in_front = (np.stack([a, b, c])[..., 2] > 0).all(0)
    a, b, c = a[in_front], b[in_front], c[in_front]
    # A ray d meets the triangle where d . (a x b), d . (b x c) and d . (c x a) have one sign (Plucker coordinates);
    # its plane at the distance n . a / n . d.
    edges = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    normal = edges.sum(0)
    offset = (normal * a).sum(-1)
    nearest = np.full(len(rays), np.inf)
    for start in range(0, len(rays), CHUNK):
        d = rays[start : start + CHUNK].T
        sides = edges @ d
        inside = (sides >= 0).all(0) | (sides <= 0).all(0)
        facing = normal @ d
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(inside & (facing != 0), offset[:, None] / facing, np.inf)
        nearest[start : start + CHUNK] = z.min(0, initial=np.inf)
    return nearest.reshape(resolution, resolution)
