import torch

from dg.methods.fast_matmul import use_fast_matmul


def test_products_stay_single_precision_whatever_is_switched():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 300, 300, generator=generator)
    exact = a.double() @ b.double()
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(matmul, "fp32_precision", None)
    try:
        use_fast_matmul()
        assert ((a @ b) - exact).abs().max() < 1e-5 * exact.abs().max()
    finally:
        if before is not None:
            matmul.fp32_precision = before
