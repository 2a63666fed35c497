"""Names that people read: "PoseAug" for `poseaug`, "MPJPE (mm)" for `mpjpe_mm`. What has no line keeps its name."""

from collections.abc import Mapping

METHODS = {
    "erm": "ERM",
    "random_rigid": "Random rigid",
    "poseaug": "PoseAug",
    "daf_dg": "DAF-DG",
    "posegu": "PoseGU",
    "poseda": "PoseDA",
    "adaptpose": "AdaptPose",
    "cee_net": "CEE-Net",
    "dh_aug": "DH-AUG",
    "evoskeleton": "EvoSkeleton",
}
LIFTERS = {
    "simple_baseline": "SimpleBaseline",
    "sem_gcn": "SemGCN",
    "st_gcn": "ST-GCN",
    "video_pose_3d": "VideoPose3D",
    "pose_former": "PoseFormer",
    "motion_bert": "MotionBERT",
}
# Only where the label is still the data set's own name: what a user called the data stays.
DATASETS = {
    "h36m": "Human3.6M",
    "cmu": "CMU",
    "amass": "AMASS",
    "fit3d": "Fit3D",
    "mpi_inf_3dhp": "MPI-INF-3DHP",
    "pw3d": "3DPW",
    "posebench": "PoseBench3D",
}
_METRICS = {
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "n_mpjpe": "N-MPJPE",
    "pck150": "PCK@150 (%)",
    "auc": "AUC (%)",
}
_PER_ACTION = ", mean over actions"


def method_label(name: str) -> str:
    """Return a method's name as its paper writes it."""
    return METHODS.get(name, name)


def lifter_label(name: str) -> str:
    """Return a lifter's name as its paper writes it."""
    return LIFTERS.get(name, name)


def dataset_label(name: str) -> str:
    """Return a data set's name as its paper writes it; a label of the user's stays as it is."""
    return DATASETS.get(name, name)


def metric_label(name: str) -> str:
    """Return a metric's name with its unit, such as `MPJPE (mm)` for `mpjpe_mm`."""
    stem, unit = name.removesuffix("_mm"), " (mm)" if name.endswith("_mm") else ""
    plain = stem.removesuffix("_action")
    if plain not in _METRICS:
        return name
    return f"{_METRICS[plain]}{_PER_ACTION if plain != stem else ''}{unit}"


def name_of(label: str, names: Mapping[str, str]) -> str:
    """Return the own name behind a label; a label that is none is returned as it is.

    Args:
        label: such as `PoseAug`.
        names: name -> label, such as `METHODS`.
    """
    return next((name for name, known in names.items() if known == label), label)


def run_title(method: str, inputs: str, source: str, seed: object, more: tuple[str, ...] = ()) -> str:
    """Return the name of a run: method, inputs, source and seed, and what else tells it from its siblings.

    Args:
        method: the method's own name.
        inputs: the lifter's input channels, such as `xyd`.
        source: name or label of the data it was trained on.
        seed: of the run.
        more: further words, which stand behind the inputs.
    """
    return " · ".join([method_label(method), inputs, *more, dataset_label(source), f"seed {seed}"])
