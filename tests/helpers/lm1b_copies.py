"""Folders laid out like LM1B's original, in small, and the packing of the paper in plain Python."""

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from uddm_lib.data.lm1b.detokenize import detokenize

LENGTH = 16
COUNTS = {"train": 330, "test": 70}
SHARDS = {"train": 3, "test": 2}
NAMES = {
    "train": "training-monolingual.tokenized.shuffled/news.en-{:05d}-of-00100",
    "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-{:05d}-of-00050",
}
TEXTS = {
    part: [
        f"\" {part.title()} hen no. {i} , ' {i} eggs ' , costs £ {i} , and you ? \" he said {i} ."
        for i in range(*numbers)
    ]
    for part, numbers in {"train": (0, 330), "test": (500, 570)}.items()
}


def write(folder, texts=TEXTS, shards=SHARDS):
    """The original's layout; its files are made in the reverse of their order."""
    for part, sentences in texts.items():
        size = -(-len(sentences) // shards[part])
        for shard in reversed(range(shards[part])):
            file = folder / NAMES[part].format(shard)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                "".join(f"{text}\n" for text in sentences[size * shard : size * (shard + 1)]),
                "utf-8",
            )
    return folder


def write_parquet(folder, texts=TEXTS, column="text"):
    for part, sentences in texts.items():
        (folder / "plain_text" / part).mkdir(parents=True)
        for shard, size in enumerate((0, 40)):
            rows = sentences[:40] if not size else sentences[40:]
            pq.write_table(
                pa.table({column: rows}), folder / "plain_text" / part / f"{shard:04d}.parquet"
            )
    return folder


def same_blocks(one, other):
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]


def expected(sentences, tokenizer, length=LENGTH):
    """The packing of the paper, in plain Python."""
    backend, stream = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), []
    backend.encode_special_tokens = True
    for text in filter(str.strip, sentences):
        stream += [
            *backend.encode(detokenize(text), add_special_tokens=False).ids,
            tokenizer.eos_token_id,
        ]
    pieces = [stream[i : i + length - 2] for i in range(0, len(stream), length - 2)]
    return [
        [tokenizer.bos_token_id, *piece, tokenizer.eos_token_id]
        for piece in pieces
        if len(piece) == length - 2
    ]
