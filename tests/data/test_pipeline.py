"""The order of the data and the threads that prepare it."""

import threading

import numpy as np
import pytest

from jaxgen.data import pipeline
from jaxgen.data.dataset import Dataset

DATASET = Dataset(
    np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10, dtype=np.int32), tuple('abcdefghij')
)


def test_every_example_comes_once_per_epoch():
    """Twenty batches of 4 examples are 8 epochs of 10 examples; each epoch is a permutation."""
    order = np.concatenate([pipeline.example_indices(0, step, 4, 10) for step in range(20)]).reshape(8, 10)
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(10), (8, 1)))
    assert len({tuple(epoch) for epoch in order}) == 8


def test_order_is_a_function_of_seed_and_step():
    assert np.array_equal(pipeline.example_indices(3, 7, 4, 10), pipeline.example_indices(3, 7, 4, 10))
    orders = {tuple(pipeline.example_indices(seed, 0, 10, 10)) for seed in range(5)}
    assert len(orders) == 5


def test_a_batch_larger_than_the_data():
    got = np.sort(pipeline.example_indices(0, 0, 25, 10))
    assert {2, 3} == set(np.bincount(got))


def test_processes_read_parts_of_one_batch():
    whole = pipeline.batch(DATASET, 0, 5, 8)
    parts = [pipeline.batch(DATASET, 0, 5, 8, pipeline.process_part(8, i, 4)) for i in range(4)]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])
    np.testing.assert_array_equal(whole['image'][:, 0, 0, 0], whole['label'])


def test_prefetcher_keeps_the_order_and_passes_errors_on():
    fetched = pipeline.Prefetcher(iter(range(5)), lambda i: 10 // (4 - i))
    assert [next(fetched) for _ in range(4)] == [2, 3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(fetched)
    fetched.close()
    assert fetched.waited > 0


def test_closing_a_prefetcher_stops_its_threads():
    fetched = pipeline.Prefetcher(iter(range(10**9)), lambda i: i)
    assert next(fetched) == 0
    fetched.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('batches')]


def test_prefetcher_keeps_the_order_of_threads_that_overtake():
    """Each even item waits until another thread has done the next odd item."""
    done = [threading.Event() for _ in range(20)]

    def make(i):
        if i % 2 == 0:
            assert done[i + 1].wait(30)
        done[i].set()
        return i

    fetched = pipeline.Prefetcher(iter(range(20)), make, ahead=4, threads=2)
    assert list(fetched) == list(range(20))
    fetched.close()


def test_prefetcher_stays_a_few_items_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    fetched = pipeline.Prefetcher(items(), lambda i: i, ahead=3)
    assert len(taken) == 3 and next(fetched) == 0 and len(taken) == 4
    fetched.close()
