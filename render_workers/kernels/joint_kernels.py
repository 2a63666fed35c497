"""Kernels about the joints of an image: the crop around them, and the depth that is read at them.

`render_workers.crop.subject_crop` and `render_workers.sampling.sample_joints` are the slow twins; arguments have their
meaning, frame and unit.
"""

from typing import no_type_check

import warp as wp

from render_workers.crop import SMALLEST_SPAN
from render_workers.kernels.module import MODULE

FARTHEST_PX = 1e6  # joints beyond are as far outside an image as any: their pixels' numbers must stay numbers
Distortion = wp.types.vector(length=5, dtype=wp.float32)


@wp.func
@no_type_check
def _ray(bent: wp.vec2, distortion: Distortion, iterations: int) -> wp.vec2:
    """`Camera.unproject` without its centre and focal length."""
    ratio = bent
    p = wp.vec2(distortion[3], distortion[4])
    for _step in range(iterations):
        r2 = wp.dot(ratio, ratio)
        radial = 1.0 + r2 * (distortion[0] + r2 * (distortion[1] + r2 * distortion[2]))
        ratio = (bent - p * r2) / (radial + wp.dot(p, ratio))
    return ratio


@wp.kernel(module=MODULE)
@no_type_check
def crop(
    joints_2d: wp.array2d(dtype=wp.vec2),
    focal: wp.array(dtype=wp.vec2),
    center: wp.array(dtype=wp.vec2),
    distortion: wp.array(dtype=Distortion),
    resolution: float,
    span_px: float,
    iterations: int,
    focal_px: wp.array(dtype=wp.vec2),
    center_px: wp.array(dtype=wp.vec2),
    joints_px: wp.array2d(dtype=wp.vec2),
    zoom: wp.array(dtype=wp.float32),
) -> None:
    """The fields of a `Crop`; a thread a pose."""
    b = wp.tid()
    steps = wp.where(wp.length_sq(distortion[b]) == 0.0, 0, iterations)
    low = wp.vec2(wp.inf, wp.inf)
    high = wp.vec2(-wp.inf, -wp.inf)
    for j in range(joints_2d.shape[1]):
        ray = _ray(wp.cw_div(joints_2d[b, j] - center[b], focal[b]), distortion[b], steps)
        joints_px[b, j] = ray
        low = wp.min(low, ray)
        high = wp.max(high, ray)
    size = high - low
    scale = span_px / wp.max(wp.max(size[0], size[1]), SMALLEST_SPAN)
    middle = wp.vec2(resolution / 2.0, resolution / 2.0) - scale * (low + high) / 2.0
    for j in range(joints_2d.shape[1]):
        joints_px[b, j] = scale * joints_px[b, j] + middle
    focal_px[b] = wp.vec2(scale, scale)
    center_px[b] = middle
    zoom[b] = scale / ((focal[b][0] + focal[b][1]) / 2.0 * (resolution / 2.0))


# C++, because loops over a handful of pixels would be mostly Warp's bookkeeping. `lowest` is over the square window
# that begins at a pixel, inf beyond the image; a NaN in it prevails.
_SAMPLE = """
    const int width = depth_map.shape[2], height = depth_map.shape[1];
    const float* image = depth_map.data + (size_t)b * height * width;
    const auto lower = [](float a, float b) { return b < a || b != b ? b : a; };
    const auto lowest = [&](int left, int top, int side) {
        float low = INFINITY;
        for (int y = top < 0 ? 0 : top; y < top + side && y < height; ++y)
            for (int x = left < 0 ? 0 : left; x < left + side && x < width; ++x)
                low = lower(low, image[y * width + x]);
        return low;
    };
    const auto within = [](float x) { return x < -farthest ? -farthest : x > farthest ? farthest : x; };
    const float u = within(joint[0]), v = within(joint[1]);
    const float left = floorf(u - 0.5f), top = floorf(v - 0.5f);
    const float x = u - 0.5f - left, y = v - 0.5f - top;
    const float weight[4] = {(1.0f - x) * (1.0f - y), x * (1.0f - y), (1.0f - x) * y, x * y};
    const int first_x = (int)left - min_pool / 2, first_y = (int)top - min_pool / 2;
    float value = 0.0f, total = 0.0f;
    for (int i = 0; i < 4; ++i) {
        const float z = lowest(first_x + i % 2, first_y + i / 2, min_pool);
        value += z < INFINITY ? weight[i] * z : 0.0f;
        total += z < INFINITY ? weight[i] : 0.0f;
    }
    float read = value / total;
    if (!(total > 0.0f)) {
        read = INFINITY;
        for (int i = 0; i < reaches.shape[0] && !(read < INFINITY); ++i)
            read = lowest((int)floorf(u) - reaches.data[i], (int)floorf(v) - reaches.data[i], 2 * reaches.data[i] + 1);
        if (!(read < INFINITY))
            read = lowest(0, 0, width > height ? width : height);
        read = read < INFINITY ? read : NAN;
    }
    depth.data[(size_t)b * depth.shape[1] + j] = read;
    widened.data[(size_t)b * depth.shape[1] + j] = !(total > 0.0f);
""".replace("farthest", f"{FARTHEST_PX:.1f}f")


@wp.func_native(_SAMPLE)
@no_type_check
def _sample(
    depth_map: wp.array3d(dtype=wp.float32),
    joint: wp.vec2,
    min_pool: int,
    reaches: wp.array(dtype=wp.int32),
    b: int,
    j: int,
    depth: wp.array2d(dtype=wp.float32),
    widened: wp.array2d(dtype=wp.bool),
) -> None: ...


@wp.kernel(module=MODULE)
@no_type_check
def sample(
    depth_map: wp.array3d(dtype=wp.float32),
    joints_px: wp.array2d(dtype=wp.vec2),
    min_pool: int,
    reaches: wp.array(dtype=wp.int32),
    depth: wp.array2d(dtype=wp.float32),
    widened: wp.array2d(dtype=wp.bool),
) -> None:
    """The fields of a `JointDepth`; a thread (pose, joint)."""
    b, j = wp.tid()
    _sample(depth_map, joints_px[b, j], min_pool, reaches, b, j, depth, widened)
