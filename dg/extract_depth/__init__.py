"""Depth at the joints of real images, many of them: the parts of `dg extract-depth`."""
