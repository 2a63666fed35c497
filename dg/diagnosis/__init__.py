"""What `python -m dg.doctor` looks at: this machine, and cluster files. Nothing here changes or starts anything."""

from dg.diagnosis.cluster_file import diagnose_file
from dg.diagnosis.finding import ERROR, OK, WARNING, Finding
from dg.diagnosis.machine import diagnose_machine

__all__ = ["ERROR", "OK", "WARNING", "Finding", "diagnose_file", "diagnose_machine"]
