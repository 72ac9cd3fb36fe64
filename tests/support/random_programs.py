"""Random programs from a grammar of what networks are made of, drawn as data and interpreted.

A program is a few whole numbers: what a failing test prints can be pasted, and any numbers are a
program. ``python -m tests.support.random_programs --count 5000 --seed 1`` runs many and prints
those on which a sliced network differs from the masked one, made as short as they get.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from tests.support.random_steps import FORWARD_ONLY, STEPS
from tests.support.random_steps.building import Build, fits, pick

SHAPES = {"sequence": (2, 4, 5), "image": (2, 4, 2, 3), "vector": (3, 6), "tokens": (2, 6)}
OFTEN = ("dense", "residual", "pair", "layer_norm", "attention", *["apply"] * 6)
"""Steps of many variants, and those that networks are made of, come oftener than once each."""

NAMES = (*STEPS, *OFTEN)
LARGEST_NUMBER = 59
MOST_STEPS = 10

Step = tuple[str, int, int, int]
"""The name, how far back the value stands that it reads, and which variant of the step it is."""


class Program(NamedTuple):
    """A network as data.

    Attributes:
      steps: what happens one after the other.
      x: the kind of input, a key of ``SHAPES``.
      outputs: which values are returned.
      bare: whether the variables are one dict, without collections.
      seed: of parameters, input and tables.
    """

    steps: tuple[Step, ...]
    x: str = "sequence"
    outputs: int = 0
    bare: bool = False
    seed: int = 0


class Network(NamedTuple):
    """A program that can run.

    Attributes:
      apply_fn: ``(variables, x) -> outputs``.
      variables: with random numbers.
      x: an input.
      reverse: whether JAX can differentiate it in reverse.
    """

    apply_fn: Callable[[Any, Any], Any]
    variables: Any
    x: Any
    reverse: bool


def network(program: Program) -> Network:
    """What a program describes, in the float type that JAX takes for its default."""
    shape = SHAPES[program.x]
    numbers = np.random.default_rng(program.seed)
    x: Any = numbers.uniform(-1.5, 1.5, shape).astype(jnp.result_type(float))
    x = numbers.integers(0, 5, shape).astype(np.int32) if program.x == "tokens" else x
    made = Build(program.seed)
    jax.eval_shape(functools.partial(_run, program, made), x)
    stats = made.made["batch_stats"]
    variables: Any = made.made if stats else {"params": made.made["params"]}
    variables = {**made.made["params"], **stats} if program.bare else variables

    def apply_fn(variables: Any, x: Any) -> Any:
        return _run(program, Build(program.seed, variables), x)

    reverse = not FORWARD_ONLY.intersection(name for name, *_ in program.steps)
    return Network(apply_fn, variables, x, reverse)


def _run(program: Program, build: Build, x: Any) -> Any:
    build.pool.append(x)
    if program.x == "tokens":
        build.pool.append(jnp.take(build.param(5, 6), x, 0))
    else:
        build.pool.append(x @ build.param(x.shape[-1], 8) + build.param(8))
    for name, back, i, j in program.steps:
        build.at = max(1, len(build.pool) - 1 - back)
        made = STEPS[name](build, build.pool[build.at], i, j)
        made = made if isinstance(made, list) else [made]
        build.pool += [value for value in made if value is not None and fits(value)]
    outputs = _outputs(program, build)
    if not build.updated:
        return outputs
    return outputs, build.updated if program.bare else {"batch_stats": build.updated}


def _outputs(program: Program, build: Build) -> Any:
    last, middle = build.pool[-1], build.pool[1 + len(build.pool) // 3]
    head = last @ build.param(last.shape[-1], 3)
    match program.outputs % 8:
        case 0 | 1 | 2 | 3:
            return head
        case 4:  # all that was not used yet
            rows = [value.reshape(len(value), -1) for value in build.pool[1:][-3:]]
            rows = [row for row in rows if len(row) == len(last)]
            return sum(jnp.tanh(row) @ build.param(row.shape[1], 2) for row in rows)
        case 5:
            return head, middle
        case 6:
            return {"head": head, "middle": middle @ build.param(middle.shape[-1], 2)}
        case _:
            return (jnp.tanh(head) ** 2).sum(), last.max(-1)


# ------------------------------------------------------------------ drawing


def draw(numbers: np.random.Generator) -> Program:
    """A random program; short ones are as likely as long ones."""
    steps = tuple(
        (
            pick(NAMES, int(numbers.integers(len(NAMES)))),
            int(numbers.choice((0, 0, 0, 0, 1, 1, 2, 3))),
            int(numbers.integers(LARGEST_NUMBER + 1)),
            int(numbers.integers(LARGEST_NUMBER + 1)),
        )
        for _ in range(numbers.integers(1, MOST_STEPS + 1))
    )
    return Program(
        steps,
        x=pick(tuple(SHAPES), int(numbers.choice((0, 0, 0, 1, 1, 2, 3)))),
        outputs=int(numbers.integers(8)),
        bare=bool(numbers.integers(4) == 0),
        seed=int(numbers.integers(100)),
    )


def primitives(program: Program) -> Counter[str]:
    """How often each primitive occurs, those inside of loops and calls too."""
    made = network(program)
    counted: Counter[str] = Counter()

    def count(jaxpr: Any) -> None:
        for eqn in jaxpr.eqns:
            counted[eqn.primitive.name] += 1
            for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_program):
                if _is_program(inner):
                    count(getattr(inner, "jaxpr", inner))

    count(jax.make_jaxpr(made.apply_fn)(made.variables, made.x).jaxpr)
    return counted


def _is_program(value: Any) -> bool:
    return isinstance(value, core.ClosedJaxpr | core.Jaxpr)


def simpler(program: Program) -> Iterator[Program]:
    """Programs with a step less, or with smaller numbers."""
    steps = program.steps
    for at in range(len(steps)):
        yield program._replace(steps=steps[:at] + steps[at + 1 :])
    for field in ("outputs", "bare", "seed"):
        if getattr(program, field):
            yield program._replace(**{field: type(getattr(program, field))(0)})
    if program.x != "sequence":
        yield program._replace(x="sequence")
    for at, (name, *numbers) in enumerate(steps):
        for place, number in enumerate(numbers):
            for smaller in sorted({0, number % 12, number // 2, number - 1}):
                if 0 <= smaller < number:
                    changed = (*numbers[:place], smaller, *numbers[place + 1 :])
                    yield program._replace(steps=(*steps[:at], (name, *changed), *steps[at + 1 :]))


def shrunk(program: Program, fails: Callable[[Program], bool], tries: int = 300) -> Program:
    """The simplest program found that still fails."""
    left = tries
    better: Program | None = program
    while better is not None:
        program, better = better, None
        for candidate in simpler(program):
            left -= 1
            if left < 0:
                break
            if fails(candidate):
                better = candidate
                break
    return program


if __name__ == "__main__":
    from tests.support.sliced_programs import main

    main()
