"""What a meta step costs beside a common step on as many poses, on one thread: `python -m tests.bench.meta_step`.

Forward and backward alone, simple_baseline, 256 poses of either domain; the fastest of five, as a multiple of the
common step.
"""

import time
from collections.abc import Callable

import torch
from torch.nn.functional import mse_loss

from dg.methods.meta_step import Domain, meta_gradient
from dg.pose.skeleton import H36M_16
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions

ROWS = 256


def fastest(run: Callable[[], object]) -> float:
    """Seconds of processor time, after one run that does not count."""
    run()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lifter = SimpleBaseline(H36M_16, 2, SimpleBaselineOptions()).train()
    seen, unseen = (Domain(torch.randn(ROWS, 1, 16, 2), torch.randn(ROWS, 1, 16, 3)) for _ in range(2))
    features, target = torch.cat([seen.features, unseen.features]), torch.cat([seen.target, unseen.target])
    common = fastest(lambda: torch.autograd.grad(mse_loss(lifter(features), target), list(lifter.parameters())))
    for shared_norm, mixing in ((True, "batch"), (False, "alternate")):
        for second_order, meta in ((True, "second_order"), (False, "first_order")):
            seconds = fastest(
                lambda so=second_order, sn=shared_norm: meta_gradient(
                    lifter, seen, unseen, 1e-4, second_order=so, shared_norm=sn
                )
            )
            print(f"mixing={mixing} meta={meta}: {seconds / common:.1f} x {1e3 * common:.0f} ms")


if __name__ == "__main__":
    main()
