"""What the registry says of a criterion for channels: its function, and what that reads."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures

ChannelScore = Callable[..., Array]
"""``(features, *, key) -> one score per channel``."""


@dataclasses.dataclass(frozen=True)
class FilterCriterion:
    """A criterion for the channels of one layer; called as its function is.

    Attributes:
      score: ``(features, *, key) -> one score per channel``, higher means keep.
      needs: the members of ``ChannelFeatures`` that it reads.
    """

    score: ChannelScore
    needs: tuple[str, ...]

    def __call__(
        self, features: ChannelFeatures, *, key: PRNGKeyArray | None = None, **settings: Any
    ) -> Float[Array, " channels"]:
        """Scores the channels of a layer.

        Args:
          features: what is known of them; at least the members in ``needs``.
          key: for criteria that draw.
          **settings: of the criterion's own.

        Returns:
          One score per channel; higher means keep.

        Raises:
          ValueError: as the criterion's function.
        """
        return self.score(features, key=key, **settings)
