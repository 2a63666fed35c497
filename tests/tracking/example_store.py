"""A store of made-up runs, as `dg train` and `dg grid` leave it, for tests of MLflow's pages."""

from pathlib import Path

import yaml

from dg.tracking import DataInput, ModelScore, make_tracker, prepare, run_tags, target_metrics
from dg.tracking.labels import run_title
from dg.tracking.names import TAG_NOTE, TAG_SOURCE

ERRORS = {("erm", "xy"): 92.4, ("poseaug", "xy"): 81.2, ("erm", "xyd"): 74.9, ("poseaug", "xyd"): 69.3}


def make_store(folder: Path, seeds: int = 2) -> tuple[str, str]:
    """A grid of two methods and two inputs; returns the store's URI and the experiment's id."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment_id = prepare(uri, "dg")
    parent = make_tracker(uri, "dg", folder / "grid")
    tags = {"method": "ERM, PoseAug", TAG_SOURCE: "Human3.6M", TAG_NOTE: "**Best**: PoseAug · xyd"}
    params = {"inputs": "xy, xyd", "seed": ", ".join(map(str, range(seeds)))}
    parent_id = parent.start("Grid · ERM, PoseAug · xy, xyd · Human3.6M", params, tags)
    for (method, inputs), error in ERRORS.items():
        for seed in range(seeds):
            _make_run(uri, folder / f"{method}-{inputs}-{seed}", method, inputs, seed, error + seed, parent_id)
    best = {"mpjpe_mm": min(ERRORS.values()), "pck150": 88.0}
    parent.log_metrics(target_metrics("3DHP", best), step=1)
    parent.finish()
    return uri, experiment_id


def _make_run(uri: str, folder: Path, method: str, inputs: str, seed: int, error: float, parent: str) -> None:
    tracker = make_tracker(uri, "dg", folder)
    depth = "zbuffer" if inputs == "xyd" else "none"
    tags = run_tags(
        method=method, regime="DG", lifter="simple_baseline", inputs=inputs, dscale2d="off", depth_source=depth,
        selection="source_val", protocols={"3DHP": f"3DHP/n2929/depth={depth}"}, source="h36m",
    )  # fmt: skip
    params = {"method": {"name": method}, "lifter": {"name": "simple_baseline"}, "inputs": inputs, "seed": seed}
    title = run_title(method, inputs, "h36m", seed)
    tracker.start(title, params, tags | {TAG_NOTE: f"**{title}**"}, parent_run_id=parent)
    tracker.log_inputs([
        DataInput("Human3.6M", "0a1b2c", 1559752, "training"),
        DataInput("3DHP", "3d4e5f", 2929, "test", tags["protocol.3DHP"]),
    ])  # fmt: skip
    scores = {"mpjpe_mm": error, "pa_mpjpe_mm": 0.7 * error, "n_mpjpe_mm": 0.9 * error, "pck150": 85.0, "auc": 45.0}
    for epoch in range(1, 6):
        tracker.log_metrics({"val/mpjpe_mm": 60 - epoch, "train/loss/lifter": 1 / epoch}, step=epoch)
    tracker.log_metrics(target_metrics("3DHP", scores), step=5)
    row = {"target": "3DHP", "selection": "source_val", "epoch": 5, "n": 2929, **scores}
    tracker.log_table([row, row | {"selection": "oracle", "mpjpe_mm": error - 2}], "selections.json")
    results = [ModelScore("3DHP", "3d4e5f", target_metrics("3DHP", scores))]
    tracker.log_model(model_in(folder / "model"), "lifter", 5, scores=results)
    tracker.finish()


def model_in(folder: Path) -> Path:
    """What MLflow's `save_model` leaves in a folder, as far as logging it reads it."""
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {}}, "model_id": None}))
    return folder
