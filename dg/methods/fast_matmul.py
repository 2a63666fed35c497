"""Single-precision matrix products by oneDNN where PyTorch's default library leaves half the processor idle.

MKL runs its AVX2 kernels on processors of other makers; oneDNN's AVX-512 kernels are about twice as fast there. PyTorch
reaches them through the setting that also permits bfloat16 arithmetic, which oneDNN makes use of on processors with
matrix tiles (AMX) alone. So the setting is made only where it changes the speed and not the precision, and that is
checked on a product before it is kept.
"""

import torch

# Rounding of a float32 product of this size stays below 1e-6 of the largest entry; bfloat16's is about 4e-3.
_SIZE, _TOLERANCE = 512, 1e-5


def use_fast_matmul() -> bool:
    """Switch this process to the faster kernels; False, and nothing changed, where they do not apply.

    Call it once at the start of a process: results before and after differ in the last bits.
    """
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if matmul is None or not hasattr(matmul, "fp32_precision") or not wide or torch.cpu._is_amx_tile_supported():
        return False
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    if _relative_error() < _TOLERANCE:
        return True
    matmul.fp32_precision = before
    return False


def _relative_error() -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, _SIZE, _SIZE, generator=generator)
    exact = a.double() @ b.double()
    return float(((a @ b) - exact).abs().max() / exact.abs().max())
