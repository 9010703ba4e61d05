"""Layer groups that have several methods to choose from."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import UsageError
from evomerge.merge.methods import METHODS
from evomerge.records import GroupRecipe, Recipe
from evomerge.search.space import SearchSpace

SPACE = SearchSpace(
    {
        "embeddings": (METHODS["linear"],),
        "layers.0-1": (METHODS["task_arithmetic"], METHODS["ties"], METHODS["nearswap"]),
    },
    ("math", "german"),
)
N_DIMS = SPACE.n_dims
GENOMES = st.lists(st.floats(0.0, 1.0), min_size=N_DIMS, max_size=N_DIMS).map(np.array)


def at(**genes: float) -> np.ndarray:
    """The genome of halves but for these genes, `/` being written `__`."""
    named = {
        name.replace("__", "/").replace("layers", "layers.0-1"): g for name, g in genes.items()
    }
    assert named.keys() <= set(SPACE.names)
    return np.array([named.get(name, 0.5) for name in SPACE.names])


def test_a_group_with_a_choice_has_a_gene_for_it_and_methods_share_genes_by_name() -> None:
    assert SPACE.names == (
        "embeddings/coefficient/math",
        "embeddings/coefficient/german",
        "layers.0-1/method",
        "layers.0-1/coefficient/math",
        "layers.0-1/coefficient/german",
        "layers.0-1/density/math",
        "layers.0-1/density/german",
        "layers.0-1/t/math",
        "layers.0-1/t/german",
    )


@pytest.mark.parametrize(
    ("gene", "method"),
    [
        (0.0, "task_arithmetic"),
        (0.34, "ties"),
        (0.66, "ties"),
        (0.67, "nearswap"),
        (1.0, "nearswap"),
    ],
)
def test_methods_have_equal_parts_of_their_gene(gene: float, method: str) -> None:
    assert SPACE.decode(at(layers__method=gene)).groups["layers.0-1"].method == method


def test_a_recipe_holds_the_parameters_of_the_chosen_method_alone() -> None:
    group = SPACE.decode(at(layers__method=0.9, layers__t__math=0.0)).groups["layers.0-1"]
    assert group.values.keys() == {"coefficient", "t"}
    assert group.values["t"][0] == 1e-5


def test_genes_that_the_chosen_method_does_not_use_change_nothing() -> None:
    one = SPACE.candidate(0, at(layers__method=0.0, layers__density__math=0.1))
    other = SPACE.candidate(0, at(layers__method=0.1, layers__density__math=0.9))
    assert one == other


@given(GENOMES)
def test_every_candidate_is_its_genome_s_canonical_form(genome: np.ndarray) -> None:
    candidate = SPACE.candidate(3, genome)
    again = SPACE.candidate(3, np.array(candidate.genome))
    assert again == candidate
    assert SPACE.decode(SPACE.encode(candidate.recipe)) == candidate.recipe


def recipe_with(method: str, names: Sequence[str]) -> Recipe:
    groups = dict(SPACE.decode(at()).groups)
    groups["layers.0-1"] = GroupRecipe(method, dict.fromkeys(names, (0.5, 0.5)))
    return Recipe(("math", "german"), groups)


@pytest.mark.parametrize(
    ("method", "names"),
    [("linear", ["coefficient"]), ("ties", ["coefficient"]), ("task_arithmetic", ["t"])],
)
def test_a_recipe_of_a_method_that_is_no_choice_is_refused(
    method: str, names: Sequence[str]
) -> None:
    with pytest.raises(UsageError, match="is not of this search space"):
        SPACE.encode(recipe_with(method, names))
