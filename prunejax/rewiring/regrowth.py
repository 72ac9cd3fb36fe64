"""What a rule of regrowth is: where new links are likely, from the links or from a gradient."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array


class Regrowth(NamedTuple):
    """A rule of regrowth.

    Attributes:
      from_links: ``(links, kept) -> scores [inputs, outputs]`` of all pairs, higher means grow;
        ``kept`` says which of the links count, None: all. Or None.
      from_gradient: ``gradient -> scores`` of the gradient's shape, for all weights, those that
        are not there included. Or None. A rule without either grows uniformly at random.
    """

    from_links: Callable[..., Array] | None = None
    from_gradient: Callable[[Array], Array] | None = None
