"""A sliced model in its own folder: restored without the original, run without this library."""

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.files import write_atomically
from prunejax.masks import name
from prunejax.network import reading, replacing
from prunejax.network.exporting import archive, export, stored
from prunejax.network.plan import Plan

FORMAT = "prunejax sliced model 1"
PLAN, VARIABLES, FORWARD, ABOUT = "plan.json", "variables.npz", "forward.jaxexport", "about.json"
RUN = (
    "import jax.export, numpy",
    f"exported = jax.export.deserialize(bytearray(open('{FORWARD}', 'rb').read()))",
    f"outputs = exported.call(dict(numpy.load('{VARIABLES}')), x)",
)
"""How to run it with jax and numpy alone."""

TRUST = (
    f"{FORWARD} is code: JAX compiles and runs it unseen, and its checksum shows damage, not who "
    "wrote it. Load only what you trust."
)
"""What whoever opens the folder should know."""


class SlicedModel(NamedTuple):
    """A sliced model as ``load_sliced`` restores it.

    Attributes:
      apply_fn: ``(variables, x) -> outputs``. It can be jitted, and differentiated once backwards
        (``jax.grad``, ``jax.vjp``); JAX has no ``jax.jvp`` and no ``jax.vmap`` of exported
        functions.
      variables: arrays by path; bfloat16 and smaller floats have become float32, which ``apply_fn``
        turns back.
      keep: for each group of the network it was sliced from which channels stayed, [width].
      description: what was given to ``save_sliced``.
    """

    apply_fn: Callable[..., Any]
    variables: dict[str, jax.Array]
    keep: dict[str, np.ndarray]
    description: Any


def save_sliced(
    folder: str | os.PathLike[str],
    plan: Plan,
    variables: PyTree,
    x: PyTree,
    *,
    description: Any = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> Path:
    """Writes a sliced model as a folder, in one step that either happens or not.

    A process that is killed while it replaces a folder loses nothing: the next ``save_sliced`` or
    ``load_sliced`` of this folder takes the old one back. Of several processes that save to one
    folder at once, one wins.

    ``plan.json`` is the plan; ``variables.npz`` has an array for each leaf, by path;
    ``forward.jaxexport`` is the function of these arrays and ``x``, by ``jax.export``;
    ``about.json`` says what it is, how to run it with jax and numpy alone, and that it is code, to
    be loaded only from whom one trusts.

    Args:
      folder: the folder to make; one that this function wrote is replaced.
      plan: the plan.
      variables: as ``plan.slice`` returns them.
      x: an example of the input: arrays, ``jax.ShapeDtypeStruct``s, or a tuple, list or dict of
        them. The first axis of all of them becomes a batch of any size if the function can be
        traced so (one that calls ``len(x)`` cannot); if not, its size is fixed, and a warning
        says why.
      description: anything that JSON can hold.
      platforms: where the function shall run: "cpu", "cuda", "rocm", "tpu".

    Returns:
      The folder.

    Raises:
      FileExistsError: ``folder`` is there and something else.
      OSError: a file cannot be written.
      ValueError: a leaf cannot be stored, the variables are not those of the plan, there
        is no such platform, the function cannot be exported (it may take and return tuples,
        lists and dicts of arrays only), or the description is no JSON.
    """
    folder = Path(os.path.realpath(folder))
    _check_replaceable(folder)
    arrays = stored(variables)
    forward, x = plan.apply_fn, jax.eval_shape(lambda x: x, x)
    jax.eval_shape(forward, variables, x)  # what it says of wrong variables is not about exporting
    exported, x = export(forward, variables, arrays, x, platforms)
    about: dict[str, Any] = {
        "format": FORMAT,
        "description": description,
        "parameters": sum(arrays[path].size for path in arrays if path in plan.network.trainable),
        "input": {
            name(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
            for path, leaf in jax.tree_util.tree_leaves_with_path(x)
        },
        "platforms": list(platforms),
        "versions": {
            package: importlib.metadata.version(package) for package in ("jax", "numpy", "prunejax")
        },
        "run": RUN,
        "trust": TRUST,
    }
    try:
        json.dumps(about)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the description is no JSON: {error}") from error
    replacing.recover(folder)
    with replacing.workplace(folder) as new:
        plan.save(new / PLAN)
        write_atomically(new / VARIABLES, archive(arrays))
        write_atomically(new / FORWARD, exported)
        about["sha256"] = {
            file.name: sha256(file.read_bytes()).hexdigest() for file in new.iterdir()
        }
        write_atomically(new / ABOUT, json.dumps(about, indent=1).encode())
        replacing.put(new, folder)
    return folder


def load_sliced(folder: str | os.PathLike[str]) -> SlicedModel:
    """Restores a sliced model, for which neither its module nor the original is needed.

    The function in the folder is code, which JAX compiles and runs unseen; the checksums in
    ``about.json`` show damage, not who wrote it. Load only what you trust. Everything else is
    checked before it is unpacked.

    Args:
      folder: what ``save_sliced`` wrote.

    Returns:
      The model.

    Raises:
      FileNotFoundError: there is no such folder.
      OSError: a file cannot be read.
      ValueError: it is no sliced model, a file is missing or damaged, this version of
        JAX cannot read the function, or it was not exported for this platform.
    """
    folder = Path(folder)
    if not folder.is_dir():
        with contextlib.suppress(OSError):  # where nothing may be written, nothing is taken back
            replacing.recover(Path(os.path.realpath(folder)))
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    try:
        about = reading.parsed((folder / ABOUT).read_bytes())
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {str(about['format'])[:40]!r}")
        contents = {file: (folder / file).read_bytes() for file in (PLAN, VARIABLES, FORWARD)}
        for file, content in contents.items():
            if sha256(content).hexdigest() != about["sha256"][file]:
                raise ValueError(f"{file} is not what was saved")
        keep = reading.kept(reading.parsed(contents[PLAN]))
        arrays = reading.unarchived(folder / VARIABLES)
        platforms, written_by = _words(about["platforms"]), str(about["versions"]["jax"])
        description = about["description"]
    except (FileNotFoundError, *reading.DAMAGED) as error:
        raise ValueError(f"{folder} is damaged or no sliced model: {error}") from error
    here = jax.export.default_export_platform()
    if here not in platforms:
        raise ValueError(
            f"{folder} was exported for {', '.join(platforms)}, but JAX runs on {here} here: save "
            f"it with platforms=({here!r},), or set JAX_PLATFORMS={platforms[0]} before JAX starts"
        )
    try:
        exported = jax.export.deserialize(bytearray(contents[FORWARD]))
    except Exception as error:
        raise ValueError(
            f"jax {jax.__version__} cannot read the function in {folder}, which jax {written_by} "
            f"wrote: {error}"
        ) from error
    variables = {path: jnp.asarray(array) for path, array in arrays.items()}
    return SlicedModel(exported.call, variables, keep, description)


def _words(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError("its platforms are no list of names")
    return given


def _check_replaceable(folder: Path) -> None:
    try:
        held = {file.name for file in folder.iterdir()}
    except FileNotFoundError:  # nothing is there, or another process replaces it at this moment
        return
    except NotADirectoryError:
        held = {folder.name}
    if held and held != {PLAN, VARIABLES, FORWARD, ABOUT}:
        raise FileExistsError(f"{folder} is no sliced model, and is not replaced by one")
