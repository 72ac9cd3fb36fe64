"""Small networks with batches, random and trained, that the whole program can hold."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from solvers.critical_neurons import Problem
from solvers.layers import (
    AdaptiveAveragePool,
    Affine,
    AveragePool,
    Conv,
    Dense,
    MaxPool,
    Relu,
)
from solvers.settings import Settings


def perceptron(seed, sizes):
    """Random dense layers."""
    random = np.random.default_rng(seed)
    network = []
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        kernel = random.normal(size=(inputs, units)) * np.sqrt(2 / inputs)
        network += [Dense(kernel, random.normal(size=units) * 0.1, f"fc{index}"), Relu()]
    return network[:-1]


def convolutional(seed, *behind):
    """A random convolution with batch normalisation, what is named, two dense layers."""
    random = np.random.default_rng(seed)
    norm = Affine.batch_norm(
        random.normal(size=3) * 0.1,
        random.uniform(0.5, 2, 3),
        random.uniform(0.5, 1.5, 3),
        random.normal(size=3) * 0.1,
    )
    return [
        Conv(random.normal(size=(3, 3, 1, 3)) * 0.4, random.normal(size=3) * 0.1, name="conv"),
        norm,
        *behind,
        Dense(random.normal(size=(12, 5)) * 0.4, np.zeros(5), "fc"),
        Relu(),
        Dense(random.normal(size=(5, 3)) * 0.8, np.zeros(3), "out"),
    ]


def two_convolutions(seed, *behind):
    """Two random convolutions, so that what a maximum is taken of leaves its bounds."""
    random = np.random.default_rng(seed)
    return [
        Conv(random.normal(size=(2, 2, 1, 3)) * 0.5, random.normal(size=3) * 0.1, name="c1"),
        Relu(),
        Conv(
            random.normal(size=(2, 2, 3, 3)) * 0.4,
            random.normal(size=3) * 0.2,
            padding=((0, 1), (0, 0)),
            name="c2",
        ),
        *behind,
        Dense(random.normal(size=(12, 3)) * 0.6, np.zeros(3), "out"),
    ]


@functools.cache
def trained_perceptron():
    """Digits, 64-12-8-10."""
    images, labels = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it has converged
        found = MLPClassifier((12, 8), max_iter=25, random_state=0).fit(
            images[:800] / 16, labels[:800]
        )
    network = []
    for index, (kernel, bias) in enumerate(zip(found.coefs_, found.intercepts_, strict=True)):
        network += [Dense(kernel, bias, f"fc{index}"), Relu()]
    return network[:-1]


@functools.cache
def trained_convolution():
    """Digits, a convolution of 3 filters, a 2x2 average pool, a dense layer."""
    images, labels = load_digits(return_X_y=True)
    images = jnp.asarray(images[:200].reshape(-1, 8, 8, 1) / 16, jnp.float32)
    labels = jnp.asarray(labels[:200])
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "kernel": jax.random.normal(keys[0], (3, 3, 1, 3)) * jnp.float32(0.4),
        "dense": jax.random.normal(keys[1], (27, 10)) * jnp.float32(0.3),
        "bias": jnp.zeros(10),
    }

    def loss(params):
        hidden = jax.nn.relu(
            jax.lax.conv_general_dilated(
                images,
                params["kernel"],
                (1, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        )
        hidden = hidden.reshape(-1, 3, 2, 3, 2, 3).mean(axis=(2, 4)).reshape(-1, 27)
        logits = hidden @ params["dense"] + params["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params):
        slopes = jax.grad(loss)(params)
        return jax.tree.map(lambda value, slope: value - jnp.float32(1) * slope, params, slopes)

    for _ in range(100):
        params = step(params)
    return [
        Conv(np.asarray(params["kernel"], np.float64), name="conv"),
        Relu(),
        AveragePool((2, 2)),
        Dense(np.asarray(params["dense"], np.float64), np.asarray(params["bias"]), "out"),
    ]


def digits(count):
    """The first images of each class, and their labels."""
    images, labels = load_digits(return_X_y=True)
    first = np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)])
    return images[first] / 16, labels[first]


def random_batch(seed, shape, batch, classes=3):
    """Images in [0, 1] and labels."""
    images = np.random.default_rng(seed + 99).uniform(size=(batch, *shape))
    return images, np.arange(batch) % classes


CASES = {
    "dense": lambda: (perceptron(0, (6, 7, 5, 3)), *random_batch(0, (6,), 4)),
    "three dense": lambda: (perceptron(1, (6, 6, 5, 5, 3)), *random_batch(1, (6,), 4)),
    "maximum, then ReLU": lambda: (
        convolutional(2, MaxPool((2, 2)), Relu()),
        *random_batch(2, (6, 6, 1), 3),
    ),
    "ReLU, then maximum": lambda: (
        convolutional(3, Relu(), MaxPool((2, 2))),
        *random_batch(3, (6, 6, 1), 3),
    ),
    "average, then ReLU": lambda: (
        convolutional(4, AveragePool((2, 2)), Relu()),
        *random_batch(4, (6, 6, 1), 3),
    ),
    "ReLU, then adaptive average": lambda: (
        convolutional(5, Relu(), AdaptiveAveragePool((2, 2))),
        *random_batch(5, (6, 6, 1), 3),
    ),
    "two convolutions, ReLU, then maximum": lambda: (
        two_convolutions(1, Relu(), MaxPool((2, 2))),
        *random_batch(1, (6, 6, 1), 3),
    ),
    "two convolutions, maximum, then ReLU": lambda: (
        two_convolutions(1, MaxPool((2, 2)), Relu()),
        *random_batch(1, (6, 6, 1), 3),
    ),
    "a maximum of one entry": lambda: (
        convolutional(6, Relu(), MaxPool((1, 1), (2, 2))),
        *random_batch(6, (5, 5, 1), 3),
    ),
    "ReLU first": lambda: (
        [Relu(), *perceptron(2, (6, 5, 3))],
        random_batch(2, (6,), 4)[0] - 0.5,
        np.arange(4) % 3,
    ),
    "maximum first": lambda: (
        [MaxPool((2, 2)), *perceptron(1, (4, 5, 3))],
        *random_batch(7, (4, 4, 1), 4),
    ),
    "trained dense, batch 10": lambda: (trained_perceptron(), *digits(1)),
    "trained dense, batch 20": lambda: (trained_perceptron(), *digits(2)),
    "trained convolution": lambda: (
        trained_convolution(),
        digits(1)[0][:3].reshape(-1, 8, 8, 1),
        digits(1)[1][:3],
    ),
}


def problem(name, **how):
    """A case as a problem."""
    return Problem(*CASES[name](), **how)


FINE = Settings(gap=1e-5, time_limit=60)


FINE_HIGHS = Settings(gap=1e-5, time_limit=60, backend="highs")


def agreed(*solutions):
    """Solutions of one problem, each certified, all with the same objective."""
    for solution in solutions:
        assert solution.status == "optimal"
        assert solution.violation < 1e-6
        assert solution.bound <= solution.objective + 1e-6
        assert solution.bound_scope == "paper-restriction"
        assert all(np.all((s >= 0) & (s <= 1)) for s in solution.scores)
        assert solution.trajectory[-1][1:] == (solution.objective, solution.bound)
    objectives = [solution.objective for solution in solutions]
    assert max(objectives) - min(objectives) < 2e-4
    for one, other in itertools.permutations(solutions, 2):
        assert one.bound <= other.objective + 1e-5


def milp(program, only=None):
    """The optimum by SciPy, of some rows or all; None without a solution."""
    whole = np.zeros(len(program.costs))
    whole[program.binary] = 1
    rows = slice(None) if only is None else [program.rows.index(name) for name in only]
    found = scipy.optimize.milp(
        program.costs if only is None else np.zeros(len(program.costs)),
        integrality=whole,
        bounds=scipy.optimize.Bounds(program.lower, program.upper),
        constraints=scipy.optimize.LinearConstraint(
            program.matrix[rows], program.row_lower[rows], program.row_upper[rows]
        ),
        options={"mip_rel_gap": 0},
    )
    return found.fun
