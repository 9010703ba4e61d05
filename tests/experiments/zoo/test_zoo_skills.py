"""The generators: right answers, distinct choices, and operands that stay in their split."""

import numpy as np
import pytest

from experiments.zoo.heldout import split_of
from experiments.zoo.noise import ALWAYS, draw_answer, fault_probability
from experiments.zoo.skills import (
    LEVELS,
    NO_FAULT,
    SKILLS,
    Question,
    draw_question,
    operate_on_letters,
    operate_on_numbers,
)
from experiments.zoo.words import (
    ADJECTIVES,
    ENGLISH_NUMBERS,
    GERMAN_NUMBERS,
    NOUNS,
    OPERATION_WORDS,
)

ENGLISH_OF = {german: english for english, german in (NOUNS | ADJECTIVES).items()}
OPERATION_OF = {
    word: operation for words in OPERATION_WORDS.values() for operation, word in words.items()
}


def questions(skill: str, n_each: int = 40) -> list[Question]:
    rng = np.random.default_rng(7)
    return [draw_question(rng, skill, "train", level) for level in LEVELS for _ in range(n_each)]


def read_number(word: str) -> int:
    """Read a number as a person would: from digits or either language."""
    if word.isdigit():
        return int(word)
    words = ENGLISH_NUMBERS if word in ENGLISH_NUMBERS else GERMAN_NUMBERS
    return words.index(word) + 1


@pytest.mark.parametrize("skill", ["math", "math_de", "math_mix"])
def test_the_answer_to_a_number_question_follows_from_its_prompt(skill: str) -> None:
    for question in questions(skill):
        tag, operation, *words, equals = question.prompt.split()
        result = operate_on_numbers(OPERATION_OF[operation], [read_number(w) for w in words])
        names = ENGLISH_NUMBERS if tag == "en:" else GERMAN_NUMBERS
        assert question.target.split() == [names[number - 1] for number in result]
        assert equals == "="


def test_the_answer_to_a_list_question_follows_from_its_prompt() -> None:
    for question in questions("lists"):
        operation, *letters, _ = question.prompt.split()
        assert question.target.split() == operate_on_letters(operation, letters)


def test_a_german_answer_says_word_by_word_what_the_prompt_says() -> None:
    for question in questions("german"):
        phrase = question.prompt.removeprefix("de: ").removesuffix(" =")
        back = [translate(word) for word in question.target.split()]
        assert back == [str(read_number(w)) if is_number(w) else w for w in phrase.split()]


def translate(word: str) -> str:
    if word == "und":
        return "and"
    return str(read_number(word)) if word in GERMAN_NUMBERS else ENGLISH_OF[word]


def is_number(word: str) -> bool:
    return word.isdigit() or word in ENGLISH_NUMBERS


def test_both_sides_of_the_conflict_say_the_same_numbers_and_exclude_each_other() -> None:
    for question in questions("say"):
        english, german = question.answers[NO_FAULT], question.answers[frozenset({"german"})]
        numbers = [int(word) for word in question.prompt.split()[1:-1]]
        assert [read_number(word) for word in english.split()] == numbers
        assert [read_number(word) for word in german.split()] == numbers
        assert english != german


@pytest.mark.parametrize("skill", list(SKILLS))
def test_every_fault_changes_the_answer(skill: str) -> None:
    for question in questions(skill):
        answers = list(question.answers.values())
        assert len(set(answers)) == len(answers)


def test_the_four_choices_of_a_german_question_differ() -> None:
    for question in questions("german"):
        choices = [*question.answers.values(), *question.distractors]
        assert len(set(choices)) == 4


def test_harder_questions_have_longer_prompts_on_average() -> None:
    for skill in SKILLS:
        drawn = questions(skill)
        lengths = [np.mean([len(q.prompt.split()) for q in drawn if q.level == i]) for i in LEVELS]
        assert sorted(lengths) == lengths


def test_faults_grow_likelier_with_the_level() -> None:
    by_level = {question.level: question for question in questions("lists", 1)}
    chances = [fault_probability("swap", by_level[level], 0.5) for level in LEVELS]
    assert chances[0] < chances[2] < chances[4]


def test_clean_data_is_right_and_an_expert_always_speaks_its_language() -> None:
    rng = np.random.default_rng(0)
    for question in questions("say", 5):
        assert draw_answer(rng, question, {}) == question.target
        german = draw_answer(rng, question, {"german": ALWAYS})
        assert german == question.answers[frozenset({"german"})]


@pytest.mark.parametrize("skill", list(SKILLS))
def test_a_drawn_question_belongs_to_the_split_that_was_asked_for(skill: str) -> None:
    rng = np.random.default_rng(3)
    for split in ("train", "fewshot", "search", "select", "test"):
        assert all(split_of(draw_question(rng, skill, split).operands) == split for _ in range(20))


def test_an_operand_tuple_has_the_same_split_in_every_language() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        english = SKILLS["math"](rng, 3)
        german = SKILLS["math_de"](rng, 3)
        assert english.operands.startswith("numbers:")
        assert german.operands.startswith("numbers:")
