"""What a shell is offered: commands, names, keys and choices, of every command."""

import subprocess
import sys

import pytest

from dg.settings.commands import COMMANDS
from dg.settings.completion import SCRIPTS, completions, main


def test_commands_and_names_of_what_they_do_are_offered():
    assert completions("", "") == list(COMMANDS)
    assert completions("", "ex") == ["extract-depth", "export"]
    assert completions("study", "m") == ["motion"]
    assert completions("sweep", "") == ["reference_depth", "search"]
    assert completions("check", "h3") == ["h36m"]
    assert "viewpoints" in completions("analyse", "")
    assert completions("trian", "e") == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"check", "completion"}))
def test_every_command_offers_its_keys(command):
    name = {"study": "frames", "sweep": "search", "analyse": "tail"}.get(command, "")
    found = completions(command, "", name)
    assert found
    assert all(word.endswith("=") for word in found)


@pytest.mark.parametrize(
    ("command", "name", "text", "expected"),
    [
        ("train", "", "method=pos", ["method=poseaug", "method=posegu", "method=poseda"]),
        ("train", "", "pool=", ["pool=ray", "pool=local"]),
        ("study", "motion", "part", ["parts="]),
        ("study", "motion", "epo", []),
        ("study", "frames", "epo", ["epochs="]),
        ("sweep", "search", "obj", ["objectives="]),
        ("sweep", "reference_depth", "epo", ["epochs="]),
        ("export", "", "form", ["format="]),
        ("analyse", "tail", "metric=mp", ["metric=mpjpe_mm"]),
        ("train", "", "targets=n", []),
    ],
)
def test_keys_and_choices_are_those_of_the_command(command, name, text, expected):
    assert completions(command, text, name) == expected


def test_the_scripts_ask_for_the_words_and_bash_takes_its_own(capsys):
    for shell in SCRIPTS:
        assert main([shell]) == 0
        assert 'dg completion words "$' in capsys.readouterr().out
    program = (
        f'dg() {{ {sys.executable} -m dg "$@"; }}; eval "$(dg completion bash)";'
        "COMP_LINE='dg study motion part'; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(dg study motion part); COMP_CWORD=3;"
        "_dg 2>/dev/null; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert done.stdout == "parts=\n", done.stderr
