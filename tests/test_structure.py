"""The layers hold, the cluster file is valid, and the plug-in tables name what exists."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dg.command_line import GROUPS, table_of
from dg.plugins import OptionError, make_options, resolve

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


def test_the_cluster_file_is_valid_by_rays_own_schema():
    from ray.autoscaler._private.util import prepare_config, validate_config

    with (ROOT / "cluster.yaml").open() as file:
        cluster = yaml.safe_load(file)
    validate_config(prepare_config(cluster))
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=" in c for c in commands if "ray start" in c)
