"""Eight forced host devices against one, in processes of their own: the flag is read at start."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, jax, jax.numpy as jnp
from prunejax import allocation, criteria, data, masks, models, training

whole = data.load("digits")
split = data.Split(whole.images[:256], whole.labels[:256])
model = models.build("resnet20", num_classes=10, stem_width=4, stage_widths=(4, 8, 8))
key = jax.random.key(0)
params, stats = training.init_variables(model, key, jnp.zeros((1, 8, 8, 1)))
made = masks.make(params)
made = allocation.allocate(criteria.random(params, made, None, loss_fn=None, key=key), 0.5)
tx = training.masked(training.optimizer("sgd", 0.01, weight_decay=5e-4))
state = training.init_state(params, stats, tx, key=key, masks=made)
step = training.make_train_step(model, tx, augment=data.augment)
losses = []
placement = training.data_parallel()
for batch in data.prefetch(data.batches(split, batch_size=64, key=key), sharding=placement.batch):
    pass
state, history = training.fit(state, step, split, epochs=2, batch_size=64)
kernel = state.params["classifier"]["kernel"]
tested = training.evaluate(training.make_eval_step(model), state.params, state.batch_stats, split)
print(json.dumps({
    "devices": len(jax.devices()),
    "losses": [row["loss"] for row in history] + [tested["loss"]],
    "devices of a parameter": len(kernel.sharding.device_set),
    "devices of a batch": len(batch[0].sharding.device_set),
    "rows on one device": batch[0].addressable_shards[0].data.shape[0],
}))
"""


def run(devices):
    environment = dict(os.environ, XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_eight_devices_give_the_losses_of_one():
    one, eight = run(1), run(8)
    assert one["devices"] == 1
    assert eight["devices"] == eight["devices of a parameter"] == eight["devices of a batch"] == 8
    assert eight["rows on one device"] == 8
    assert eight["losses"] == pytest.approx(one["losses"], rel=1e-5)


def test_batches_that_cannot_be_shared_are_refused():
    from prunejax.training.parallel import check_batch_size, data_parallel

    placement = data_parallel()._replace(devices=8)
    check_batch_size(64, placement)
    with pytest.raises(ValueError, match="batch of 60 cannot be divided among 8 devices"):
        check_batch_size(60, placement)
    with pytest.raises(ValueError, match="at least one device"):
        data_parallel([])
