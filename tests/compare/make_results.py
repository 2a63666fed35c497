"""Results of runs as a comparison reads them, on real protocols and on made-up ones."""

from dataclasses import replace

from dg.compare.results import RunResult
from dg.compare.tables import build_tables
from dg.datasets.protocols import BENCHMARKS

PARAMS = {
    "method.name": "erm",
    "lifter.name": "simple_baseline",
    "inputs": "xyd",
    "dscale2d": "focal",
    "depth.name": "zbuffer",
    "data.name": "h36m",
    "data.stride": "10",
    "epochs": "20",
    "batch_size": "1024",
    "d_ref": "4.5",
    "lr": "0.001",
}
HUMAN36M = {"data.stride": "1", "data.label": "h36m", "data.subjects_train": "['S1', 'S5', 'S6', 'S7', 'S8']"}


def run(value=100.0, seed=0, started=1, target="near", depth="zbuffer", params=None, **changes):
    """One run of erm; depth `none` makes it blind."""
    protocol = f"{target}/camera-frame/n10/h36m_16/2d=gt/depth={depth}/tta=none/data=0a1b"
    made = RunResult(
        method="erm",
        regime="DG",
        lifter="simple_baseline",
        inputs="xyd",
        dscale2d="focal",
        depth=depth,
        seed=str(seed),
        started=started,
        params=PARAMS | {"seed": str(seed), "out": f"runs/{seed}-{started}"} | (params or {}),
        values={target: value},
        protocols={target: protocol},
    )
    if depth == "none":
        made = replace(made, inputs="xy", dscale2d="off")
    return replace(made, **changes)


def benchmark_id(name, depth="none", **changes):
    """The protocol id of one of the field's test sets, as a loader writes it."""
    b = replace(BENCHMARKS[name], **changes)
    described = f"{b.name}/{b.flavour}/n{b.frames}/{b.joints}/2d={b.source_2d}/norm={b.norm}"
    return f"{described}/depth={depth}/tta={b.tta}/data=0a1b"


def benchmark_run(value, name="3DHP-2929", seed=0, **changes):
    """A blind run trained on all of Human3.6M and tested on a benchmark."""
    made = run(value, seed, target=name, depth="none", params=HUMAN36M, protocols={name: benchmark_id(name)})
    return replace(made, **changes)


def tables(*runs, selection="source_val", metric="mpjpe_mm"):
    return build_tables(runs, selection, metric)
