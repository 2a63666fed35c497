"""`import dg` is light, and hands out the facade when it is asked for."""

import subprocess
import sys

import pytest

import dg
import dg.api


def test_importing_dg_loads_neither_torch_nor_ray_nor_matplotlib():
    heavy = ["torch", "ray", "numpy", "matplotlib", "mlflow", "dg.api"]
    code = f"import sys, dg; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_a_lifter_does_not_load_ray():
    code = "import sys, dg; dg.load_lifter; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("name", dg.api.__all__)
def test_dg_hands_out_every_name_of_the_facade(name):
    assert getattr(dg, name) is getattr(dg.api, name)
    assert name in dir(dg)


def test_an_unknown_name_of_dg_is_an_attribute_error():
    with pytest.raises(AttributeError, match="load_lifer"):
        _ = dg.load_lifer
