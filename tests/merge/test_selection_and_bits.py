"""The exact selection by radix and the counter-based random bits."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.merge.random_bits import N_VALUES, random_bits, stream_key
from evomerge.merge.selection import kth_largest, kth_largest_magnitude

FLOATS = st.floats(width=32, allow_nan=False)


@given(st.lists(FLOATS, min_size=1, max_size=60), st.data())
@settings(max_examples=50)
def test_radix_selection_finds_the_kth_largest_magnitude(values, data):
    k = data.draw(st.integers(1, len(values)))
    size = data.draw(st.integers(1, len(values)))
    tensor = torch.tensor(values, dtype=torch.float32)
    found = kth_largest_magnitude(lambda: tensor.split(size), k)
    assert found == tensor.abs().sort(descending=True).values[k - 1].item()


@given(st.lists(FLOATS, min_size=1, max_size=60), st.data())
@settings(max_examples=30)
def test_radix_selection_knows_signs(values, data):
    ranks = data.draw(st.lists(st.integers(1, len(values)), min_size=1, max_size=3))
    tensor = torch.tensor(values, dtype=torch.float32)
    descending = tensor.sort(descending=True).values.tolist()
    assert kth_largest(lambda: tensor.split(7), ranks) == tuple(descending[k - 1] for k in ranks)


def test_radix_selection_counts_ties():
    tensor = torch.tensor([0.0, 0.0, 0.0, 2.0, -2.0, 1.0])
    assert [kth_largest_magnitude(lambda: [tensor], k) for k in range(1, 7)] == [2, 2, 1, 0, 0, 0]


def plain_bits(key, index):
    """The same hash on NumPy's unsigned integers."""
    x = (index + np.uint32(key[0] % 2**32)).astype(np.uint32)
    x ^= x >> np.uint32(17)
    x *= np.uint32(0xED5AD4BB)
    x ^= np.uint32(key[1] % 2**32)
    x ^= x >> np.uint32(11)
    x *= np.uint32(0xAC4C1B51)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x31848BAB)
    x ^= x >> np.uint32(14)
    return x >> np.uint32(8)


@given(st.integers(0, 2**33), st.integers(1, 70), st.integers(0, 1000))
def test_bits_are_the_hash_of_the_index_wherever_a_chunk_starts(start, n, seed):
    key = stream_key(seed, "math", "model.norm.weight")
    index = (np.arange(start, start + n, dtype=np.uint64) % 2**32).astype(np.uint32)
    np.testing.assert_array_equal(random_bits(key, start, n).numpy(), plain_bits(key, index))


def test_bits_are_uniform_and_streams_unrelated():
    n = 200_000
    keys = [(0, "a", "w"), (0, "b", "w"), (0, "a", "v"), (1, "a", "w")]
    streams = np.stack([random_bits(stream_key(*key), 0, n).numpy() for key in keys]) / N_VALUES
    counts = np.stack([np.histogram(stream, 100, (0, 1))[0] for stream in streams])
    chi_squared = ((counts - n / 100) ** 2 / (n / 100)).sum(1)  # 99 degrees of freedom
    assert np.all((chi_squared > 50) & (chi_squared < 165))
    correlation = np.corrcoef(np.concatenate([streams, streams[:1, ::-1]]))
    assert np.abs(correlation - np.eye(5)).max() < 5 / n**0.5
    neighbours = np.corrcoef(streams[0, 1:], streams[0, :-1])[0, 1]
    assert abs(neighbours) < 5 / n**0.5


def test_keys_tell_apart_names_that_run_together():
    assert stream_key(0, "ab", "c") != stream_key(0, "a", "bc")
