"""README and docs say what is so: every command that they show is read by the program as it is printed there."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

import dg
import dg.__main__

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("index", "data", "methods", "compare", "mlflow", "configuration", "recipes", "api", "predict")
PAGES = ("README.md", *(f"docs/{name}.md" for name in NAMES))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Where each command begins its work, its arguments read and checked.
WORK = {
    "train": ["dg.train.run"],
    "evaluate": ["dg.trained.evaluation_run.run"],
    "export": ["dg.trained.exporting.export"],
    "compare": ["dg.compare.comparison.comparison", "dg.compare.comparison.compare"],
    "grid": ["dg.grid.session.choose_folder"],
    "study": ["dg.grid.session.choose_folder"],
    "analyse": ["dg.analyse.__main__.analyse"],
    "sweep": ["sweeps.session.Session"],
    "report": ["dg.compare.report.sources.runs_in_folders", "dg.compare.report.sources.runs_in_store"],
    "ui": ["dg.tracking.stores.existing_experiment"],
    "predict": ["dg.predict.run.run"],
    "recipes": ["dg.compare.recipe_listing.listing"],
    "check": ["dg.datasets.h36m.Human36M.load"],
}


class Accepted(Exception):  # noqa: N818 - not an error
    """The command has read its arguments and begins to work."""


def fences(page: str, kind: str) -> list[str]:
    return [text for word, text in FENCE.findall((ROOT / page).read_text()) if word == kind]


def commands() -> list[tuple[str, str]]:
    """Page and command, lines that end in a backslash joined, comments left out."""
    found = []
    for page in PAGES:
        lines = "".join(fences(page, "")).replace("\\\n", " ").splitlines()
        found += [(page, shlex.join(shlex.split(line, comments=True))) for line in lines if line.strip()]
    return list(dict.fromkeys(found))


def test_the_pages_show_commands():
    shown = {page for page, _ in commands()}
    assert shown == set(PAGES)
    programs = {command.split()[0] for _, command in commands()}
    assert programs <= {"make", "dg", "source", "mlflow", "pip"}


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if c[1].startswith("dg")])
def test_a_command_is_read_as_it_is_printed(page, command, monkeypatch, tmp_path, capsys):
    args = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)

    def begin(*_, **__):
        raise Accepted

    if not args or args[0] in ("--version", "completion") or "--help" in args:
        assert dg.__main__.main(args) == 0
        assert capsys.readouterr().out
        return
    for place in WORK[args[0]]:
        monkeypatch.setattr(place, begin)
    try:
        code = dg.__main__.main(args)
    except Accepted:
        assert not list(tmp_path.iterdir())  # nothing is left behind before the work begins
    else:
        pytest.fail(f"{page}: `{command}` ended with {code}: {capsys.readouterr().err}")


def test_a_command_with_a_wrong_key_is_not_accepted(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert dg.__main__.main(["train", "targts=npz:FILE"]) == 2
    assert "did you mean 'targets'" in capsys.readouterr().err


def test_make_has_every_target_that_is_shown():
    targets = set(re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.M))
    shown = {command.split()[1] for _, command in commands() if command.startswith("make ")}
    shown |= set(re.findall(r"`make ([\w-]+)", (ROOT / "README.md").read_text()))
    assert shown
    assert shown <= targets


@pytest.mark.skipif(tomllib is None, reason="needs tomllib")
def test_every_extra_that_is_named_exists():
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    files = [p for folder in ("dg", "render_workers", "docs") for p in (ROOT / folder).rglob("*.??")]
    sources = [p.read_text() for p in files if p.suffix in (".py", ".md")]
    named = {name for text in sources for name in re.findall(r"-e '\.\[(\w+)\]'", text)}
    assert {"depth", "novelty", "mpi_inf_3dhp"} <= named
    assert named <= extras


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_is_python_that_uses_what_dg_has(page):
    for text in fences(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dg":
                assert node.attr in dg.__all__


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (dg.__version__, "MIT")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
