"""Z-buffer rasteriser as NVIDIA Warp kernels: the same source runs on CPU and CUDA, zero-copy on torch tensors.

One thread per mesh and triangle, atomic minimum into the z-buffer (DESIGN 5.4). On the CPU, where Warp's threads run
one after the other, a thread takes all triangles of a mesh, which saves the cost of starting each.
Two triangles that share an edge evaluate it on the same two vertices with exactly opposite signs (no fused
multiply-add), so no pixel falls between them. Threads run in any order on CUDA; a minimum of depths and a maximum of
face numbers do not depend on it, so answers repeat bit for bit.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import BACKGROUND, Rasterizer
from render_workers.kernels.launching import Launcher, view
from render_workers.kernels.module import MODULE

NEAREST_M = 1e-3  # a triangle with a corner closer than this is skipped
FARTHEST_PX = 1e6  # and one with a corner this far outside the image: pixel arithmetic would lose its digits
SKIPPED = 1 << 24  # stands for the pixel of a vertex that no triangle may use

# All of a thread's triangles. C++, because it lets a CPU test the eight pixels of a block at once, without a branch:
# which of a body's pixel-sized triangles cover which pixels cannot be predicted, and most lie in one block of two by
# four. Warp's compiler for CPUs is clang, whose vectors take the same operators as a GPU's numbers. Blocks at the
# image's far borders step back over pixels that are not theirs; those are masked out, and so are those beyond the
# triangle's box.
_COVER = """
#if defined(__CUDA_ARCH__)
    constexpr int wide = 1, tall = 1;
    using real = float;
    const real across = 0.5f, down = 0.5f;
    const auto lane = [](real values, int) { return values; };
#else
    constexpr int wide = 2, tall = 4;
    using real = float __attribute__((ext_vector_type(8)));
    const real across = {0.5f, 1.5f, 0.5f, 1.5f, 0.5f, 1.5f, 0.5f, 1.5f};
    const real down = {0.5f, 0.5f, 1.5f, 1.5f, 2.5f, 2.5f, 3.5f, 3.5f};
    const auto lane = [](real values, int i) { return values[i]; };
#endif
    const int size = zbuffer.shape[2];
    const bool find = seen.shape[0] > 0;
    const auto* corners = projected.data + (size_t)b * projected.shape[1];
    const auto* first_pixels = pixels.data + (size_t)b * pixels.shape[1];
    for (int face = first; face < faces.shape[0]; face += steps) {
        const auto corner = faces.data[face];
        const auto k = first_pixels[corner.c[0]], m = first_pixels[corner.c[1]], n = first_pixels[corner.c[2]];
        // First and one-past-last column and row of the pixels whose centres the triangle may cover: often none.
        const int first_x = wp::min(k.c[0], wp::min(m.c[0], n.c[0])), last_x = wp::max(k.c[0], wp::max(m.c[0], n.c[0]));
        const int first_y = wp::min(k.c[1], wp::min(m.c[1], n.c[1])), last_y = wp::max(k.c[1], wp::max(m.c[1], n.c[1]));
        if (last_x <= first_x || last_y <= first_y || last_x >= skipped)
            continue;
        const auto pa = corners[corner.c[0]], pb = corners[corner.c[1]], pc = corners[corner.c[2]];
        // Rounding on a triangle seen edge-on must not leave its range of depths.
        const float nearest = wp::min(pa.c[2], wp::min(pb.c[2], pc.c[2]));
        const float farthest = wp::max(pa.c[2], wp::max(pb.c[2], pc.c[2]));
        for (int top = first_y; top < last_y; top += tall)
            for (int left = first_x; left < last_x; left += wide) {
                const int x0 = left < size - wide ? left : size - wide;
                const int y0 = top < size - tall ? top : size - tall;
                const real px = (float)x0 + across, py = (float)y0 + down;
                const real ax = pa.c[0] - px, bx = pb.c[0] - px, cx = pc.c[0] - px;
                const real ay = pa.c[1] - py, by = pb.c[1] - py, cy = pc.c[1] - py;
                const real wa = bx * cy - by * cx;
                const real wb = cx * ay - cy * ax;
                const real wc = ax * by - ay * bx;
                const real area = wa + wb + wc;
                const auto positive = (wa >= 0.0f) & (wb >= 0.0f) & (wc >= 0.0f);
                const auto negative = (wa <= 0.0f) & (wb <= 0.0f) & (wc <= 0.0f);
                const auto from_here = (px > (float)left) & (py > (float)top);
                const auto within = from_here & (px < (float)last_x) & (py < (float)last_y);
                real z = area / (wa * pa.c[3] + wb * pb.c[3] + wc * pc.c[3]);
                z = z < nearest ? nearest : z;
                z = z > farthest ? farthest : z;
                const real depth = ((positive | negative) & within & (area != 0.0f)) ? z : (real)INFINITY;
                const size_t at = ((size_t)b * size + y0) * size + x0;
                float* image = zbuffer.data + at;
                if (find) {
                    for (int i = 0; i < wide * tall; ++i) {
                        const int pixel = i / wide * size + i % wide;
                        if (lane(depth, i) < INFINITY && lane(depth, i) == image[pixel])
                            wp::atomic_max(seen.data + at + pixel, face);
                    }
                    continue;
                }
#if defined(__CUDA_ARCH__)
                // z > 0, and positive floats order like their bits.
                if (depth < image[0])
                    atomicMin((int*)image, __float_as_int(depth));
#else
                for (int y = 0; y < tall; ++y)
                    for (int x = 0; x < wide; ++x) {
                        float& pixel = image[y * size + x];
                        pixel = depth[y * wide + x] < pixel ? depth[y * wide + x] : pixel;
                    }
#endif
            }
    }
"""


@wp.func_native(_COVER.replace("skipped", str(SKIPPED)))
@no_type_check
def _cover(
    projected: wp.array2d(dtype=wp.vec4),
    pixels: wp.array2d(dtype=wp.vec2i),
    faces: wp.array(dtype=wp.vec3i),
    b: int,
    first: int,
    steps: int,
    zbuffer: wp.array3d(dtype=float),
    seen: wp.array3d(dtype=wp.int32),
) -> None: ...


@wp.func
@no_type_check
def _first_pixel(u: float, resolution: int) -> int:
    """The first pixel whose centre lies at or right of u, from 0 to `resolution`."""
    return int(wp.ceil(wp.min(wp.max(u, 0.0), float(resolution)) - 0.5))


@wp.kernel(module=MODULE)
@no_type_check
def _project(
    vertices: wp.array2d(dtype=wp.vec3),
    focal: wp.array(dtype=wp.vec2),
    center: wp.array(dtype=wp.vec2),
    resolution: int,
    steps: int,
    projected: wp.array2d(dtype=wp.vec4),
    pixels: wp.array2d(dtype=wp.vec2i),
) -> None:
    """Vertices to (u, v, z, 1 / z) in pixels and metres, and the first pixel right of and below each."""
    b, first = wp.tid()
    f = focal[b]
    c = center[b]
    for v in range(first, projected.shape[1], steps):
        p = vertices[b, v]
        inverse = 1.0 / p[2]
        u = f[0] * p[0] * inverse + c[0]
        w = f[1] * p[1] * inverse + c[1]
        projected[b, v] = wp.vec4(u, w, p[2], inverse)
        # Written so that NaN and infinity fail a test.
        if p[2] > NEAREST_M and inverse > 0.0 and wp.abs(u) < FARTHEST_PX and wp.abs(w) < FARTHEST_PX:
            pixels[b, v] = wp.vec2i(_first_pixel(u, resolution), _first_pixel(w, resolution))
        else:
            pixels[b, v] = wp.vec2i(SKIPPED, 0)


@wp.kernel(module=MODULE)
@no_type_check
def _rasterize(
    projected: wp.array2d(dtype=wp.vec4),
    pixels: wp.array2d(dtype=wp.vec2i),
    faces: wp.array(dtype=wp.vec3i),
    steps: int,
    zbuffer: wp.array3d(dtype=float),
    seen: wp.array3d(dtype=wp.int32),
) -> None:
    """Minimum of z over triangles; where `seen` is not empty, the last face at the minimum that was found before."""
    b, first = wp.tid()
    _cover(projected, pixels, faces, b, first, steps, zbuffer, seen)


class WarpZBuffer(Rasterizer):
    """Rasterises batches of one mesh's poses.

    Args:
        faces: vertex numbers of each triangle.
        device: device of the vertices to come.

    Raises:
        ValueError: images of fewer than four pixels a side.
    """

    def __init__(self, faces: Int[Tensor, "faces 3"], device: torch.device | str = "cpu") -> None:
        self._launch = Launcher(device)
        self.device = self._launch.device
        self.faces = faces.to(self.device, torch.int32).contiguous()

    def zbuffer(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> tuple[Float[Tensor, "batch height width"], Int[Tensor, "batch height width"]]:
        """Rasterise in two passes: the z-buffer, then the face that is seen at each pixel."""
        projected = self._projected(vertices, focal_px, center_px, resolution)
        depth = self._drawn(projected, resolution)
        seen = torch.full(depth.shape, -1, dtype=torch.int32, device=self.device)
        self._draw(projected, depth, seen)
        return depth, seen

    def depth(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> Float[Tensor, "batch height width"]:
        """The z-buffer alone, for half the work: who wants the faces too draws twice."""
        return self._drawn(self._projected(vertices, focal_px, center_px, resolution), resolution)

    def _projected(
        self, vertices: Tensor, focal_px: Tensor, center_px: Tensor, resolution: int
    ) -> tuple[Tensor, Tensor]:
        projected = torch.empty(*vertices.shape[:2], 4, device=self.device)
        pixels = torch.empty(*vertices.shape[:2], 2, dtype=torch.int32, device=self.device)
        inputs = [view(vertices, wp.vec3), view(focal_px, wp.vec2), view(center_px, wp.vec2), resolution]
        outputs = [view(projected, wp.vec4), view(pixels, wp.vec2i)]
        self._launch.strided(_project, len(vertices), vertices.shape[1], inputs, outputs)
        return projected, pixels

    def _drawn(self, projected: tuple[Tensor, Tensor], resolution: int) -> Tensor:
        if resolution < 4:
            raise ValueError(f"expected images of at least 4 pixels a side, got {resolution}")
        depth = torch.full((len(projected[0]), resolution, resolution), BACKGROUND, device=self.device)
        self._draw(projected, depth, torch.empty(0, 1, 1, dtype=torch.int32, device=self.device))
        return depth

    def _draw(self, projected: tuple[Tensor, Tensor], depth: Tensor, seen: Tensor) -> None:
        inputs = [view(projected[0], wp.vec4), view(projected[1], wp.vec2i), view(self.faces, wp.vec3i)]
        outputs = [view(depth, wp.float32), view(seen, wp.int32)]
        self._launch.strided(_rasterize, len(depth), len(self.faces), inputs, outputs)
