"""What `dg doctor` looks at: this machine, and cluster files. Nothing here changes or starts anything."""

from dg.doctor.cluster_file import diagnose_file
from dg.doctor.finding import ERROR, OK, WARNING, Finding
from dg.doctor.machine import diagnose_machine

__all__ = ["ERROR", "OK", "WARNING", "Finding", "diagnose_file", "diagnose_machine"]
