"""Finding a paper's table among the published numbers by the short names that people type."""

from collections.abc import Sequence

from dg.compare.published import PublishedResult, published_results
from dg.settings.plugins import OptionError, suggest

PAPERS = {
    "poseaug": "PoseAug (CVPR 2021)",
    "poseaug-repo": "PoseAug repo (released code, result notebook)",
    "poseda": "PoseDA (ICCV 2023)",
    "auglift": "AugLift (arXiv 2508.07112 v4)",
}


def find_table(paper: str, table: str) -> list[PublishedResult]:
    """Return every number of one table of a paper, in the paper's order.

    Args:
        paper: one of `PAPERS`.
        table: `4`, `A`, `Table 4` or any other place, such as `text 4.2`, whatever its case.

    Raises:
        OptionError: an unknown paper or table; the message lists what there is.
    """
    key = paper.strip().lower()
    if key not in PAPERS:
        lists = "\n".join(f"  {name}: {' | '.join(table_names(name))}" for name in PAPERS)
        raise OptionError(f"unknown paper {paper!r}; known, with their tables:\n{lists}{suggest(key, list(PAPERS))}")
    wanted = _short(table)
    found = [r for r in _of(key) if wanted in (_short(r.where), _short(r.place))]
    if not found:
        names = table_names(key)
        raise OptionError(f"{key} has no table {table!r}; it has: {' | '.join(names)}{suggest(table, names)}")
    return found


def table_names(paper: str) -> list[str]:
    """What `table=` may be for a paper of `PAPERS`."""
    names = dict.fromkeys(r.place.removeprefix("Table ") for r in _of(paper))
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0))


def _of(paper: str) -> Sequence[PublishedResult]:
    return [r for r in published_results() if r.paper == PAPERS[paper]]


def _short(name: str) -> str:
    return name.strip().lower().removeprefix("table").strip()
