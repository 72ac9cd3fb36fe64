"""Functions with derivatives of their own, and whether those are what their equations give."""

from typing import Any

from prunejax.network.program import Op, of_jax

CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")

CONSISTENT = frozenset(
    (
        *("relu", "relu6", "silu", "swish", "gelu", "softmax", "_softmax", "log_softmax"),
        *("logsumexp", "_logsumexp", "logaddexp", "logaddexp2", "softplus", "log_sigmoid"),
        *("_logcosh", "xlogy", "xlog1py", "sinc", "_sinc_maclaurin", "squareplus", "mish"),
    )
)
"""Functions of JAX whose own derivative is that of their equations, only more precise."""


def called(op: Op) -> str:
    """The name of the function that a call with a derivative of its own calls."""
    if op.foreign:
        return op.name
    held = _held(op)
    info = getattr(getattr(held, "jaxpr", held), "debug_info", None)
    return str(getattr(info, "func_name", None) or "a function").split(" ")[0]


def custom(op: Op) -> bool:
    """Whether a call has a derivative of its own: by its function's rule, or by its primitive's."""
    return op.name in CUSTOM or op.foreign


def _held(op: Op) -> Any:
    return op.params.get("call_jaxpr") or op.params.get("fun_jaxpr")


def keeps_derivative(op: Op) -> bool:
    """Whether the equations that a call holds may be differentiated in its place.

    Args:
      op: a call.

    Returns:
      True of calls without a derivative of their own, and of JAX's own functions.
    """
    if not custom(op):
        return True
    if op.foreign:
        return False
    return called(op) in CONSISTENT and of_jax(_held(op))
