"""What somebody else wrote is shown as text: no order to the terminal, no formula, no line of its own."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dg.files.plain_text import csv_cell, one_line


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert shown.isprintable()
    assert one_line(shown, limit=10_000) == shown


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200))
def test_plain_words_stay_as_they_are(text):
    assert one_line(text) == text


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", '=HYPERLINK("x")'])
def test_a_formula_becomes_text(text):
    shown = str(csv_cell(text))
    assert not shown.startswith(("=", "+", "-", "@", "\t"))
    out = io.StringIO()
    csv.writer(out).writerow([shown])
    assert next(csv.reader([out.getvalue()])) == [shown]


@pytest.mark.parametrize("value", [-1.5, 3, "-1.5", "+2e-3", "-", "erm", "", None, True])
def test_numbers_and_words_are_no_formulas(value):
    assert csv_cell(value) == value
