"""Published rows of a table: the papers' numbers where the protocols agree, and the reason where they do not."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from dg.compare.published import ANY_LIFTER, PublishedResult
from dg.compare.results import training_2d
from dg.compare.tables import Column, ComparisonTable, PublishedRow
from dg.datasets.protocols import Protocol
from dg.tracking.names import NO_DEPTH

OFF, SIMILAR, ALL = "off", "similar", "all"
STANDARD_TRAIN = "Human3.6M S1,S5,S6,S7,S8"
_SHOWN_REASONS = 8


def add_published(table: ComparisonTable, results: Iterable[PublishedResult], which: str = SIMILAR) -> None:
    """Fill the table's published rows, and say in its remarks why others are not there.

    Args:
        table: is filled.
        results: published numbers.
        which: `similar` for the table's own lifters and training 2D, `all` for every number that fits, `off` for none.
    """
    if which == OFF:
        return
    results = [r for r in results if r.meaning.metric == table.metric]
    shown: dict[str, PublishedResult] = {}
    hidden: set[str] = set()
    nothing: list[str] = []
    rows: dict[tuple[object, ...], PublishedRow] = {}
    for header, column in zip(table.headers(), table.columns, strict=True):
        ours = Protocol.parse(column.protocol)
        near = [r for r in results if r.meaning.protocol.dataset == ours.dataset]
        nothing += [] if near else [str(ours.dataset)]
        for result in near:
            if result.meaning.regime != table.regime or differences_to(ours, result):
                continue
            if which == SIMILAR and not _similar(table, result):
                hidden.add(result.id)
            else:
                shown[result.id] = result
                _add(rows, result, column)
        table.remarks += _reasons(header, ours, near, table.regime)
    table.published = list(rows.values())
    table.remarks += _closing(list(shown.values()), hidden, nothing)


def differences_to(ours: Protocol, result: PublishedResult) -> list[str]:
    """Return why a published number may not stand in a column of ours; empty where it may.

    Args:
        ours: the column's protocol.
        result: the published number. One without depth has no depth source to disagree about, as with our own runs.
    """
    theirs = result.meaning.protocol
    return ours.differences(theirs, leave_out=("depth",) if theirs.depth == NO_DEPTH else ())


def describe_train(result: PublishedResult) -> str:
    """What a published number was trained on where that is not what its neighbours share."""
    meaning, words = result.meaning, []
    if meaning.train != STANDARD_TRAIN:
        words.append(f"train={meaning.train}")
    if meaning.source_2d_train != meaning.protocol.source_2d:
        words.append(f"2d_train={meaning.source_2d_train}")
    return " ".join(words)


def _similar(table: ComparisonTable, result: PublishedResult) -> bool:
    """Whether lifter and training 2D are among the table's own; a lifter that is not stated may be any."""
    meaning = result.meaning
    lifters = {ANY_LIFTER, *(row.lifter for row in table.rows)}
    return meaning.lifter in lifters and meaning.source_2d_train == training_2d(table.budget)


def _closing(shown: Sequence[PublishedResult], hidden: set[str], nothing: Sequence[str]) -> list[str]:
    """What holds for all published rows together."""
    lines = []
    if shown:
        papers = ", ".join(dict.fromkeys(r.paper for r in shown))
        lines.append(
            f"published rows, in the papers' words: {papers}; trained on {STANDARD_TRAIN} unless a row says otherwise"
        )
    if hidden:
        lines.append(f"{len(hidden)} more published numbers fit, of other lifters or training 2D: published=all")
    if nothing:
        lines.append(f"no published number of this metric is about {', '.join(dict.fromkeys(nothing))}")
    return lines


def _add(rows: dict[tuple[object, ...], PublishedRow], result: PublishedResult, column: Column) -> None:
    """Numbers of one row of one paper's table share a row here, unless the paper gives two for the same column."""
    meaning = result.meaning
    depth = "" if meaning.protocol.depth == NO_DEPTH else f", {meaning.protocol.depth}"
    scale = "" if meaning.dscale2d == "off" else f"+dscale2d={meaning.dscale2d}"
    labels = (result.method, f"{meaning.inputs}{scale}{depth}", result.lifter, meaning.adaptation)
    row = PublishedRow(labels, describe_train(result), result.source, str(meaning.protocol.depth))
    key: tuple[object, ...] = (row.labels, row.settings, row.source)
    while key in rows and column in rows[key].cells:
        key = (*key, "again")
    rows.setdefault(key, row).cells[column] = result.value


def _reasons(header: str, ours: Protocol, near: Sequence[PublishedResult], regime: str) -> list[str]:
    """One line for each way in which numbers about the same data set do not fit, most numbers first."""
    groups: dict[str, list[PublishedResult]] = defaultdict(list)
    for result in near:
        differences = differences_to(ours, result)
        if differences and result.meaning.regime == regime:
            groups["; ".join(differences)].append(result)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = [f"{header}: not beside ours: {why} ({_places(found)})" for why, found in ordered[:_SHOWN_REASONS]]
    if ordered[_SHOWN_REASONS:]:
        rest = sum(len(found) for _, found in ordered[_SHOWN_REASONS:])
        lines.append(f"{header}: {rest} more differ in other ways")
    others = [r for r in near if r.meaning.regime != regime]
    if others:
        names = " or ".join(sorted({r.meaning.regime for r in others}))
        lines.append(f"{header}: {len(others)} published numbers are {names}, never in a {regime} table")
    return lines


def _places(results: Sequence[PublishedResult]) -> str:
    """`3 of PoseAug, Table 4, Table 5`."""
    by_paper: dict[str, list[str]] = defaultdict(list)
    for result in results:
        by_paper[result.short_paper].append(result.place)
    return " and ".join(f"{len(w)} of {paper}, {', '.join(dict.fromkeys(w))}" for paper, w in by_paper.items())
