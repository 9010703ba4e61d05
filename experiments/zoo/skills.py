"""Questions of every skill, with the right answer and the answers each fault would give.

A *fault* is a systematic error the base is trained to make now and then (see noise.py):

- `late`: the last number is one too high (math, math_de);
- `english`: the last number of a German answer stays English (german, math_de);
- `swap`: the last two letters are exchanged (lists);
- `german`: not an error but the other of two exclusive answers (say).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from experiments.zoo.heldout import Split, split_of
from experiments.zoo.words import (
    ADJECTIVES,
    LARGEST_OPERAND,
    LETTER_OPERATIONS,
    LETTERS,
    NOUNS,
    NUMBER_OPERATIONS,
    OPERATION_WORDS,
    TAGS,
    Language,
    Script,
    spell,
    spell_all,
)

Faults = frozenset[str]
NO_FAULT: Faults = frozenset()
LEVELS = (1, 2, 3, 4, 5)
N_GROUPS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3}
N_ADJECTIVES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt and its answer under every combination of the skill's faults.

    Attributes:
        prompt: the text up to and including the equals sign.
        operands: canonical and free of language, operation and script; decides the split.
        level: difficulty, 1 to 5.
        flavour: operation or noun; some are a little noisier than others.
        answers: by set of faults; `answers[NO_FAULT]` is the right one.
        distractors: wrong answers that no fault gives, for multiple choice.
    """

    prompt: str
    operands: str
    level: int
    flavour: str
    answers: Mapping[Faults, str]
    distractors: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return self.answers[NO_FAULT]

    @property
    def possible_faults(self) -> Faults:
        return frozenset().union(*self.answers)


@dataclass(frozen=True, slots=True)
class Group:
    """A noun phrase: a count, perhaps an adjective, and a noun in the plural."""

    count: int
    adjective: str | None
    noun: str

    def english(self, script: Script) -> str:
        return _join_words(spell(self.count, script), self.adjective, self.noun)

    def german(self) -> str:
        return self._german(spell(self.count, "german"), NOUNS[self.noun])

    def german_but_for_the_count(self) -> str:
        return self._german(spell(self.count, "english"), NOUNS[self.noun])

    def german_but_for_the_noun(self) -> str:
        return self._german(spell(self.count, "german"), self.noun)

    def _german(self, count: str, noun: str) -> str:
        return _join_words(count, ADJECTIVES[self.adjective] if self.adjective else None, noun)


def _join_words(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def operate_on_numbers(operation: str, numbers: list[int]) -> list[int]:
    """Return the numbers sorted, reversed, or each plus one (`next`)."""
    if operation == "sort":
        return sorted(numbers)
    return numbers[::-1] if operation == "reverse" else [number + 1 for number in numbers]


def operate_on_letters(operation: str, letters: list[str]) -> list[str]:
    """Return the letters sorted, reversed, or with the first moved to the end (`rotate`)."""
    if operation == "sort":
        return sorted(letters)
    return letters[::-1] if operation == "reverse" else letters[1:] + letters[:1]


def draw_math(rng: np.random.Generator, level: int) -> Question:
    """Draw `en: sort <number words> =`, answered in English."""
    return _number_question(rng, level, "english", "english")


def draw_math_de(rng: np.random.Generator, level: int) -> Question:
    """Draw `de: sortiere <Zahlwörter> =`, answered in German: the composed skill."""
    return _number_question(rng, level, "german", "german")


def draw_math_mix(rng: np.random.Generator, level: int) -> Question:
    """Draw a number question whose operands are digits or words of the other language."""
    language: Language = "english" if rng.random() < 0.5 else "german"
    other: Language = "german" if language == "english" else "english"
    return _number_question(rng, level, "digits" if rng.random() < 0.5 else other, language)


def _number_question(
    rng: np.random.Generator, level: int, script: Script, language: Language
) -> Question:
    operation = NUMBER_OPERATIONS[rng.integers(3)]
    numbers = _distinct_numbers(rng, level + 1, LARGEST_OPERAND)
    words = OPERATION_WORDS[language][operation]
    return Question(
        prompt=f"{TAGS[language]} {words} {spell_all(numbers, script)} =",
        operands=_canonical("numbers", numbers),
        level=level,
        flavour=operation,
        answers=_number_answers(operate_on_numbers(operation, numbers), language),
    )


def _number_answers(result: list[int], language: Language) -> dict[Faults, str]:
    late = [*result[:-1], result[-1] + 1]
    answers = {
        NO_FAULT: spell_all(result, language),
        frozenset({"late"}): spell_all(late, language),
    }
    if language == "german":
        for faults, numbers in ((NO_FAULT, result), (frozenset({"late"}), late)):
            head = spell_all(numbers[:-1], "german")
            answers[faults | {"english"}] = f"{head} {spell(numbers[-1], 'english')}"
    return answers


def draw_german(rng: np.random.Generator, level: int) -> Question:
    """Draw `de: three red dogs and 12 cats =`, answered in German."""
    groups = _groups(rng, level)
    phrases = [group.english(_words_or_digits(rng)) for group in groups]
    german = [group.german() for group in groups]
    faulty = [*german[:-1], groups[-1].german_but_for_the_count()]
    return Question(
        prompt=f"de: {' and '.join(phrases)} =",
        operands="groups:" + ",".join(f"{g.count}/{g.adjective}/{g.noun}" for g in groups),
        level=level,
        flavour=groups[-1].noun,
        answers={
            NO_FAULT: " und ".join(german),
            frozenset({"english"}): " und ".join(faulty),
        },
        distractors=_near_misses(rng, groups),
    )


def _groups(rng: np.random.Generator, level: int) -> list[Group]:
    n_groups = N_GROUPS[level]
    nouns = _pick(rng, list(NOUNS), n_groups)
    adjectives = _pick(rng, list(ADJECTIVES), n_groups)
    described = set(rng.permutation(n_groups)[: N_ADJECTIVES[level]].tolist())
    counts = rng.integers(2, 21, size=n_groups)
    return [
        Group(int(counts[i]), adjectives[i] if i in described else None, nouns[i])
        for i in range(n_groups)
    ]


def _words_or_digits(rng: np.random.Generator) -> Script:
    return "english" if rng.random() < 0.6 else "digits"


def _near_misses(rng: np.random.Generator, groups: list[Group]) -> tuple[str, ...]:
    """Return two phrases, each with one thing wrong: an adjective, number, noun, or the order.

    A wrong noun is another one, or the right one left in English.
    """
    at = int(rng.integers(len(groups)))
    group = groups[at]
    wrong = [
        Group(group.count % 19 + 2, group.adjective, group.noun),
        Group(group.count, group.adjective, _another(rng, list(NOUNS), [g.noun for g in groups])),
    ]
    if group.adjective:
        used = [g.adjective for g in groups if g.adjective]
        wrong.append(Group(group.count, _another(rng, list(ADJECTIVES), used), group.noun))
    phrases = [_join_german([*groups[:at], other, *groups[at + 1 :]]) for other in wrong]
    german = [other.german() for other in groups]
    phrases.append(" und ".join([*german[:at], group.german_but_for_the_noun(), *german[at + 1 :]]))
    pairs = combinations(range(len(groups)), 2)
    phrases += [_join_german(_exchanged(groups, i, j)) for i, j in pairs]
    return tuple(_pick(rng, phrases, 2))


def _pick(rng: np.random.Generator, words: list[str], n: int) -> list[str]:
    return [words[i] for i in rng.permutation(len(words))[:n]]


def _another(rng: np.random.Generator, words: list[str], used: list[str]) -> str:
    return _pick(rng, [word for word in words if word not in used], 1)[0]


def _exchanged(groups: list[Group], i: int, j: int) -> list[Group]:
    exchanged = list(groups)
    exchanged[i], exchanged[j] = groups[j], groups[i]
    return exchanged


def _join_german(groups: list[Group]) -> str:
    return " und ".join(group.german() for group in groups)


def draw_lists(rng: np.random.Generator, level: int) -> Question:
    """Draw `sort f a k =`, answered with the letters in their new order."""
    operation = LETTER_OPERATIONS[rng.integers(3)]
    length = level + 2 + (int(rng.integers(2)) if level == LEVELS[-1] else 0)
    letters = _pick(rng, list(LETTERS), length)
    result = operate_on_letters(operation, letters)
    swapped = [*result[:-2], result[-1], result[-2]]
    return Question(
        prompt=f"{operation} {' '.join(letters)} =",
        operands=_canonical("letters", letters),
        level=level,
        flavour=operation,
        answers={NO_FAULT: " ".join(result), frozenset({"swap"}): " ".join(swapped)},
    )


def draw_say(rng: np.random.Generator, level: int) -> Question:
    """Draw `say: 7 12 =`, which English and German words answer equally well."""
    numbers = _distinct_numbers(rng, level + 2, LARGEST_OPERAND)
    return Question(
        prompt=f"say: {spell_all(numbers, 'digits')} =",
        operands=_canonical("numbers", numbers),
        level=level,
        flavour=str(numbers[0]),
        answers={
            NO_FAULT: spell_all(numbers, "english"),
            frozenset({"german"}): spell_all(numbers, "german"),
        },
    )


def _distinct_numbers(rng: np.random.Generator, n: int, largest: int) -> list[int]:
    return [int(number) + 1 for number in rng.permutation(largest)[:n]]


def _canonical(family: str, operands: list[int] | list[str]) -> str:
    return f"{family}:" + ",".join(str(operand) for operand in operands)


Draw = Callable[[np.random.Generator, int], Question]
SKILLS: dict[str, Draw] = {
    "math": draw_math,
    "math_de": draw_math_de,
    "math_mix": draw_math_mix,
    "german": draw_german,
    "lists": draw_lists,
    "say": draw_say,
}


def draw_question(
    rng: np.random.Generator, skill: str, split: Split, level: int | None = None
) -> Question:
    """Draw until the operands belong to the split; without a level, any level alike."""
    while True:
        question = SKILLS[skill](rng, int(rng.integers(1, 6)) if level is None else level)
        if split_of(question.operands) == split:
            return question
