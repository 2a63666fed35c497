"""Data sets. To add one: one file here and one line below; the contract tests pick it up."""

DATASETS = {
    "synthetic": "dg.datasets.synthetic:Synthetic",
    "h36m": "dg.datasets.h36m:Human36M",
    "fit3d": "dg.datasets.fit3d:Fit3D",
    "cmu": "dg.datasets.cmu:CMU",
    "amass": "dg.datasets.amass:AMASS",
    "mpi_inf_3dhp": "dg.datasets.mpi_inf_3dhp:MpiInf3DHP",
    "pw3d": "dg.datasets.pw3d:PW3D",
    "posebench": "dg.datasets.posebench:PoseBench3D",
    "npz": "dg.datasets.npz:CrossDataset",
}
