"""Z-buffer rasteriser as NVIDIA Warp kernels: the same source runs on CPU and CUDA, zero-copy on torch tensors.

One thread per mesh and triangle, atomic minimum into the z-buffer (DESIGN 5.4). On the CPU, where Warp's threads run
one after the other, a thread takes all triangles of a mesh: it saves the cost of starting each.
Two triangles that share an edge evaluate it on the same two vertices with exactly opposite signs (no fused
multiply-add), so no pixel falls between them. z > 0, so its bits order like the integers and the minimum is taken on
those; it does not depend on the order of the threads.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import BACKGROUND, Rasterizer

NEAREST_M = 1e-3  # a triangle with a corner closer than this is skipped
FARTHEST_PX = 1e6  # and one with a corner this far outside the image: pixel arithmetic would overflow
SKIPPED = 1 << 24  # stands for the pixel of a vertex that no triangle may use
INFINITE = 0x7F800000  # the bits of infinity
TILES = 64  # an image is at most 64 x 64 tiles: one bit each in 64-bit rows

wp.config.log_level = wp.LOG_ERROR
wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.func
@no_type_check
def _first_pixel(u: float, resolution: int) -> int:
    """The first pixel whose centre lies at or right of u, from 0 to `resolution`."""
    return int(wp.ceil(wp.min(wp.max(u, 0.0), float(resolution)) - 0.5))


@wp.kernel
@no_type_check
def _project(
    vertices: wp.array2d(dtype=wp.vec3),
    focal: wp.array(dtype=wp.vec2),
    center: wp.array(dtype=wp.vec2),
    steps: int,
    resolution: int,
    projected: wp.array2d(dtype=wp.vec4),
    pixels: wp.array2d(dtype=wp.vec2i),
):
    """Vertices to (u, v, z, 1 / z) in pixels and metres, and the first pixel right of and below each.

    SKIPPED marks those that no triangle may use.
    """
    b, first = wp.tid()
    f = focal[b]
    c = center[b]
    for v in range(first, projected.shape[1], steps):
        p = vertices[b, v]
        inverse = 1.0 / p[2]
        u = f[0] * p[0] * inverse + c[0]
        w = f[1] * p[1] * inverse + c[1]
        projected[b, v] = wp.vec4(u, w, p[2], inverse)
        # Written so that a NaN fails each test.
        if p[2] > NEAREST_M and wp.abs(u) < FARTHEST_PX and wp.abs(w) < FARTHEST_PX:
            pixels[b, v] = wp.vec2i(_first_pixel(u, resolution), _first_pixel(w, resolution))
        else:
            pixels[b, v] = wp.vec2i(SKIPPED, 0)


@wp.func
@no_type_check
def _box(pixels: wp.array2d(dtype=wp.vec2i), b: int, corner: wp.vec3i) -> wp.vec4i:
    """First and one-past-last column and row of the pixels whose centres a triangle may cover."""
    k = pixels[b, corner[0]]
    m = pixels[b, corner[1]]
    n = pixels[b, corner[2]]
    return wp.vec4i(
        wp.min(k[0], wp.min(m[0], n[0])),
        wp.max(k[0], wp.max(m[0], n[0])),
        wp.min(k[1], wp.min(m[1], n[1])),
        wp.max(k[1], wp.max(m[1], n[1])),
    )


@wp.func
@no_type_check
def _touches(tiles: wp.array2d(dtype=wp.uint64), b: int, box: wp.vec4i, shift: int) -> bool:
    """Whether a pixel box meets one of the wanted tiles; also true for boxes of many tiles."""
    left = box[0] >> shift
    count = wp.min(((box[1] - 1) >> shift) - left + 1, 63)
    bits = ((wp.uint64(1) << wp.uint64(count)) - wp.uint64(1)) << wp.uint64(left)
    top = box[2] >> shift
    last = (box[3] - 1) >> shift
    marked = tiles[b, top] | tiles[b, wp.min(top + 1, last)] | tiles[b, wp.min(top + 2, last)]
    return (marked & bits) != wp.uint64(0) or count >= 63 or last > top + 2


@wp.func
@no_type_check
def _depth_bits(pa: wp.vec4, pb: wp.vec4, pc: wp.vec4, low: int, high: int, px: float, py: float) -> int:
    """Bits of the perspective-correct z at a pixel centre, between those of the corners; infinity outside."""
    ax = pa[0] - px
    ay = pa[1] - py
    bx = pb[0] - px
    by = pb[1] - py
    cx = pc[0] - px
    cy = pc[1] - py
    wa = bx * cy - by * cx
    wb = cx * ay - cy * ax
    wc = ax * by - ay * bx
    area = wa + wb + wc
    z = area / (wa * pa[3] + wb * pb[3] + wc * pc[3])
    inside = (wa >= 0.0 and wb >= 0.0 and wc >= 0.0) or (wa <= 0.0 and wb <= 0.0 and wc <= 0.0)
    # Rounding on a triangle seen edge-on must not leave the triangle.
    bits = wp.clamp(wp.cast(z, wp.int32), low, high)
    return wp.where(inside and area != 0.0, bits, INFINITE)


@wp.kernel
@no_type_check
def _rasterize(
    projected: wp.array2d(dtype=wp.vec4),
    pixels: wp.array2d(dtype=wp.vec2i),
    faces: wp.array(dtype=wp.vec3i),
    tiles: wp.array2d(dtype=wp.uint64),
    tile_shift: int,
    steps: int,
    candidates: wp.array2d(dtype=wp.int32),
    zbuffer: wp.array3d(dtype=wp.int32),
    seen: wp.array3d(dtype=wp.int32),
):
    """Minimum of z over triangles; where `seen` is not empty, the number of the face at the minimum found before.

    Most triangles of a body in a small image cover no pixel centre. They are sorted out first, without a branch, which
    a CPU could not predict.
    """
    b, first = wp.tid()
    count = int(first)
    for face in range(first, faces.shape[0], steps):
        box = _box(pixels, b, faces[face])
        candidates[b, count] = face
        count += wp.where(box[1] > box[0] and box[3] > box[2] and box[1] < SKIPPED, steps, 0)
    if tiles.shape[0] > 0:
        boxes = count
        count = int(first)
        for k in range(first, boxes, steps):
            face = candidates[b, k]
            candidates[b, count] = face
            count += wp.where(_touches(tiles, b, _box(pixels, b, faces[face]), tile_shift), steps, 0)
    for k in range(first, count, steps):
        face = candidates[b, k]
        corner = faces[face]
        box = _box(pixels, b, corner)
        pa = projected[b, corner[0]]
        pb = projected[b, corner[1]]
        pc = projected[b, corner[2]]
        za = wp.cast(pa[2], wp.int32)
        zb = wp.cast(pb[2], wp.int32)
        zc = wp.cast(pc[2], wp.int32)
        low = wp.min(za, wp.min(zb, zc))
        high = wp.max(za, wp.max(zb, zc))
        for y in range(box[2], box[3]):
            for x in range(box[0], box[1]):
                bits = _depth_bits(pa, pb, pc, low, high, float(x) + 0.5, float(y) + 0.5)
                if seen.shape[0] == 0:
                    wp.atomic_min(zbuffer, b, y, x, bits)
                elif bits == zbuffer[b, y, x] and bits < INFINITE:
                    wp.atomic_max(seen, b, y, x, face)


@wp.kernel
@no_type_check
def _mark_tiles(
    windows: wp.array2d(dtype=wp.vec2i),
    window: int,
    tile_shift: int,
    resolution: int,
    tiles: wp.array2d(dtype=wp.uint64),
):
    """Set the bit of every tile that one of a mesh's pixel windows meets."""
    b = wp.tid()
    for j in range(windows.shape[1]):
        corner = windows[b, j]
        x0 = wp.clamp(corner[0], 0, resolution - 1) >> tile_shift
        x1 = wp.clamp(corner[0] + window - 1, 0, resolution - 1) >> tile_shift
        y0 = wp.clamp(corner[1], 0, resolution - 1) >> tile_shift
        y1 = wp.clamp(corner[1] + window - 1, 0, resolution - 1) >> tile_shift
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                tiles[b, y] = tiles[b, y] | (wp.uint64(1) << wp.uint64(x))


class WarpZBuffer(Rasterizer):
    """Rasterises batches of one mesh's poses. faces: vertex numbers. device: where vertices will come from."""

    def __init__(self, faces: Int[Tensor, "faces 3"], device: torch.device | str = "cpu") -> None:
        wp.init()
        self.device = torch.device(device)
        self.faces = faces.to(self.device, torch.int32).contiguous()
        self._where = wp.device_from_torch(self.device)

    def zbuffer(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> tuple[Float[Tensor, "batch height width"], Int[Tensor, "batch height width"]]:
        projected = self._projected(vertices, focal_px, center_px, resolution)
        depth = self._empty(len(vertices), resolution)
        seen = torch.full(depth.shape, -1, dtype=torch.int32, device=self.device)
        self._draw(*projected, depth, None)
        self._draw(*projected, depth, None, seen)
        return depth, seen

    def depth(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
        windows: Int[Tensor, "batch joints 2"] | None = None,
        window: int = 0,
    ) -> Float[Tensor, "batch height width"]:
        """The z-buffer alone: half the work of `zbuffer`.

        windows: first column and row of the only squares of `window` pixels that will be read. Inside them the answer
        is that of the whole image; elsewhere it may be background.
        """
        depth = self._empty(len(vertices), resolution)
        tiles = None if windows is None else self._tiles(windows, window, resolution)
        self._draw(*self._projected(vertices, focal_px, center_px, resolution), depth, tiles)
        return depth

    def _empty(self, rows: int, resolution: int) -> Tensor:
        return torch.full((rows, resolution, resolution), BACKGROUND, device=self.device)

    def _projected(
        self, vertices: Tensor, focal_px: Tensor, center_px: Tensor, resolution: int
    ) -> tuple[Tensor, Tensor]:
        projected = torch.empty(*vertices.shape[:2], 4, device=self.device)
        pixels = torch.empty(*vertices.shape[:2], 2, dtype=torch.int32, device=self.device)
        inputs = [_view(vertices, wp.vec3), _view(focal_px, wp.vec2), _view(center_px, wp.vec2)]
        outputs = [resolution, _view(projected, wp.vec4), _view(pixels, wp.vec2i)]
        self._launch(_project, vertices.shape[1], inputs, outputs, len(vertices))
        return projected, pixels

    def _tiles(self, windows: Tensor, window: int, resolution: int) -> Tensor:
        tiles = torch.zeros(len(windows), TILES, dtype=torch.int64, device=self.device)
        inputs = [_view(windows.to(torch.int32), wp.vec2i), window, _tile_shift(resolution), resolution]
        wp.launch(_mark_tiles, len(windows), inputs, [_view(tiles, wp.uint64)], device=self._where, stream=self._stream)
        return tiles

    def _draw(
        self, projected: Tensor, pixels: Tensor, depth: Tensor, tiles: Tensor | None, seen: Tensor | None = None
    ) -> None:
        if tiles is None:
            tiles = torch.empty(0, TILES, dtype=torch.int64, device=self.device)
        if seen is None:
            seen = torch.empty(0, 1, 1, dtype=torch.int32, device=self.device)
        inputs = [_view(projected, wp.vec4), _view(pixels, wp.vec2i), _view(self.faces, wp.vec3i)]
        inputs += [_view(tiles, wp.uint64), _tile_shift(depth.shape[-1])]
        candidates = torch.empty(len(projected), len(self.faces), dtype=torch.int32, device=self.device)
        outputs = [_view(candidates, wp.int32), _view(depth.view(torch.int32), wp.int32), _view(seen, wp.int32)]
        self._launch(_rasterize, len(self.faces), inputs, outputs, len(projected))

    def _launch(self, kernel: wp.Kernel, items: int, inputs: list, outputs: list, rows: int) -> None:
        """Run a kernel whose thread (b, first) takes the items first, first + steps, ..."""
        steps = items if self.device.type == "cuda" else 1
        wp.launch(kernel, (rows, steps), [*inputs, steps], outputs, device=self._where, stream=self._stream)

    @property
    def _stream(self) -> "wp.Stream | None":
        # Warp has a stream of its own; on torch's, its kernels follow what made their inputs.
        return None if self.device.type == "cpu" else wp.stream_from_torch(torch.cuda.current_stream(self.device))


def _tile_shift(resolution: int) -> int:
    """log2 of a tile's side in pixels."""
    shift = 0
    while TILES << shift < resolution:
        shift += 1
    return shift


def _view(tensor: Tensor, dtype: type) -> object:
    return wp.from_torch(tensor.detach().contiguous(), dtype=dtype, return_ctype=True)
