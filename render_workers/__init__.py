"""Rendering depth at the joints of posed bodies: rasterisers, depth sources, workers and the pools that run them."""

RASTERIZERS = {
    "pytorch3d": "render_workers.rasterizers.pytorch3d_zbuffer:PyTorch3DZBuffer",
    "warp": "render_workers.rasterizers.warp_zbuffer:WarpZBuffer",
}
