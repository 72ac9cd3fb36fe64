"""Eight forced host devices against one, in processes of their own: the flag is read at start."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, jax, jax.numpy as jnp
from prunejax import allocation, criteria, data, masks, models, training

jax.config.update("jax_enable_x64", sys.argv[1] == "float64")
whole = data.load("digits")
split = data.Split(whole.images[:256].astype(sys.argv[1]), whole.labels[:256])
if sys.argv[2] == "mlp":
    model = models.build("mlp", num_classes=10)
else:
    model = models.build("resnet8", num_classes=10, stem_width=4, stage_widths=(4, 8, 8))
key = jax.random.key(0)
params, stats = training.init_variables(model, key, jnp.zeros((1, 8, 8, 1)))
params, stats = jax.tree.map(lambda leaf: leaf.astype(sys.argv[1]), (params, stats))
made = masks.make(params)
made = allocation.allocate(criteria.random(params, made, None, loss_fn=None, key=key), 0.5)
tx = training.masked(training.optimizer("sgd", 0.01, weight_decay=5e-4))
state = training.init_state(params, stats, tx, key=key, masks=made)
step = training.make_train_step(model, tx, augment=data.augment)
placement = training.data_parallel()
state, history = training.fit(state, step, split, epochs=2, batch_size=64)
kernel = state.params["classifier"]["kernel"]
batch = jax.device_put(split.images[:64], placement.batch)
tested = training.evaluate(training.make_eval_step(model), state.params, state.batch_stats, split)
print(json.dumps({
    "devices": len(jax.devices()),
    "losses": [row["loss"] for row in history] + [tested["loss"]],
    "devices of a parameter": len(kernel.sharding.device_set),
    "rows on one device": batch.addressable_shards[0].data.shape[0],
}))
"""


def run(devices, dtype, model):
    environment = dict(os.environ, XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, dtype, model],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


# Many layers of batch normalisation amplify float32's rounding (the order of a sum) to 5e-4
# within a step, on one device as on eight; in float64 the same program shows that nothing else
# differs.
@pytest.mark.parametrize(
    "dtype, model, rel",
    [
        ("float32", "mlp", 1e-5),
        pytest.param("float64", "resnet", 1e-9, marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_the_losses_of_one(dtype, model, rel):
    one, eight = run(1, dtype, model), run(8, dtype, model)
    assert one["devices"] == 1
    assert eight["devices"] == eight["devices of a parameter"] == 8
    assert eight["rows on one device"] == 8
    assert eight["losses"] == pytest.approx(one["losses"], rel=rel)


def test_batches_that_cannot_be_shared_are_refused():
    from prunejax.training.parallel import check_batch_size, data_parallel

    placement = data_parallel()._replace(devices=8)
    check_batch_size(64, placement)
    with pytest.raises(ValueError, match="batch of 60 cannot be divided among 8 devices"):
        check_batch_size(60, placement)
    with pytest.raises(ValueError, match="at least one device"):
        data_parallel([])
