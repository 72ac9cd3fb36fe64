"""What each pruning method costs, in training steps of the same network on the same batch."""

from typing import Any

import jax

from benchmarks.steps import CASES, network
from benchmarks.timing import in_turns
from experiments.common.methods import METHODS, Subject
from prunejax import masks, training
from prunejax.network import trace


def run() -> list[dict[str, Any]]:
    """Rows: model, method, milliseconds (all rounds and the allocation), training steps."""
    rows = []
    key = jax.random.key(0)
    for name, (_, _, repeats) in CASES.items():
        model, batch, params, stats = network(name)
        tx = training.masked(training.optimizer("sgd", 0.01))
        step = training.make_train_step(model, tx)
        state = training.init_state(params, stats, tx, key=key)
        subject = Subject(
            params=params,
            masks=masks.make(params),
            batch=batch,
            training_loss=training.classification_loss(model, stats),
            softened_loss=training.classification_loss(model, stats, temperature=200.0),
            evaluation_loss=training.classification_loss(model, stats, train=False),
            network=trace(
                model.apply, {"params": params, **training.stats_collection(stats)}, batch[0][:1]
            ),
            batch_stats=stats,
            key=key,
        )

        def one_step(step: Any = step, batch: Any = batch) -> Any:
            nonlocal state
            state = step(state, batch)
            return state

        contestants: dict[str, Any] = {"one training step": one_step}
        for method in ("random", "magnitude", "snip", "grasp", "synflow", "prospr", "erk"):
            contestants[method] = lambda method=method, subject=subject: METHODS[method](
                subject, 0.9
            )
        seconds = in_turns(contestants, repeats=max(3, repeats // 30), warmup=1)
        rows += [
            {
                "model": name,
                "method": method,
                "ms": 1e3 * value,
                "training steps": value / seconds["one training step"],
            }
            for method, value in seconds.items()
        ]
    return rows
