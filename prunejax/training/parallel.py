"""Data parallelism: one copy of the state and a share of each batch on every local device."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Placement(NamedTuple):
    """The devices that arrays live on.

    Attributes:
      state: the sharding of parameters, masks and optimiser state: whole on every device.
      batch: the sharding of a batch: its first axis divided among the devices.
      batches: that of several batches, [batches, batch, ...].
      devices: how many devices share the work.
    """

    state: NamedSharding
    batch: NamedSharding
    batches: NamedSharding
    devices: int

    @property
    def first(self) -> Any:
        """The first device."""
        return min(self.state.device_set, key=lambda device: device.id)


def data_parallel(devices: Sequence[Any] | None = None) -> Placement:
    """Divides batches over devices; XLA adds the reductions that this needs.

    The result is that of one device on the whole batch, batch normalisation's statistics
    included, up to the order of float32 sums.

    Args:
      devices: by default all local ones.

    Returns:
      The placement.

    Raises:
      ValueError: no devices.
    """
    local = np.array(jax.local_devices() if devices is None else list(devices))
    if local.size == 0:
        raise ValueError("data parallelism needs at least one device")
    mesh = Mesh(local, ("batch",))
    return Placement(
        state=NamedSharding(mesh, PartitionSpec()),
        batch=NamedSharding(mesh, PartitionSpec("batch")),
        batches=NamedSharding(mesh, PartitionSpec(None, "batch")),
        devices=int(local.size),
    )


def check_batch_size(batch_size: int, placement: Placement) -> None:
    """Refuses a batch that the devices cannot share evenly.

    Raises:
      ValueError: the batch size is no multiple of the number of devices.
    """
    if batch_size % placement.devices:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided among {placement.devices} devices; use a "
            f"multiple of {placement.devices}"
        )
