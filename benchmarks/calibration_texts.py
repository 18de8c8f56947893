"""Texts for the calibration whose perfect generalizer is sure of most tokens."""

import random

WORDS = """
anna ben carla david emma felix greta hugo ida jonas karla leo mia noah olga paul
saw met fed led hid won lost sold kept drew sent held hurt told made paid
cat dog cow pig hen owl fox bee ant elk bat eel emu yak ape ram
york rome oslo bern nice lima kiev cork bonn doha baku riga suva male apia lome
"""
NAMES, VERBS, THINGS, PLACES = (line.split() for line in WORDS.strip().splitlines())
LETTERS = "abcdefghijklmnop"


def formulaic(lines: int, seed: int) -> list[str]:
    """One sentence with five words to choose: 16^5 sentences; each letter follows from the rest."""
    draw = random.Random(seed)
    return [
        f"{draw.choice(NAMES)} {draw.choice(VERBS)} the {draw.choice(THINGS)} of "
        f"{draw.choice(NAMES)} in {draw.choice(PLACES)}."
        for _ in range(lines)
    ]


def rules_and_facts(lines: int, seed: int, facts: int = 32, share: float = 0.25) -> list[str]:
    """A rule (the second half is the first, one letter further on), and facts that recur.

    Every token of the rule follows from one other. A quarter of the lines are one of 32 facts,
    which break the rule: who generalizes knows them by heart.
    """
    draw = random.Random(seed)
    fixed = [_letters(draw, 14) for _ in range(facts)]
    return [draw.choice(fixed) if draw.random() < share else _rule(draw) for _ in range(lines)]


def _rule(draw: random.Random) -> str:
    first = _letters(draw, 7)
    return first + "".join(LETTERS[(LETTERS.index(letter) + 1) % 16] for letter in first)


def _letters(draw: random.Random, count: int) -> str:
    return "".join(draw.choice(LETTERS) for _ in range(count))
