"""The reader of arguments: each value by its field's type, every problem at once, and no second quoting."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dg.settings.errors import ConfigError, exit_code
from dg.settings.help import keys_of, render_keys
from dg.settings.reader import NO_KEY, quoted, read, read_own, split_list, unquoted


@dataclass(frozen=True)
class Inner:
    size: int = 3  # of the inner thing
    mode: Literal["auto", "off"] = "auto"


@dataclass(frozen=True)
class Outer:
    # -- first
    place: str = field(default="", metadata=NO_KEY)
    out: str = ""  # a folder; its name may be
    # anything
    names: tuple[str, ...] = ()
    seeds: list[int] = field(default_factory=list)
    rate: float = 0.5
    wait: float | None = 1.0
    fast: bool = False
    # -- second
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError("rate must not be negative")


@pytest.mark.parametrize(
    "name", ["2024", "off", "a=b", "a #1", "a,b", "with blank", "[x]", "true", "1e3", "a'b", "x&y?z"]
)
def test_text_is_taken_as_it_stands(name):
    assert read(Outer, [f"out={name}"]).out == name


@pytest.mark.parametrize(
    ("value", "names"),
    [("npz:a,b", ("npz:a,b",)), ("[a,b]", ("a", "b")), ("['a,b',c]", ("a,b", "c")), ("", ()), ("[]", ()),
     ('["npz:F?x=[1,2]",d]', ("npz:F?x=[1,2]", "d")), ("npz:F?x=[1,2]", ("npz:F?x=[1,2]",)),
     ("[a b, c=d]", ("a b", "c=d"))],
)  # fmt: skip
def test_a_list_is_in_brackets_or_one_entry(value, names):
    assert read(Outer, [f"names={value}"]).names == names


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)))
def test_quoting_survives_any_text(entries):
    assert split_list(f"[{','.join(map(quoted, entries))}]") == entries
    assert [unquoted(quoted(entry)) for entry in entries] == entries


def test_home_is_spelled_out_wherever_text_begins_with_it():
    found = read(Outer, ["~/x", "out=~/y", "names=[~/z,a~]"], "place")
    home = str(Path.home())
    assert (found.place, found.out, found.names) == (f"{home}/x", f"{home}/y", (f"{home}/z", "a~"))


def test_numbers_switches_and_none_are_typed():
    found = read(Outer, ["seeds=0,1", "rate=2", "wait=none", "fast=true", "inner.size=7", "inner.mode=off"])
    assert found == Outer(seeds=[0, 1], rate=2.0, wait=None, fast=True, inner=Inner(7, "off"))


def test_the_last_of_two_holds():
    assert read(Outer, ["rate=1", "rate=2"]).rate == 2


def test_every_problem_is_told_at_once_and_once():
    args = ["rat=1", "seeds=[a]", "inner.mode=on", "inner.sise=1", "fast=perhaps", "wait=soon"]
    with pytest.raises(ConfigError) as caught:
        read(Outer, args, problems=lambda settings: ["and this"])
    lines = str(caught.value).splitlines()
    assert len(lines) == len(args) + 1
    for expected in (
        "did you mean 'rate'", "seeds expects a whole number", "inner.mode must be one of ['auto', 'off']",
        "did you mean 'size'", "fast expects true or false", "wait expects a number", "and this",
    ):  # fmt: skip
        assert any(expected in line for line in lines), (expected, lines)
    assert exit_code(caught.value) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [(["rate"], "expected key=value, got 'rate'"), (["+rate=1"], "without '+'"), (["place=x"], "unknown key 'place'"),
     (["rate=-1"], "rate must not be negative"), (["rate.x=1"], "rate has no parts"),
     (["seeds=[1.5]"], "whole number")],
)  # fmt: skip
def test_a_mistake_is_answered_with_what_was_expected(args, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(Outer, args)


def test_a_path_may_hold_an_equals_sign_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a b=c").write_text("")
    assert read(Outer, ["a b=c", "rate=1"], "place").place == "a b=c"
    with pytest.raises(ConfigError, match="one path"):
        read(Outer, ["one", "two"], "place")


def test_what_belongs_to_another_command_is_handed_on():
    own, rest = read_own(Outer, ["file", "rate=1", "epochs=3", "render.actors=2"], "place")
    assert (own.rate, own.place, rest) == (1.0, "file", ["epochs=3", "render.actors=2"])


def test_help_is_made_of_the_fields():
    keys = {key.name: key for key in keys_of(Outer)}
    assert "place" not in keys
    assert keys["out"].meaning == "a folder; its name may be anything"
    assert keys["inner.mode"].choices == ("auto", "off")
    assert keys["inner.size"].heading == "second"
    text = render_keys(list(keys.values()), width=60)
    assert text.index("first:") < text.index("out=") < text.index("second:") < text.index("inner.size=3")
    assert max(map(len, text.splitlines())) <= 60
