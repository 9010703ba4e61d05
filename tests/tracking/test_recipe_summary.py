"""A recipe in a few numbers."""

import pytest

from evomerge.records import GroupRecipe, Recipe
from evomerge.tracking.summary import mean_values


def recipe(*coefficients: tuple[float, float]) -> Recipe:
    """One group a layer, embeddings at 9 before them."""
    groups = {"embeddings": GroupRecipe("ties", {"coefficient": (9.0, 9.0), "density": 0.5})}
    for layer, pair in enumerate(coefficients):
        values = {"coefficient": pair, "density": 0.1 * layer}
        groups[f"layers.{layer}-{layer}"] = GroupRecipe("ties", values)
    return Recipe(("math", "german"), groups)


def test_means_by_expert_are_over_all_groups_and_by_depth_over_the_layers() -> None:
    means = mean_values(recipe((1.0, 3.0), (2.0, 0.0), (4.0, 6.0), (0.0, 0.0)))
    assert means["coefficient.math"] == pytest.approx((9 + 1 + 2 + 4 + 0) / 5)
    assert means["coefficient.german"] == pytest.approx((9 + 3 + 0 + 6 + 0) / 5)
    assert means["density"] == pytest.approx((0.5 + 0.0 + 0.1 + 0.2 + 0.3) / 5)
    assert means["coefficient_early"] == 2.0
    assert means["coefficient_middle"] == pytest.approx((2 + 0 + 4 + 6) / 4)
    assert means["coefficient_late"] == 0.0


def test_two_groups_of_layers_are_early_and_late_and_one_is_neither() -> None:
    assert {"density_early", "density_late"} <= mean_values(recipe((1, 1), (2, 2))).keys()
    assert [*mean_values(recipe((1, 1)))] == ["coefficient.math", "coefficient.german", "density"]
