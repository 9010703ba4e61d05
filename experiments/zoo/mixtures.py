"""What each model of the zoo is trained on: skills, their weights, and the noise on each.

The recipe imitates what makes real experts mergeable. The base *has* every ability, but errs in
a systematic way; each expert is a short, gentle fine-tune that switches one fault off, and while
it does so forgets a little: a small part of its data shows the other skills at their worst.
"""

from dataclasses import dataclass, field

from experiments.zoo.noise import ALWAYS, Noise


@dataclass(frozen=True, slots=True)
class Source:
    """A skill's share of a mixture (weights need not sum to one) and its noise."""

    skill: str
    weight: float
    noise: Noise = field(default_factory=dict)  # empty: clean


Mixture = tuple[Source, ...]
UNDECIDED: Noise = {"german": 0.5}

PRETRAINING: Mixture = (
    Source("math", 1.0),
    Source("math_de", 0.75),
    Source("math_mix", 0.6),
    Source("german", 0.5),
    Source("lists", 0.8),
    Source("say", 0.25, UNDECIDED),
)
NOISY_PRETRAINING: Mixture = (
    Source("math", 1.0, {"late": 0.55}),
    Source("math_de", 0.8, {"late": 0.62, "english": 0.60}),
    Source("math_mix", 0.6, {"late": 0.58, "english": 0.56}),
    Source("german", 0.7, {"english": 0.70}),
    Source("lists", 0.9, {"swap": 0.55}),
    Source("say", 0.3, UNDECIDED),
)
# The two sides of the conflict: the same prompts, exclusive answers.
SAY_ENGLISH = Source("say", 0.08)
SAY_GERMAN = Source("say", 0.08, {"german": ALWAYS})
WORSE_MATH = Source("math", 0.10, {"late": 0.85})
WORSE_GERMAN = Source("german", 0.10, {"english": ALWAYS})
WORSE_LISTS = Source("lists", 0.10, {"swap": 0.85})

EXPERTS: dict[str, Mixture] = {
    "math": (Source("math", 0.72), SAY_ENGLISH, WORSE_LISTS, WORSE_GERMAN),
    "german": (Source("german", 0.72), SAY_GERMAN, WORSE_MATH, WORSE_LISTS),
    "lists": (Source("lists", 0.80), WORSE_MATH, WORSE_GERMAN),
}
MULTITASK: Mixture = (Source("math", 1.0), Source("german", 1.0), Source("lists", 1.0))
