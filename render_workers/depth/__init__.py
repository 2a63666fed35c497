"""Depth sources. To add one: one file here and one line below; the contract tests pick it up."""

DEPTH_SOURCES = {
    "zbuffer": "render_workers.depth.zbuffer:ZBuffer",
    "noisy_zbuffer": "render_workers.depth.noisy_zbuffer:NoisyZBuffer",
    "depth_anything_v2": "render_workers.depth.depth_anything_v2:DepthAnythingV2",
}
