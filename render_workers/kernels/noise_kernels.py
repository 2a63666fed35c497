"""Kernels of `render_workers.depth.noisy_zbuffer`, whose functions in torch are the slow twins.

C++, because of 64-bit arithmetic without signs, and loops over a handful of pixels that would be mostly Warp's
bookkeeping.
"""

from typing import no_type_check

import warp as wp

from render_workers.depth.noisy_zbuffer import NEAREST_M, SCALE, SHIFT, WARP, WHITE
from render_workers.kernels.module import MODULE

# The functions `mix` and `normal` in torch.
_NORMAL = """
    const auto mix = [](wp::uint64 z) {
        z += 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    };
    const auto normal = [&](wp::uint64 stream, wp::uint64 counter) {
        const wp::uint64 bits = mix(stream + counter);
        const float radius = wp::sqrt(wp::log((float)((bits & 0xFFFFFF) + 1) / 16777216.0f) * -2.0f);
        return radius * wp::cos((float)(bits >> 40) * (6.283185307179586f / 16777216.0f));
    };
"""
_DRAW = f"""
    const wp::uint64 stream = mix((wp::uint64)keys.data[b] + mix((wp::uint64)seed));
    nodes.data[(size_t)b * nodes.shape[1] + node] = normal(stream, {WARP} + node);
    if (node == 0) {{
        streams.data[b] = (wp::int64)stream;
        const float factor = wp::exp(log_scale * normal(stream, {SCALE}));
        image.data[b] = wp::vec_t<2, float>(factor, shift_m * normal(stream, {SHIFT}));
    }}
"""
_DISTURB = f"""
    const int height = zbuffer.shape[1], width = zbuffer.shape[2];
    const float* from = zbuffer.data + (size_t)b * height * width;
    float* to = depth.data + (size_t)b * height * width;
    const wp::uint64 stream = (wp::uint64)streams.data[b];
    const float* node = nodes.data + (size_t)b * nodes.shape[1];
    const float step_y = (float)((grid - 1) / (double)(height - 1)), step_x = (float)((grid - 1) / (double)(width - 1));
    const auto window = [&](int left, int right, int top, int bottom) {{
        float total = 0.0f;
        int count = 0;
        for (int y = top; y <= bottom; ++y) {{
            float sum = 0.0f;
            for (int x = left; x <= right; ++x) {{
                const float z = from[y * width + x];
                sum += z < INFINITY ? z : 0.0f;
                count += z < INFINITY;
            }}
            total += sum;
        }}
        return total / (float)count;
    }};
    const int pixels = height * width;
#if defined(__CUDA_ARCH__)
    constexpr int chunk = 1;
#else
    // A body covers a tenth of its image: a CPU passes over the background by pieces of rows.
    constexpr int chunk = 32;
#endif
    for (int start = first * chunk; start < pixels; start += steps * chunk) {{
        const int length = wp::min(chunk, pixels - start);
        int seen = 0;
        for (int i = 0; i < length; ++i) {{
            seen |= from[start + i] < INFINITY;
            to[start + i] = INFINITY;
        }}
        for (int pixel = start; seen && pixel < start + length; ++pixel) {{
            if (!(from[pixel] < INFINITY))
                continue;
            const int row = pixel / width, column = pixel % width;
            const int left = wp::max(column - bleed_px, 0), right = wp::min(column + bleed_px, width - 1);
            const int above = wp::max(row - bleed_px, 0), below = wp::min(row + bleed_px, height - 1);
            // Known at compile time, the usual window is not a loop.
            const bool usual = bleed_px == 2 && right - left == 4 && below - above == 4;
            float value = usual ? window(left, left + 4, above, above + 4) : window(left, right, above, below);
            value *= image.data[b].c[0];
            if (warp_sigma > 0.0f) {{
                const float v = (float)row * step_y, u = (float)column * step_x;
                const int upper = wp::min((int)v, grid - 2), first_node = wp::min((int)u, grid - 2);
                const float y = v - (float)upper, x = u - (float)first_node;
                const float a = (1.0f - y) * (1.0f - x), c = (1.0f - y) * x, d = y * (1.0f - x), e = y * x;
                const float* corner = node + upper * grid + first_node;
                const float field = a * corner[0] + c * corner[1] + d * corner[grid] + e * corner[grid + 1];
                // Interpolation averages the nodes; dividing by the weights' norm keeps the variance one in between.
                value *= 1.0f + warp_sigma * (field / wp::sqrt(a * a + c * c + d * d + e * e));
            }}
            value += image.data[b].c[1];
            if (white_m > 0.0f)
                value += white_m * normal(stream, {WHITE} + (wp::uint64)pixel);
            to[pixel] = value < {NEAREST_M}f ? {NEAREST_M}f : value;
        }}
    }}
"""


@wp.func_native(_NORMAL + _DRAW)
@no_type_check
def _draw(
    keys: wp.array(dtype=wp.int64),
    seed: wp.int64,
    log_scale: float,
    shift_m: float,
    b: int,
    node: int,
    streams: wp.array(dtype=wp.int64),
    image: wp.array(dtype=wp.vec2),
    nodes: wp.array2d(dtype=wp.float32),
) -> None: ...


@wp.kernel(module=MODULE)
@no_type_check
def draw(
    keys: wp.array(dtype=wp.int64),
    seed: wp.int64,
    log_scale: float,
    shift_m: float,
    streams: wp.array(dtype=wp.int64),
    image: wp.array(dtype=wp.vec2),
    nodes: wp.array2d(dtype=wp.float32),
) -> None:
    """What is drawn once an image: its stream, its factor and shift, the nodes of its field. A thread (image, node)."""
    b, node = wp.tid()
    _draw(keys, seed, log_scale, shift_m, b, node, streams, image, nodes)


@wp.func_native(_NORMAL + _DISTURB)
@no_type_check
def _disturb(
    zbuffer: wp.array3d(dtype=wp.float32),
    streams: wp.array(dtype=wp.int64),
    image: wp.array(dtype=wp.vec2),
    nodes: wp.array2d(dtype=wp.float32),
    grid: int,
    bleed_px: int,
    warp_sigma: float,
    white_m: float,
    b: int,
    first: int,
    steps: int,
    depth: wp.array3d(dtype=wp.float32),
) -> None: ...


@wp.kernel(module=MODULE)
@no_type_check
def disturb(
    zbuffer: wp.array3d(dtype=wp.float32),
    streams: wp.array(dtype=wp.int64),
    image: wp.array(dtype=wp.vec2),
    nodes: wp.array2d(dtype=wp.float32),
    grid: int,
    bleed_px: int,
    warp_sigma: float,
    white_m: float,
    steps: int,
    depth: wp.array3d(dtype=wp.float32),
) -> None:
    """Blur, scale, bend, shift and disturb the body's pixels; a thread (image, pixel)."""
    b, first = wp.tid()
    _disturb(zbuffer, streams, image, nodes, grid, bleed_px, warp_sigma, white_m, b, first, steps, depth)
