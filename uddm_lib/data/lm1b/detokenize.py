"""Spacing of LM1B's sentences, which have a space on both sides of every mark."""

import re

__all__ = ["detokenize"]

# These spaces go: before apostrophes; before a full stop, where a plain word precedes; before other
# closing marks, around slashes, after currency signs; inside of quotes and brackets.
_SPACING = [
    (re.compile(pattern), joined)
    for pattern, joined in [
        (r" (?='\w)", ""),
        (r"( \w+) (?=\.(?: |$))", r"\1"),
        (r" (?=[,:;] |[?!](?: |$)|/ )|(?<= /) |(?<=[$£]) ", ""),
        *(
            (rf"\{left} ([^\{left}\{right}]+) \{right}", rf"{left}\1{right}")
            for left, right in ('""', "''", "()", "[]")
        ),
    ]
]


def detokenize(sentence: str) -> str:
    """A sentence of the archive nearly as it was written.

    ``" It 's 5 , " he said .`` becomes ``"It's 5," he said.``

    Published diffusion models of LM1B share a function for this, first seen in the code of Lou et
    al., arXiv 2310.16834. The same spaces go here, except where marks, or stops after single
    words, follow each other (``? ?``). To ``bert-base-uncased``, which splits at punctuation
    itself, only the space after a pound sign makes a difference.
    """
    sentence = sentence.strip()
    for pattern, joined in _SPACING:
        sentence = pattern.sub(joined, sentence)
    return sentence
