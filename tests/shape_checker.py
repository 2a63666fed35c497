"""Types and shapes of the packages, checked at every call by beartype; a function is prepared at its first call.

jaxtyping's own import hook makes two checkers of each function when its module loads and binds the arguments at each
call, which took a fifth of the tests' time.
"""

import ast
import inspect
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from types import FunctionType
from typing import Any, get_args, get_type_hints

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError, config, jaxtyped

from tests.quick_shapes import Quick, quick

# `int` is accepted for `float`, as everywhere in Python.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError))
_NAME = "__checked__"


def install(packages: list[str]) -> None:
    """Check the modules of these packages that are imported from now on."""
    sys.meta_path.insert(0, _Finder(packages))


def checked(made: Any) -> Any:
    """Decorate a function or a dataclass so that what it takes and returns is checked."""
    if inspect.isclass(made):
        if is_dataclass(made) and "__init__" in vars(made):
            made.__init__ = checked(made.__init__)
        return made
    return _prepared_at_its_first_call(made) if made.__annotations__ else made


def _prepared_at_its_first_call(function: FunctionType) -> Callable:
    check: Callable | None = None

    @wraps(function)
    def call(*args, **kwargs):
        nonlocal check
        if config.jaxtyping_disable:  # as `dg.trained.writers` sets it where a lifter is traced
            return function(*args, **kwargs)
        if check is None:
            check = _checker(function)
        return check(*args, **kwargs)

    return call


def _checker(function: FunctionType) -> Callable:
    hints = {name: quick(_resolved(function, hint)) for name, hint in function.__annotations__.items()}
    if inspect.isgeneratorfunction(function):
        # It is checked when it is first asked, among the axes of whoever asks.
        hints = {name: hint for name, hint in hints.items() if not _has_shape(hint)}
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__module__, copy.__qualname__ = (
        function.__kwdefaults__, function.__module__, function.__qualname__
    )  # fmt: skip
    copy.__annotations__ = hints
    check = _beartype(copy)
    if not any(_has_shape(hint) for hint in hints.values()):
        return check

    def with_axes_of_its_own(*args, **kwargs):
        with jaxtyped("context"):
            return check(*args, **kwargs)

    return with_axes_of_its_own


def _resolved(function: FunctionType, hint: Any) -> Any:
    """A hint without quotes; Any where a name in it is imported for type checkers alone."""
    if "'" not in repr(hint):
        return hint

    def holder(): ...

    holder.__annotations__ = {"value": hint}
    try:
        return get_type_hints(holder, function.__globals__, include_extras=True)["value"]
    except Exception:
        return Any


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, list):  # parameters of a Callable
        return any(map(_has_shape, hint))
    return (inspect.isclass(hint) and issubclass(hint, (AbstractArray, Quick))) or any(map(_has_shape, get_args(hint)))


class _Finder(MetaPathFinder):
    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] not in self.packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname):
        """From the source: code that was compiled without the decorators is no use, nor is this one to others."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def source_to_code(self, data, path, *, _optimize=-1):
        tree = ast.parse(data, path)
        _decorate(tree)
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def exec_module(self, module):
        module.__dict__[_NAME] = checked
        super().exec_module(module)


def _decorate(parent: ast.AST) -> None:
    """Functions inside functions stay as they are: they are made at each call, and a checker costs a millisecond."""
    for node in ast.iter_child_nodes(parent):
        decorator = ast.copy_location(ast.Name(_NAME, ast.Load()), node) if isinstance(node, ast.stmt) else None
        if isinstance(node, ast.ClassDef):
            node.decorator_list.insert(0, decorator)  # a dataclass is made before
            _decorate(node)
        elif isinstance(node, ast.FunctionDef):
            if not _is_unchecked(node):
                node.decorator_list.append(decorator)
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            _decorate(node)


def _is_unchecked(node: ast.FunctionDef) -> bool:
    """Code of the GPU is no Python."""
    return any(isinstance(given, ast.Name) and given.id == "no_type_check" for given in node.decorator_list)
