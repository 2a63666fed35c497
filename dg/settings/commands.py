"""The commands of `dg`: where each one is, and what it does in a few words."""

COMMANDS = {
    "train": ("dg.train", "train a lifter with a domain-generalisation method"),
    "evaluate": ("dg.evaluate", "test a trained, published or exported lifter on test sets"),
    "compare": ("dg.compare.__main__", "tables of methods against each other and against published numbers"),
    "report": ("dg.compare.report.__main__", "one page of runs: comparison, curves, viewpoints, poses to turn"),
    "ui": ("dg.compare.ui", "MLflow's pages for a store, opened where runs are compared"),
    "grid": ("dg.grid.__main__", "train methods x lifters x inputs x seeds, then compare them"),
    "recipes": ("dg.compare.recipes", "published experiments that can be run here, their numbers and ours"),
    "study": ("dg.study.__main__", "a question that takes many runs, from its runs to its figure"),
    "analyse": ("dg.analyse.__main__", "look closer at where trained lifters fail"),
    "sweep": ("sweeps.__main__", "search reference depth or any settings with Optuna"),
    "predict": ("dg.predict.__main__", "lift the people in photographs to 3D"),
    "extract-depth": ("dg.extract_depth.__main__", "depth at the joints of a data set's images"),
    "check": ("dg.datasets.check", "whether a data set is what it is taken for"),
    "export": ("dg.export", "a lifter as TorchScript or ONNX"),
    "latency": ("dg.trained.latency", "milliseconds of each stage from a photograph to 3D joints"),
    "status": ("dg.status", "what runs are doing, here and in a cluster"),
    "doctor": ("dg.doctor.__main__", "whether this machine or a cluster file is ready"),
    "completion": ("dg.settings.completion", "a script that completes commands and keys in your shell"),
}
