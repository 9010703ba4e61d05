"""The words the zoo speaks: numbers, nouns, adjectives and operations in two languages."""

from typing import Literal

Language = Literal["english", "german"]
Script = Literal["english", "german", "digits"]

ENGLISH_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty twenty-one"
).split()
GERMAN_NUMBERS = (
    "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
    "sechzehn siebzehn achtzehn neunzehn zwanzig einundzwanzig"
).split()
NUMBERS: dict[Language, list[str]] = {"english": ENGLISH_NUMBERS, "german": GERMAN_NUMBERS}
LARGEST_OPERAND = 19

# Plurals only: behind a number of two and more, German adjectives then all end in -e.
NOUNS = {
    "dogs": "Hunde",
    "cats": "Katzen",
    "houses": "Häuser",
    "trees": "Bäume",
    "books": "Bücher",
    "birds": "Vögel",
    "tables": "Tische",
    "chairs": "Stühle",
    "apples": "Äpfel",
    "cars": "Autos",
    "flowers": "Blumen",
    "stones": "Steine",
    "fishes": "Fische",
    "horses": "Pferde",
    "lamps": "Lampen",
    "doors": "Türen",
}
ADJECTIVES = {
    "red": "rote",
    "blue": "blaue",
    "green": "grüne",
    "big": "große",
    "small": "kleine",
    "old": "alte",
    "new": "neue",
    "young": "junge",
    "black": "schwarze",
    "white": "weiße",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"

NUMBER_OPERATIONS = ("sort", "reverse", "next")
LETTER_OPERATIONS = ("sort", "reverse", "rotate")
OPERATION_WORDS: dict[Language, dict[str, str]] = {
    "english": {"sort": "sort", "reverse": "reverse", "next": "next"},
    "german": {"sort": "sortiere", "reverse": "drehe", "next": "weiter"},
}
TAGS: dict[Language, str] = {"english": "en:", "german": "de:"}


def spell(number: int, script: Script) -> str:
    """Return a number from 1 to 21 as a word or in digits."""
    return str(number) if script == "digits" else NUMBERS[script][number - 1]


def spell_all(numbers: list[int], script: Script) -> str:
    """Return numbers as words or digits, separated by spaces."""
    return " ".join(spell(number, script) for number in numbers)
