"""Hashes of files and of weights."""

import hashlib

import jax.numpy as jnp
import numpy as np

from jaxgen.io.hashes import file_hash, tensors_hash, weights_hash

TENSORS = {'b': np.arange(6, dtype=np.float32).reshape(2, 3), 'a': np.float32(1.5)}


def test_the_hash_of_tensors_covers_names_shapes_and_values():
    same = {'a': np.float64(1.5), 'b': TENSORS['b'].astype(np.float16)}  # neither order nor type matters
    assert tensors_hash(same) == tensors_hash(TENSORS)
    for other in (
        {**TENSORS, 'a': np.float32(1.25)},
        {**TENSORS, 'b': TENSORS['b'].T},
        {'c': TENSORS['b'], 'a': TENSORS['a']},
    ):
        assert tensors_hash(other) != tensors_hash(TENSORS)


def test_the_hash_of_weights_names_them_by_path():
    tree = {'layer': {'kernel': jnp.ones((2, 2)), 'bias': jnp.zeros(2)}}
    flat = {"['layer']['kernel']": np.ones((2, 2)), "['layer']['bias']": np.zeros(2)}
    assert weights_hash(tree) == tensors_hash(flat)


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc')
    assert file_hash(tmp_path / 'x') == hashlib.sha256(b'abc').hexdigest()
