"""Domain generalisation for 2D-to-3D human pose lifting: data, methods, training, evaluation and comparison."""

__version__ = "0.1.0"
