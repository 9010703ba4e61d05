"""Genomes, recipes, and the way between them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import ShapeError, UsageError
from evomerge.records import GroupRecipe, Recipe
from evomerge.search.space import SearchSpace

N_DIMS = 15
GENOMES = st.lists(st.floats(0.0, 1.0), min_size=N_DIMS, max_size=N_DIMS).map(np.array)


def test_there_is_one_gene_for_each_group_parameter_and_expert(space: SearchSpace) -> None:
    assert space.n_dims == len(space.names) == N_DIMS
    assert space.names[:5] == (
        "embeddings/coefficient/math",
        "embeddings/coefficient/german",
        "embeddings/rate/math",
        "embeddings/rate/german",
        "embeddings/density",
    )
    assert len(set(space.names)) == N_DIMS


@given(GENOMES)
def test_decoding_stays_within_the_bounds(space: SearchSpace, genome: np.ndarray) -> None:
    for group in space.decode(genome).groups.values():
        assert all(-0.5 <= value <= 1.5 for value in group.values["coefficient"])
        assert all(1e-7 <= value <= 3e-1 for value in group.values["rate"])
        assert 1 / 3 <= group.values["density"] <= 1.0


@given(GENOMES)
def test_encoding_a_recipe_and_decoding_it_returns_the_recipe(
    space: SearchSpace, genome: np.ndarray
) -> None:
    recipe = space.decode(genome)
    assert space.decode(space.encode(recipe)) == recipe


@given(GENOMES)
def test_decoding_a_canonical_genome_and_encoding_it_returns_the_genome(
    space: SearchSpace, genome: np.ndarray
) -> None:
    canonical = space.encode(space.decode(genome))
    np.testing.assert_array_equal(space.encode(space.decode(canonical)), canonical)


@given(GENOMES)
def test_a_genome_lies_close_to_its_canonical_form(space: SearchSpace, genome: np.ndarray) -> None:
    np.testing.assert_allclose(space.encode(space.decode(genome)), genome, atol=1e-6)


@given(GENOMES)
def test_a_candidate_carries_the_canonical_genome_of_its_recipe(
    space: SearchSpace, genome: np.ndarray
) -> None:
    candidate = space.candidate(7, genome)
    assert candidate.number == 7
    assert space.candidate(7, np.array(candidate.genome)) == candidate


@pytest.mark.parametrize(("gene", "edge"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_the_unit_cube_are_the_bounds_to_the_last_bit(
    space: SearchSpace, gene: float, edge: int
) -> None:
    group = space.decode(np.full(N_DIMS, gene)).groups["head"]
    assert group.values["coefficient"] == ((-0.5, 1.5)[edge],) * 2
    assert group.values["rate"] == ((1e-7, 3e-1)[edge],) * 2
    assert group.values["density"] == (1 / 3, 1.0)[edge]


def test_the_middle_of_a_log_parameter_is_the_geometric_mean(space: SearchSpace) -> None:
    recipe = space.decode(np.full(N_DIMS, 0.5))
    assert recipe.groups["head"].values["rate"] == pytest.approx((np.sqrt(3e-8),) * 2, rel=1e-5)


def test_values_that_round_to_the_same_number_have_one_digest(space: SearchSpace) -> None:
    genome = np.full(N_DIMS, 0.25)
    assert space.decode(genome).digest == space.decode(genome + 1e-9).digest
    assert space.decode(genome).digest != space.decode(genome + 1e-3).digest


def test_a_genome_of_another_length_is_refused(space: SearchSpace) -> None:
    with pytest.raises(ShapeError, match=r"shape \(3,\), expected \(15,\)"):
        space.decode(np.zeros(3))


@pytest.mark.parametrize("gene", [-0.1, 1.1, np.nan, np.inf])
def test_a_gene_outside_the_unit_cube_is_refused_by_name(space: SearchSpace, gene: float) -> None:
    genome = np.full(N_DIMS, 0.5)
    genome[4] = gene
    with pytest.raises(UsageError, match=rf"embeddings/density is {gene}, expected a number in"):
        space.decode(genome)


def foreign_recipes(recipe: Recipe) -> list[Recipe]:
    group = recipe.groups["head"]
    return [
        replace(recipe, experts=("german", "math")),
        replace(recipe, seed=6),
        replace(recipe, groups={"head": group}),
        replace(recipe, groups={**recipe.groups, "head": replace(group, method="ties")}),
        replace(recipe, groups={**recipe.groups, "head": GroupRecipe("made_up", {})}),
        replace(
            recipe,
            groups={
                **recipe.groups,
                "head": replace(group, values={**group.values, "coefficient": 1.0}),
            },
        ),
    ]


def test_a_recipe_of_another_space_is_refused(space: SearchSpace) -> None:
    for recipe in foreign_recipes(space.decode(np.full(N_DIMS, 0.5))):
        with pytest.raises(UsageError, match="is not of this search space"):
            space.encode(recipe)


def test_a_value_outside_its_bounds_is_refused(space: SearchSpace) -> None:
    recipe = space.decode(np.full(N_DIMS, 0.5))
    group = recipe.groups["head"]
    wild = replace(group, values={**group.values, "density": 1.5})
    with pytest.raises(UsageError, match=r"density is 1\.5, expected a number in"):
        space.encode(replace(recipe, groups={**recipe.groups, "head": wild}))


def test_a_space_without_genes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2 experts and 0 layer groups .* have nothing to search"):
        SearchSpace({}, ("math", "german"))
