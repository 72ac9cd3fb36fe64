import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from prunejax.data import augment

jitted = jax.jit(augment, static_argnames="padding")


def images_of(count, dtype=np.float32, shape=(6, 5, 3)):
    """Images whose pixels all differ from zero, and mostly from each other."""
    return np.random.default_rng(0).integers(1, 256, (count, *shape)).astype(dtype)


def every_variant(image, padding):
    """{(row, column, flipped): image}, by slow loops over one image."""
    height, width, _ = image.shape
    variants = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            for flipped in (False, True):
                variant = np.zeros_like(image)
                for row in range(height):
                    for column in range(width):
                        r = row + top - padding
                        c = (width - 1 - column if flipped else column) + left - padding
                        if 0 <= r < height and 0 <= c < width:
                            variant[row, column] = image[r, c]
                variants[top, left, flipped] = variant
    return variants


def find(variants, image):
    (found,) = [name for name, variant in variants.items() if np.array_equal(variant, image)]
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, jnp.bfloat16])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_every_image_is_one_crop_and_flip_of_itself(dtype, padding):
    images = images_of(12, dtype)
    result = jitted(jax.random.key(0), images, padding=padding)
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    names = {
        find(every_variant(image, padding), after)
        for image, after in zip(images, np.asarray(result), strict=True)
    }
    assert len(names) >= (2 if padding == 0 else 5)  # each image draws its own


def test_all_crops_and_flips_are_equally_likely_and_independent():
    image = images_of(1)[0]
    count = 18 * 500
    result = jitted(jax.random.key(1), np.broadcast_to(image, (count, *image.shape)), padding=1)
    variants = every_variant(image, 1)
    by_bytes = {variant.tobytes(): name for name, variant in variants.items()}
    seen = [by_bytes[after.tobytes()] for after in np.asarray(result)]
    counts = [seen.count(name) for name in variants]
    assert len(counts) == 18
    assert max(abs(n - 500) for n in counts) < 5 * 500**0.5  # five standard deviations


def test_the_key_decides():
    images = images_of(8)
    first = jitted(jax.random.key(0), images)
    np.testing.assert_array_equal(first, jitted(jax.random.key(0), images))
    np.testing.assert_array_equal(first, augment(jax.random.key(0), images))  # not under jit
    assert not np.array_equal(first, jitted(jax.random.key(1), images))


def test_a_crop_may_lie_wholly_outside():
    images = images_of(200, shape=(2, 2, 1))
    result = np.asarray(jitted(jax.random.key(0), images))  # padding is 4
    assert any(not image.any() for image in result)


def test_gradients_reach_the_pixels_that_stayed_in_view():
    images = images_of(3)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: augment(jax.random.key(0), x).sum()))(
        images
    )
    assert set(np.unique(gradient)) == {0, 1}
    assert (gradient * images).sum() == value


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        augment(jax.random.key(0), images_of(2), padding=-1)
    with pytest.raises((ValueError, TypeCheckError)):
        augment(jax.random.key(0), images_of(2)[0])
