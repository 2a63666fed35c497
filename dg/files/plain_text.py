"""Text that somebody else wrote, made fit to be shown: it stays on its line and gives the terminal no orders."""

import re

MAX_SHOWN = 200
MAX_CELL = 6000  # of a parameter in MLflow


def one_line(text: object, limit: int = MAX_SHOWN) -> str:
    """The text with every character that moves the cursor, hides or reorders others spelled out, and cut to a length.

    Args:
        text: Anything; its `str` is taken.
        limit: The most characters that are kept.

    Returns:
        Printable text without line breaks.
    """
    # Unprintable: controls, direction marks, line separators, surrogates, spaces that look like others.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def csv_cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet shows and does not compute.

    Args:
        value: A number, or a text that somebody else may have written.

    Returns:
        A number as it is; a text on one line, behind an apostrophe where it would begin a formula.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value, limit=MAX_CELL)
    is_formula = len(text) > 1 and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
