"""Depth at the joints of real images, many of them: the parts of `python -m dg.extract_depth`."""
