"""What a run ends with: its results under every selection, and the figures of its time and its pool."""

from collections.abc import Mapping, Sequence
from typing import Any

from dg.evaluation.selection import History

LEDGER = ("submitted", "done", "quarantined", "retried")
TROUBLE = ("quarantined", "retried")  # counts that are logged where they are not zero


def final_results(history: History, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the scores of each target at the epoch that each selection picks.

    Args:
        history: evaluations of the run so far.
        targets: names of the targets.

    Returns:
        One row for each selection and target; none before the first evaluation.
    """
    results = []
    for selection in history.selections if history.records else ():
        for target in targets:
            record = history.pick(selection, target)
            results.append({"target": target, "selection": selection, "epoch": record["epoch"],
                            **record["targets"][target]})  # fmt: skip
    return results


def run_figures(
    seconds: Mapping[str, float], trained_poses: int, lifter_steps: int, ledger: Mapping[str, int] | None
) -> dict[str, float]:
    """Return the times and rates of a run so far, as metrics.

    Args:
        seconds: seconds spent in `total`, `evaluation` and `waiting_for_depth`.
        trained_poses: poses that the lifter was trained on so far.
        lifter_steps: optimiser steps of the lifter so far.
        ledger: the pool's counts of poses, None without a pool.

    Returns:
        Metric name -> value; rates are per second of `total`.
    """
    total = max(seconds["total"], 1e-9)
    figures = {
        "time/total_s": total,
        "time/evaluation_s": seconds["evaluation"],
        "throughput/trained_poses_per_s": trained_poses / total,
        "train/lifter_steps": float(lifter_steps),
    }
    if ledger is not None:
        figures["time/waiting_for_depth_share"] = seconds["waiting_for_depth"] / total
        figures["throughput/rendered_poses_per_s"] = ledger["done"] / total
        figures |= {f"trouble/poses_{name}": float(ledger[name]) for name in TROUBLE if ledger.get(name)}
    return figures


def summary_figures(figures: Mapping[str, float], ledger: Mapping[str, int]) -> dict[str, Any]:
    """Return the part of `summary.json` about speed and lost poses.

    Args:
        figures: what `run_figures` returned.
        ledger: the pool's counts of poses; counts that are missing become zero.

    Returns:
        Counts, poses per second, the share of time that waited for depth, and seconds.
    """
    return {
        "ledger": {name: ledger.get(name, 0) for name in LEDGER},
        "throughput": {
            "rendered_poses_per_s": figures.get("throughput/rendered_poses_per_s", 0.0),
            "trained_poses_per_s": figures["throughput/trained_poses_per_s"],
        },
        "waiting_for_depth_share": figures.get("time/waiting_for_depth_share", 0.0),
        "seconds": figures["time/total_s"],
    }
