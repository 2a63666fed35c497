"""The layers hold, and the plug-in tables name what exists."""

import subprocess
import sys
from pathlib import Path

import pytest

from dg.settings.command_line import GROUPS, table_of
from dg.settings.plugins import OptionError, make_options, resolve

ROOT = Path(__file__).resolve().parents[1]


def test_every_layer_imports_only_lower_ones():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_name_in_a_table_resolves_to_a_class_with_options(group):
    for name in table_of(group):
        assert hasattr(resolve(table_of(group), group, name), "Options")


def test_an_unknown_plug_in_lists_the_table():
    with pytest.raises(OptionError, match=r"unknown lifter 'nope'.*simple_baseline"):
        resolve(table_of("lifter"), "lifter", "nope")


def test_an_option_of_the_wrong_type_names_both():
    plugin = resolve(table_of("depth"), "depth", "noisy_zbuffer")
    first = next(iter(plugin.Options.__dataclass_fields__))
    with pytest.raises(OptionError, match=first):
        make_options(plugin, "depth", "noisy_zbuffer", {first: "much"})
