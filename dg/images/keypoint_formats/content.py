"""What a path holds, read once for all formats: a JSON tree, the names in an archive, or a folder of small files."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.files.safe_load import load_json, npz_names
from dg.images.reading import by_number

JSON, NPZ, TEXT = ".json", ".npz", ".txt"
_MOST_FILES = 200_000


@dataclass(frozen=True)
class Content:
    """A file or a folder of keypoints.

    Attributes:
        path: of the file or folder.
        files: the files of a folder that may hold keypoints, numbers by their value; the file itself otherwise.
    """

    path: Path
    files: tuple[Path, ...]
    _trees: dict[Path, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """Suffix that all files share: `.json`, `.npz` or `.txt`."""
        return self.files[0].suffix.lower()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files, mostly one a frame."""
        return self.path.is_dir()

    @cached_property
    def first(self) -> Any:  # noqa: ANN401 - any JSON
        """The tree of the first JSON file; None for other files."""
        return self.tree(self.files[0]) if self.kind == JSON else None

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays in an archive; empty for other files."""
        return tuple(npz_names(self.files[0])) if self.kind == NPZ else ()

    def tree(self, file: Path) -> Any:  # noqa: ANN401
        """What a JSON file holds; the first one is kept. Raises FileFormatError."""
        if file not in self._trees:
            tree = load_json(file)
            if self._trees:
                return tree
            self._trees[file] = tree
        return self._trees[file]

    def described(self) -> str:
        """What was found, in words, for a message."""
        if self.kind == NPZ:
            return f"an archive of the arrays {list(self.arrays)}"
        if self.kind == TEXT:
            return f"text that begins {one_line(self.files[0].read_text(errors='replace')[:60])!r}"
        return shape_of(self.first)


def open_content(path: Path) -> Content:
    """Find the keypoint files of a path.

    Args:
        path: a `.json`, `.npz` or `.txt` file, or a folder of files of one of these kinds.

    Raises:
        FileFormatError: for a path that is missing, empty or holds no such file.
    """
    if path.is_file():
        if path.suffix.lower() not in (JSON, NPZ, TEXT):
            raise FileFormatError(f"{path}: expected keypoints in a {JSON}, {NPZ} or {TEXT} file, or a folder of them")
        return Content(path, (path,))
    if not path.is_dir():
        raise FileFormatError(f"{path}: expected a file or folder of keypoints, found nothing")
    for suffix in (JSON, TEXT, NPZ):
        found = [p for p in path.iterdir() if p.suffix.lower() == suffix and not p.name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise FileFormatError(f"{path}: {len(found):,} files; expected at most {_MOST_FILES:,}")
        if found:
            return Content(path, tuple(sorted(found, key=lambda p: by_number(Path(p.name)))))
    raise FileFormatError(f"{path}: expected a folder of {JSON}, {TEXT} or {NPZ} files, found none")


def shape_of(tree: Any) -> str:  # noqa: ANN401 - any JSON
    """The outermost shape of a JSON tree in words."""
    if isinstance(tree, dict):
        return f"JSON, an object with the keys {_listed(tree)}" if tree else "JSON, an empty object"
    if isinstance(tree, list):
        inner = f", the first {shape_of(tree[0]).removeprefix('JSON, ')}" if tree else ""
        return f"JSON, a list of {len(tree)}{inner}"
    return f"JSON, {one_line(repr(tree), 40)}"


def _listed(tree: dict[str, Any]) -> str:
    names = [one_line(name, 30) for name in list(tree)[:8]]
    return str(names) if len(tree) <= len(names) else f"{str(names)[:-1]}, ...]"
