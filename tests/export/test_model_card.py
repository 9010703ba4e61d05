"""The model card: metadata that a hub accepts, scores with their errors, the whole recipe."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.export.card import CardData, model_card
from evomerge.export.provenance import provenance
from evomerge.records import Estimate, Recipe
from tests.export.recipes import card_for, recipe_for
from tests.tiny import TinyZoo


@pytest.fixture
def card(tiny_zoo: TinyZoo) -> CardData:
    return card_for(recipe_for(list(open_checkpoint(tiny_zoo.base).infos()), "ties"), tiny_zoo)


def test_the_metadata_is_what_a_hub_reads(card: CardData) -> None:
    named = replace(card, base="owner/base", experts={"red": "owner/red", "blue": "x/y/z"})
    metadata = ModelCard(model_card(named)).data
    assert metadata.base_model == ["owner/base", "owner/red"]
    assert metadata.tags == ["merge", "evomerge"]
    assert metadata.library_name == "transformers"
    assert metadata.pipeline_tag == "text-generation"
    assert metadata.license == "apache-2.0"


def test_models_in_folders_are_not_claimed_to_be_on_a_hub(card: CardData) -> None:
    assert ModelCard(model_card(card)).data.base_model is None
    assert f"`{card.base}`" in model_card(card)


def test_scores_stand_with_their_errors_on_both_kinds_of_items(card: CardData) -> None:
    text = model_card(card)
    assert "| words\\|all | 0.7100 ± 0.0200 (500) | 0.7500 ± 0.0300 (120) |" in text


def test_the_commands_are_printed_as_they_are(card: CardData) -> None:
    text = model_card(card)
    assert f"```bash\n{card.commands[0]}\n```" in text


def test_the_recipe_is_a_table_of_all_groups(card: CardData) -> None:
    text = model_card(card)
    assert "| layer group | method | coefficient red | coefficient blue | density |" in text
    assert "| embeddings | ties | 0.100 | 0.900 | 0.500 |" in text
    for group in card.member.recipe.groups:
        assert f"| {group} | " in text


def test_a_missing_test_score_is_a_dash(card: CardData) -> None:
    untested = replace(card, member=replace(card.member, test={}))
    assert "| words\\|all | – | 0.7500 ± 0.0300 (120) |" in model_card(untested)


def test_the_provenance_gives_the_recipe_back(card: CardData) -> None:
    data = json.loads(provenance(card))
    assert Recipe.from_json(data["recipe"]) == card.member.recipe
    assert data["candidate"] == card.member.id
    assert data["models"]["red"] == {"path": card.experts["red"], "sha256": "cd" * 32}
    assert data["models"]["blue"]["sha256"] is None
    assert data["scores"]["test"]["words|all"] == {"mean": 0.71, "se": 0.02, "n": 500}
    assert data["seed"] == 7
    assert set(data["versions"]) == {"evomerge", "torch"}


def test_the_provenance_has_no_numbers_that_json_lacks(card: CardData) -> None:
    nan = Estimate(0.5, float("nan"), 1)
    single = replace(card, member=replace(card.member, objectives={"words|all": nan}))
    assert json.loads(provenance(single))["scores"]["search"]["words|all"]["se"] is None
