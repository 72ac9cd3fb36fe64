"""What the steps of a random program do, by name; `tests.support.random_programs` strings them."""

from tests.support.random_steps import layers, loops, mixing, norms, pointwise, shapes, weaving

STEPS = {
    **layers.STEPS,
    **norms.STEPS,
    **pointwise.STEPS,
    **shapes.STEPS,
    **mixing.STEPS,
    **weaving.STEPS,
    **loops.STEPS,
}
"""Each takes what builds the program, a value, and two integers that say which variant of it."""

FORWARD_ONLY = loops.FORWARD_ONLY
"""Steps that JAX differentiates forward, but not in reverse."""
