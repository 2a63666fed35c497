"""Runs of grids and studies without processes, which take seconds each to start; `tests/grid/test_grid.py` has some."""

from dg.grid.child_run import ChildRun, out_arg
from dg.train import main as train


class InThisProcess(ChildRun):
    """A run of dg.train without a process of its own."""

    def __init__(self, folder, args, program, environment):
        self.folder = folder
        self.code = train([*args, out_arg(folder)])

    def poll(self):
        return self.code

    def stop(self, at_once=False):
        pass

    def log_lines(self, at_most_bytes=None):
        return []
