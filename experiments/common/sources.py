"""Digests of source code, so that a method that was edited is not taken for the one recorded."""

import ast
import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any


def digest(*subjects: Callable[..., Any]) -> str:
    """Eight hexadecimal digits of what some functions' own files and functions say.

    Comments, docstrings and blank lines do not count: to explain code better changes no digest.

    Args:
      *subjects: functions; of each the whole file that defines it is read. Of one that is a
        ``functools.partial``, the function inside.

    Returns:
      The digest.
    """
    sources = [_file_of(inspect.unwrap(_inside(subject))) for subject in subjects]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:8]


def _inside(subject: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(subject, functools.partial):
        subject = subject.func
    return subject


@functools.cache
def _file_of(function: Callable[..., Any]) -> str:
    """The code of the file that defines a function, or of the function where there is no file."""
    module = inspect.getmodule(function)
    try:
        return code_of(inspect.getsource(function if module is None else module))
    except (OSError, TypeError):  # written at a prompt
        return repr(getattr(function, "__code__", function))


def code_of(source: str) -> str:
    """A program without comments, docstrings and layout, in the same words in every Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return _told(tree)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _told(node: Any) -> str:
    """A syntax tree in words. (`ast.dump` leaves empty fields out in some versions only.)"""
    if isinstance(node, list):
        return f"[{','.join(map(_told, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    return f"{type(node).__name__}({','.join(f'{k}={_told(v)}' for k, v in fields.items())})"
