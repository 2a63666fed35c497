"""The one Warp module of all kernels.

Most of a compilation goes into reading Warp's headers, so all kernels are compiled together, and once. A kernel that is
registered after the module was compiled would have it compiled anew: `HOMES` are imported before.
"""

import importlib

import warp as wp

# Python modules that register kernels.
HOMES = (
    "render_workers.rasterizers.warp_zbuffer",
    "render_workers.kernels.body_kernels",
    "render_workers.kernels.joint_kernels",
    "render_workers.kernels.noise_kernels",
)
MODULE = wp.get_module("render_workers.kernels")

wp.set_module_options({"enable_backward": False, "fuse_fp": False, "max_unroll": 0}, MODULE)
# They pay from the second module on.
wp.config.use_precompiled_headers = False


def complete_module() -> str:
    """Register all kernels, and return the module's name."""
    for home in HOMES:
        importlib.import_module(home)
    return MODULE.name
