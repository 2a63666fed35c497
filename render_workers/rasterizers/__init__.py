"""Rasterisers: triangles to a z-buffer in metres."""
