"""Compiles the kernels once per machine, and finds what was compiled.

They are compiled where they run, not when the package is packed: the headers of the
foreign-function interface must be those of the jaxlib that is installed.
"""

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import jax
from filelock import FileLock

from prunejax.files import cache_folder

SOURCE = Path(__file__).with_name("kernels.cc")

COMPILERS = ("g++", "clang++", "c++")

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-Wno-psabi")

PLAIN = "-DPRUNEJAX_PLAIN"
"""For compilers that cannot compile one function for several instruction sets."""

SECONDS = 300
"""How long a compiler may take, and how long another process waits for it."""


LOG = logging.getLogger("prunejax.sparse")


class UnavailableError(RuntimeError):
    """The kernels are not compiled here and cannot be; the message says what to do."""


def compiler() -> list[str]:
    """The command of a C++ compiler: ``CXX``, which may hold options, else the first there is.

    Raises:
      UnavailableError: there is none.
    """
    if given := os.environ.get("CXX"):
        command = shlex.split(given)
        if command and shutil.which(command[0]):
            return command
        raise UnavailableError(f"CXX names no program that there is: {given!r}")
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise UnavailableError(
        f"no C++ compiler was found: none of {', '.join(COMPILERS)} is on PATH. Install one, or "
        "name one in the environment variable CXX"
    )


def build() -> Path:
    """The compiled kernels, which are compiled now if they are not there yet.

    The file's name holds digests of the source, jaxlib's version, the machine, and the compiler. It
    gets its name when it is whole, and a lock lets one of several processes compile. Without a
    compiler, what another one compiled from this source for this jaxlib will do.

    Returns:
      The shared library.

    Raises:
      UnavailableError: there is no compiler, it fails, or the folder cannot be written.
    """
    folder = cache_folder()
    digest = _digest(
        SOURCE.read_text(), version("jaxlib"), platform.system(), platform.machine(), *FLAGS
    )
    try:
        command = compiler()
    except UnavailableError:
        if earlier := sorted(folder.glob(f"kernels-{digest}-*.so")):
            return earlier[0]
        raise
    library = folder / f"kernels-{digest}-{_digest(*command, _version(command))}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(library.with_suffix(".lock"), timeout=SECONDS):
            if not library.exists():
                _compile(command, library)
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            f"the kernels cannot be compiled into {folder} ({error}); name another folder in the "
            "environment variable PRUNEJAX_CACHE_DIR"
        ) from error
    return library


def _compile(command: list[str], library: Path) -> None:
    """Compiles into a file beside the library, which then takes its name."""
    unfinished = library.with_name(f"{library.name}.{os.getpid()}.unfinished")
    headers = ("-isystem", jax.ffi.include_dir())
    whole = [*command, *FLAGS, *headers, str(SOURCE), "-o", str(unfinished)]
    LOG.info("compiling the kernels of sparse layers, once: %s", shlex.join(whole))
    try:
        try:
            _run(whole)
        except UnavailableError as error:
            try:
                _run([*whole, PLAIN])
            except UnavailableError:
                raise error from None
        os.replace(unfinished, library)
    finally:
        unfinished.unlink(missing_ok=True)


def _version(command: list[str]) -> str:
    return _run([*command, "--version"])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{shlex.join(command)} does not run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise UnavailableError(f"{shlex.join(command)} failed ({done.returncode}): {said}")
    return done.stdout


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
