"""Records: what a run gave, in one JSON file in the run's own folder.

``results/<study>/<hash of the configuration>/record.json`` is written atomically, after the files
that lie beside it: a run whose record is there is done.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.common import claims
from experiments.common.protocol import DENSE
from prunejax.files import write_atomically

Record = dict[str, Any]

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "prunejax")
NAME = "record.json"
"""The name of every record, in its run's folder."""

FIELDS = ("config", "metrics", "history", "seconds", "versions", "device", "date")


def config_hash(config: Mapping[str, Any]) -> str:
    """A run's name: 16 hexadecimal digits of the SHA-256 of its configuration's canonical JSON."""
    canonical = json.dumps(plain(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def path_of(results: str | os.PathLike[str], study: str, config: Mapping[str, Any]) -> Path:
    """Where a run's record is kept: ``<results>/<study>/<config hash>/record.json``."""
    return Path(results) / study / config_hash(config) / NAME


def save(
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: list[dict[str, float]],
    seconds: Mapping[str, float],
) -> Record:
    """Writes a finished run, with versions, device and date, in one atomic step.

    Args:
      path: from ``path_of``.
      config: everything that determines the run.
      metrics: its results.
      history: one row per epoch.
      seconds: how long its parts took.

    Returns:
      The record as written; a number that is not finite is written as null.

    Raises:
      OSError: the file could not be written; nothing else is touched.
    """
    record = plain(
        {
            "config": config,
            "metrics": metrics,
            "history": history,
            "seconds": seconds,
            "versions": {name: version(name) for name in PACKAGES},
            "device": device(),
            "date": now(),
        }
    )
    write_atomically(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return record


def load(
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    *,
    needs: Sequence[str] = (),
    set_aside: bool = True,
) -> Record | None:
    """Reads a run's record.

    A damaged file is set aside as ``record.json.damaged`` with a warning, so that the run can be
    done again and nothing is lost.

    Args:
      path: from ``path_of``.
      config: what the record's configuration must be.
      needs: the metrics that it must have.
      set_aside: whether to rename a damaged file, or only to warn.

    Returns:
      The record, or None where there is none that can be used.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        missing = [field for field in FIELDS if field not in record]
        for field, kind in (("config", dict), ("metrics", dict), ("seconds", dict)):
            if field in record and not isinstance(record[field], kind):
                raise ValueError(f"its {field} is a {type(record[field]).__name__}")
        if not missing:
            metrics = dict(record["metrics"])
            missing = [f"metrics/{name}" for name in needs if metrics.get(name) is None]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        named = config_hash(record["config"]) == path.parent.name
        if not named or (config is not None and record["config"] != plain(config)):
            raise ValueError("its configuration is not the one that its name stands for")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if not set_aside:
            warnings.warn(f"{path} is left out: it is damaged ({error})", stacklevel=2)
            return None
        aside = path.with_suffix(".json.damaged")
        # another process may have set it aside, or be writing it anew
        with claims.unless_claimed(path) as ours, contextlib.suppress(FileNotFoundError):
            if ours:
                path.replace(aside)
        warnings.warn(
            f"{path} is damaged ({error}); it is kept as {aside.name}, and its run done again",
            stacklevel=2,
        )
        return None
    return record


def load_all(
    results: str | os.PathLike[str],
    study: str,
    *,
    kind: str | None = None,
    needs: Sequence[str] = (),
) -> Iterator[Record]:
    """All usable records of a study, in the order of their names; see ``load``.

    Args:
      results: the folder of all results.
      study: the study's name.
      kind: only records whose configuration says so.
      needs: the metrics that these must have.
    """
    for path in sorted((Path(results) / study).glob(f"*/{NAME}")):
        record = load(path, set_aside=False) if path.is_file() else None
        if record is None or (kind is not None and record["config"].get("kind") != kind):
            continue
        missing = [name for name in needs if dict(record["metrics"]).get(name) is None]
        if missing:
            said = ", ".join(f"metrics/{name}" for name in missing)
            warnings.warn(f"{path} is left out: it lacks {said}", stacklevel=2)
            continue
        yield record


def device() -> str:
    """What the run ran on: platform, kind and number of devices, cores of the host."""
    devices = jax.local_devices()
    kind = devices[0].device_kind
    return f"{len(devices)} x {kind}, {os.cpu_count()} {platform.machine()} cores"


def now() -> str:
    """The time, in UTC to the second, as a record's date is written."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """The value as JSON holds it: dataclasses, tuples, paths and NumPy scalars made plain."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def diverged(record: Record) -> bool:
    """Whether a run's loss, or its parameters, are not finite: its accuracy is that of guessing."""
    said = record["metrics"].get("diverged")
    if said is not None:
        return bool(said)
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    return None in losses or record["metrics"].get("loss", 0.0) is None


def latest(records: Sequence[Record], source: Callable[[str], str | None]) -> list[Record]:
    """Of records that differ in a method's code or settings alone, one: of the code as it is now.

    Args:
      records: of one experiment.
      source: a method's (or mode's) name -> the digest of its code now, None if it is no more.

    Returns:
      One record for each configuration; the newest where none is of the code as it is now.
    """
    chosen: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: (_is_current(one, source), one["date"])):
        shared = {
            name: value
            for name, value in record["config"].items()
            if name not in ("method_settings", "source", "rivals")
        }
        chosen[config_hash(shared)] = record
    return list(chosen.values())


def _is_current(record: Record, source: Callable[[str], str | None]) -> bool:
    config = record["config"]
    name = config.get("method", config.get("mode", ""))
    settings = config.get("method_settings") or {}
    return name == DENSE or source(name) == config.get("source", settings.get("source"))
