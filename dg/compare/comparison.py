"""A comparison from its settings to its tables: our runs, their differences, and published numbers beside them."""

from dg.compare.differences import add_differences
from dg.compare.paper_table import fill, paper_csv, paper_sheets
from dg.compare.papers import find_table
from dg.compare.published import published_results
from dg.compare.published_rows import add_published
from dg.compare.settings import PICTURE, CompareOptions
from dg.compare.sheets import to_latex, to_markdown
from dg.compare.stored_runs import NothingToCompareError, read_results, spell_left_out, stored_runs, table_reader
from dg.compare.tables import ComparisonTable, build_tables
from dg.compare.text import FORMATS
from dg.settings.errors import OptionError


def compare(options: CompareOptions) -> str:
    """The tables as text. Raises NothingToCompareError when no finished run has such a result, OptionError for png."""
    if options.format == PICTURE:
        raise OptionError(f"a picture is no text: format must be one of {list(FORMATS)}")
    if options.paper:
        return paper_text(options)
    tables, left_out = comparison(options)
    text = FORMATS[options.format](tables)
    return text + (f"\nLeft out: {left_out}.\n" if left_out and options.format == "markdown" else "")


def comparison(options: CompareOptions) -> tuple[list[ComparisonTable], str]:
    """The tables with their differences and published rows, and which runs were left out. Raises as `compare`."""
    runs = stored_runs(options.tracking_uri, options.experiment, options.parent)
    rows_of = table_reader(options.tracking_uri)
    results, left_out = read_results(runs, options.selection, options.metric, options.regime, rows_of)
    if not results:
        raise NothingToCompareError(
            f"no finished run of experiment {options.experiment!r} has {options.metric} for selection="
            f"{options.selection} regime={options.regime}; {spell_left_out(left_out) or 'it holds no run at all'}. "
            "Train some: dg train method=erm seed=0"
        )
    tables = build_tables(results, options.selection, options.metric)
    for table in tables:
        add_differences(table, options.baseline)
        add_published(table, published_results(), options.published)
    return tables, spell_left_out(left_out)


def paper_text(options: CompareOptions) -> str:
    """A paper's table with our cells; where there are no runs, with none. Raises OptionError for an unknown one."""
    entries = find_table(options.paper, options.table)
    metrics = {e.meaning.metric for e in entries if e.meaning.metric}
    remarks = []
    try:
        runs = stored_runs(options.tracking_uri, options.experiment, options.parent)
    except NothingToCompareError as problem:
        runs, remarks = [], [f"no cell of ours: {problem}"]
    rows_of = table_reader(options.tracking_uri) if runs else lambda run: []
    results = {metric: read_results(runs, options.selection, metric, rows_of=rows_of)[0] for metric in metrics}
    cells = fill(entries, results, options.selection)
    if options.format == "csv":
        return paper_csv(cells)
    render = to_latex if options.format == "latex" else to_markdown
    return render(paper_sheets(cells, options.selection, remarks))
