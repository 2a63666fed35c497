"""Domain generalisation for 2D-to-3D human pose lifting: data, methods, training, evaluation and comparison.

A notebook finds what it needs here: `load_data`, `load_lifter`, `plot_pose` (`dg.api`, which is loaded when one of them
is first asked for: `import dg` alone loads neither PyTorch nor Ray).
"""

from typing import Any

__version__ = "0.1.0"
# Their types stand in __init__.pyi.
# pyright: reportUnsupportedDunderAll=false
__all__ = ["Intrinsics", "TrainedLifter", "__version__", "load_data", "load_lifter", "plot_pose"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("dg.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
