"""Digests of source code, so that a method that was edited is not taken for the one recorded."""

import functools
import hashlib
import inspect
import io
import tokenize
from collections.abc import Callable
from typing import Any

_ASIDE = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
_LINE_STARTS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


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
    """A program without comments, docstrings and blank lines."""
    parts: list[str] = []
    before = tokenize.NEWLINE
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _ASIDE
    ]
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        alone = before in _LINE_STARTS and (after is None or after.type == tokenize.NEWLINE)
        if token.type == tokenize.STRING and alone:
            continue
        word = token.type == tokenize.NAME
        # What stands between other tokens is the same however Python splits an f-string.
        parts.append(f" {token.string} " if word else token.string)
        before = token.type
    return "".join(parts)
