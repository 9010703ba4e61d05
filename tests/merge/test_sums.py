"""Sums over tensors, rows and columns do not depend on who takes them, and are float64's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evomerge.merge import sums
from evomerge.merge.sums import column_sums, row_sums, total


def terms(tensor):
    return lambda span: tensor.view(-1)[span]


@settings(max_examples=60)
@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=7), st.sampled_from([1, 5, 16, 1 << 14]))
def test_blocks_of_any_size_add_up_to_the_sums_of_torch(shape, block):
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "_BLOCK", block)
        assert total(shape, terms(tensor)) == pytest.approx(tensor.sum().item())
        assert torch.allclose(row_sums(shape, terms(tensor)).view(shape[:-1]), tensor.sum(-1))
        if len(shape) > 1:
            columns = column_sums(shape, terms(tensor)).view(*shape[:-2], shape[-1])
            assert torch.allclose(columns, tensor.sum(-2))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_sums_do_not_depend_on_the_number_of_threads(n_threads):
    tensor = torch.rand(300, 500, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        found = total(tensor.shape, terms(tensor))
    finally:
        torch.set_num_threads(before)
    assert found == total(tensor.shape, terms(tensor))
