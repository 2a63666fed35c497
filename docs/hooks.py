"""What mkdocs does besides: the help of every command as a page, and pages of the repository's root."""

import io
import os
import posixpath
import re
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = "100"  # of the help's lines
_COMMANDS, _INCLUDE = "<!-- every command's help -->", re.compile(r"<!-- include (\S+) -->")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own objects
    """A page's text with the help of the commands, or another file, in the place that is marked for it."""
    if _COMMANDS in markdown:
        markdown = markdown.replace(_COMMANDS, commands_page())
    if found := _INCLUDE.search(markdown):
        text = (ROOT / found[1]).read_text()
        # Its links are those of the root; the page lies in docs/.
        markdown = markdown.replace(found[0], re.sub(r"\]\(docs/", "](", text))
    return _LINK.sub(lambda link: _inside(link, page.file.src_uri), markdown)


def commands_page() -> str:
    """The help of `dg` and of each of its commands, as a terminal shows it."""
    from dg.__main__ import COMMANDS

    os.environ["COLUMNS"] = COLUMNS
    parts = [_section("dg", "dg.__main__", "")]
    parts += [_section(f"dg {name}", module, about) for name, (module, about) in COMMANDS.items()]
    return "\n\n".join(parts)


def _section(title: str, module: str, about: str) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown):
        import_module(module).main(["--help"])
    lead = f"{about[:1].upper()}{about[1:]}.\n\n" if about else ""
    return f"## {title}\n\n{lead}```text\n{shown.getvalue().strip()}\n```"


def _inside(link: re.Match[str], page: str) -> str:
    """The link, or its words alone where it leads out of the site: to a file of the repository."""
    text, target = link[1], link[2]
    if ":" in target or not target.startswith(".."):
        return link[0]
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    return text if place.startswith("..") else link[0]
