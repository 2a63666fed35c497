"""Rendering depth at the joints of posed bodies: rasterisers, depth sources, workers and the pools that run them."""

RASTERIZERS = {
    "warp": "render_workers.rasterizers.warp_zbuffer:WarpZBuffer",
}
