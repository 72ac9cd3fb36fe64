"""Networks of Keras and of Keras-hub, on its JAX backend; each is built from nothing, and small."""

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from tests.network.zoo.entry import Built, Entry, image, one_more, perturbed, words


def libraries(*names: str) -> tuple[Any, ...]:
    """Imports Keras on JAX, and what else is named, whose own warnings are not of interest."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(__import__(name) for name in names)


def stateless(make: Callable[..., Any], x: Any, *, package: str, training: bool) -> Built:
    """A Keras model as Keras's own guide to JAX calls it: two lists of variables."""
    imported = libraries("keras", package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imported[0].utils.set_random_seed(0)
        model = make(imported[-1])
        if not model.built:
            model(x)
    trainable = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]

    def apply_fn(variables, x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs, state = model.stateless_call(*variables, x, training=training)
        return (outputs, state) if training else outputs

    return Built(apply_fn, perturbed((trainable, rest)), x, one_more(x))


def convolutional(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.SeparableConv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("swish"),
            layers.MaxPooling2D(),
            layers.Conv2D(10, 3, groups=2),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(4),
        ]
    )


def residual(keras):
    layers = keras.layers
    x = given = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(x)
    for _ in range(2):
        y = layers.Conv2D(6, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        y = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(y)))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(given, layers.Dense(4)(x))


def recurrent(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(11, 6),
            layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
            layers.GRU(7),
            layers.Dense(4),
        ]
    )


def transformer(keras):
    layers = keras.layers
    given = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 12)(given)
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 6)(x, x, use_causal_mask=True)
        x = layers.LayerNormalization()(x + y)
        y = layers.Dense(12)(layers.Dense(16, activation="gelu")(x))
        x = layers.LayerNormalization()(x + y)
    return keras.Model(given, layers.Dense(11)(x))


def mobilenet(keras):
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.05, weights=None, classes=4)


def keras_entry(name, make, x, returned=4, training=False, **details):
    def build():
        return stateless(make, x(), package="keras", training=training)

    state = (lambda outputs: (outputs[0], (None, outputs[1]))) if training else None
    return Entry(
        name,
        "keras",
        build,
        returned=returned,
        package="keras",
        training=training,
        state=state,
        **details,
    )


SIZES = {"vocabulary_size": 11, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 16}
QUERIES = {"num_query_heads": 4, "num_key_value_heads": 2}


def tokens(length=5):
    given = words(2, length, 11)
    return {"token_ids": given, "padding_mask": jnp.ones_like(given)}


def segmented():
    return tokens() | {"segment_ids": jnp.zeros((2, 5), jnp.int32)}


def sound_and_words():
    given = tokens()
    return {
        "encoder_features": image(2, 8, 5),
        "decoder_token_ids": given["token_ids"],
        "decoder_padding_mask": given["padding_mask"],
    }


def both_sides():
    return {
        f"{side}_{name}": leaf for side in ("encoder", "decoder") for name, leaf in tokens().items()
    }


def small(cls, **settings):
    """A backbone, and a dense layer on the last of what it returns."""

    def make(keras_hub):
        import keras

        backbone = getattr(keras_hub.models, f"{cls}Backbone")(**settings)
        last = backbone.output
        if isinstance(last, dict):
            last = last[next(n for n in ("pooled_output", "decoder_sequence_output") if n in last)]
        return keras.Model(backbone.input, keras.layers.Dense(3)(last))

    return make


def hub_entry(name, make, x, returned=3, **details):
    def build():
        return stateless(make, x(), package="keras_hub", training=False)

    return Entry(
        name,
        "keras-hub",
        build,
        returned=returned,
        package="keras_hub",
        **details,
    )


pixels = functools.partial(image, 2, 8, 8, 3)
HUB = {
    "hub_bert": (small("Bert", **SIZES, num_heads=2, max_sequence_length=8), segmented),
    "hub_gpt2": (small("GPT2", **SIZES, num_heads=2, max_sequence_length=8), tokens),
    "hub_llama": (small("Llama", **SIZES, **QUERIES), tokens),
    "hub_gemma": (small("Gemma", **SIZES, **QUERIES, head_dim=6), tokens),
    "hub_mistral": (small("Mistral", **SIZES, **QUERIES), tokens),
    "hub_mixtral": (small("Mixtral", **SIZES, **QUERIES, num_experts=3), tokens),
    "hub_gpt_neox": (small("GPTNeoX", **SIZES, num_heads=2, rotary_percentage=0.5), tokens),
    "hub_t5": (small("T5", **SIZES, num_heads=2), both_sides),
    "hub_whisper": (
        small(
            "Whisper",
            **SIZES,
            num_heads=2,
            num_mels=5,
            max_encoder_sequence_length=8,
            max_decoder_sequence_length=6,
        ),
        sound_and_words,
    ),
}

series = functools.partial(words, 2, 5, 11)
ENTRIES = (
    keras_entry("keras_convolutional", convolutional, pixels),
    keras_entry("keras_convolutional_training", convolutional, pixels, training=True),
    keras_entry("keras_residual", residual, pixels),
    keras_entry("keras_residual_training", residual, pixels, training=True),
    keras_entry(
        "keras_recurrent",
        recurrent,
        series,
        channels=6 + 2 * (2 * 4 * 8) + 2 * 3 * 7 + 4,
    ),
    keras_entry("keras_transformer", transformer, series, 11),
    keras_entry("keras_mobilenet_v2", mobilenet, lambda: image(2, 32, 32, 3)),
    *(hub_entry(name, *made) for name, made in HUB.items()),
)
