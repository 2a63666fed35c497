"""How often the interval of `dg.compare.bootstrap` holds the true difference.

    python -m tests.bench.bootstrap_coverage

Differences of one seed each are drawn from a normal distribution; nothing is known of real ones, but it shows what few
seeds cost.
"""

import numpy as np

from dg.compare.bootstrap import LEVEL, paired_interval

TRIALS, RESAMPLES = 1500, 2000


def coverage(seeds: int) -> float:
    """Share of trials whose interval holds the true mean."""
    drawn = np.random.default_rng(seeds).normal(1.0, 1.0, (TRIALS, seeds))
    found = [paired_interval(list(row), resamples=RESAMPLES, seed=number) for number, row in enumerate(drawn)]
    return float(np.mean([i.low is not None and i.high is not None and i.low <= 1.0 <= i.high for i in found]))


if __name__ == "__main__":
    for count in (2, 3, 4, 5, 8, 10):
        print(f"{count:2d} seeds: {coverage(count):.0%} of {TRIALS} trials at nominal {LEVEL:.0%}")
