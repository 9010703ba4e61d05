"""What `merge.method` of an experiment says about each layer group."""

import pytest

from evomerge.errors import UsageError
from evomerge.run.choosing import homeless_groups, idle_keys, methods_of, named_methods

GROUPS = ("embeddings", "layers.0-1.attention", "layers.0-1.mlp", "layers.2-2.mlp", "head")


def names(found) -> dict[str, tuple[str, ...]]:
    return {group: tuple(m.name for m in some) for group, some in methods_of(found, GROUPS).items()}


def test_one_name_holds_for_all_groups() -> None:
    assert names("ties") == dict.fromkeys(GROUPS, ("ties",))


def test_a_list_is_a_choice_in_every_group() -> None:
    assert names(("ties", "linear")) == dict.fromkeys(GROUPS, ("ties", "linear"))


def test_the_closest_key_of_a_mapping_counts() -> None:
    found = {
        "default": "linear",
        "layers": "ties",
        "mlp": ("dare_ties", "ties"),
        "layers.2-2.mlp": "sce",
    }
    assert names(found) == {
        "embeddings": ("linear",),
        "layers.0-1.attention": ("ties",),
        "layers.0-1.mlp": ("dare_ties", "ties"),
        "layers.2-2.mlp": ("sce",),
        "head": ("linear",),
    }


def test_every_name_is_found_with_its_place() -> None:
    assert list(named_methods("ties")) == [((), "ties")]
    assert list(named_methods({"default": "ties", "mlp": ("sce", "ram")})) == [
        (("default",), "ties"),
        (("mlp", 0), "sce"),
        (("mlp", 1), "ram"),
    ]


def test_keys_without_groups_and_groups_without_keys_are_found() -> None:
    found = {"layers": "ties", "final_norm": "linear", "layers.7-7": "linear"}
    assert idle_keys(found, GROUPS) == ["final_norm", "layers.7-7"]
    assert homeless_groups(found, GROUPS) == ["embeddings", "head"]
    assert not homeless_groups({"default": "ties"}, GROUPS)


def test_a_group_without_a_method_is_an_error_that_names_it() -> None:
    with pytest.raises(UsageError, match="layer group embeddings has no merge method"):
        methods_of({"layers": "ties"}, GROUPS)
