"""What ``text:`` takes and what it refuses: each line of the tables in docs/your-own-text.md."""

import gzip
import json
import random
import textwrap
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from uddm_lib.data import documents, load_corpus
from uddm_lib.data.documents import Documents, files_of
from uddm_lib.experiments import _data

SENTENCES = [f"On day {day} the red hen laid {day * day % 97} eggs." for day in range(400)]
LINES = "\n".join(SENTENCES)
BOOK = "\n\n".join(
    textwrap.fill(" ".join(SENTENCES[start : start + 8]), 70) for start in range(0, 400, 8)
)
PARAGRAPHS = [" ".join(SENTENCES[start : start + 8]) for start in range(0, 400, 8)]


def read(path, option=""):
    """The documents of a path, each as one text."""
    texts, parts = [], []
    for text, ends in Documents.of_files(files_of(path), option):
        parts.append(text)
        if ends:
            texts.append("".join(parts))
            parts = []
    return texts + (["".join(parts)] if parts else [])


def rows(column="text"):
    return "\n".join(json.dumps({"id": i, column: text}) for i, text in enumerate(SENTENCES))


PROTEINS = ["MKVLAAGIVG" * count for count in (9, 1, 20)]
FASTA = "".join(
    f">protein {p}\n{textwrap.fill(letters, 60)}\n" for p, letters in enumerate(PROTEINS)
)
SEPARATORS = "a\u2028b\u2029c\x85d\x0ce\x0bf"  # a line, to Python's files

TAKEN = {  # file: content, option, documents
    "lines.txt": (LINES, "", SENTENCES),
    "blank.txt": ("\n\n \n" + LINES.replace("\n", "\n\n\t\n"), "", SENTENCES),
    "novel": (" ".join(SENTENCES), "", [" ".join(SENTENCES)]),
    "book.txt": (BOOK, "", PARAGRAPHS),
    "book-lines.txt": (BOOK, "line", [line for line in BOOK.split("\n") if line]),
    "book-file.txt": (BOOK, "file", [BOOK]),
    "lines-paragraph.txt": (LINES, "paragraph", [" ".join(SENTENCES)]),
    "sections.txt": ("\n\n".join(["\n".join(SENTENCES[:99]), *SENTENCES[99:]]), "", SENTENCES),
    "rows.jsonl": (rows(), "", SENTENCES),
    "rows.ndjson": (rows("body"), "body", SENTENCES),
    "null.jsonl": ('{"text": null}\n\n' + rows(), "", SENTENCES),
    "mixed.jsonl": (rows() + '\n{"id": {"a": [1]}, "text": "x\\ny"}', "", [*SENTENCES, "x\ny"]),
    "mark.txt": ("\ufeff" + LINES, "", SENTENCES),
    "windows.txt": (LINES.replace("\n", "\r\n"), "", SENTENCES),
    "mac.txt": (LINES.replace("\n", "\r"), "", SENTENCES),
    "separators.txt": (f"{SEPARATORS}\n\x0c\ng", "", [SEPARATORS, "g"]),
    "proteins.fasta": (FASTA, "", PROTEINS),
    "proteins.txt": (FASTA, "fasta", PROTEINS),
    "scripts.txt": ("Ω мир\n中文 नमस्ते\n🐔 é", "", ["Ω мир", "中文 नमस्ते", "🐔 é"]),
}  # fmt: skip


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", TAKEN)
def test_a_file_is_taken(tmp_path, name, compress):
    content, option, texts = TAKEN[name]
    file = tmp_path / (f"{name}.gz" if compress else name)
    file.write_bytes(gzip.compress(content.encode()) if compress else content.encode())
    assert read(file, option) == texts


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_is_taken(tmp_path, kind):
    table = pa.table(
        {"n": range(401), "body": pa.array([*SENTENCES, None], pa.string()).cast(kind)}
    )
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=150)
    assert read(tmp_path / "rows.parquet", "body") == SENTENCES


def test_gzip_is_known_by_its_content(tmp_path):
    (tmp_path / "text.txt").write_bytes(gzip.compress(LINES.encode()))
    assert read(tmp_path / "text.txt") == SENTENCES


def test_a_folder_is_taken_without_its_hidden_files(tmp_path):
    for name in (".cache/x.txt", "b/._a.txt", "._b.txt", ".ipynb_checkpoints/c.jsonl", "d.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (tmp_path / "b" / "rows.jsonl").write_text(rows())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first\n"))
    pq.write_table(pa.table({"text": ["last"]}), tmp_path / "c.parquet")
    assert read(tmp_path) == ["first", *SENTENCES, "last"]


@pytest.mark.parametrize(
    "name",
    ["novel", "book-file.txt", "lines.txt", "rows.jsonl", "lines-paragraph.txt", "proteins.fasta"],
)
def test_parts_do_not_change_the_documents(tmp_path, name, monkeypatch):
    content, option, texts = TAKEN[name]
    (tmp_path / name).write_text(content)
    monkeypatch.setattr(documents, "CHUNK", 300)
    parts = list(Documents.of_files([tmp_path / name], option))
    assert max(len(text) for text, _ in parts) < 1_000
    assert read(tmp_path / name, option) == texts


BAD = {  # file: content, message
    "utf16.txt": (LINES.encode("utf-16"), "utf16.txt is UTF-16 text; convert it: iconv -f UTF-16 "),
    "utf32.txt": (LINES.encode("utf-32"), "utf32.txt is UTF-32 text"),
    "no-mark.txt": (LINES.encode("utf-16-le"), "no-mark.txt is UTF-16LE text; convert it"),
    "big.jsonl": (rows().encode("utf-16-be"), "big.jsonl is UTF-16BE text; convert it"),
    "latin.txt": (
        f"{LINES}\nä, grün".encode("latin-1"),
        "latin.txt, line 401, character 1: byte 0xe4.* iconv",
    ),
    "cut.txt": ("one\ngrün".encode()[:-2], "cut.txt, line 2, character 3: byte 0xc3"),
    "binary.txt": (LINES.encode() + b"\na\0b", "binary.txt, line 401: a zero byte"),
    "paper.pdf": (b"%PDF-1.7\n", "paper.pdf is a PDF; give plain text"),
    "letter.docx": (b"PK\3\4....", "letter.docx is a zip archive"),
    "text.txt.xz": (b"\xfd7zXZ\0", "text.txt.xz is compressed by xz"),
    "half.txt.gz": (
        gzip.compress(LINES.encode())[:-99],
        "half.txt.gz is damaged: .*; copy it again",
    ),
    "half.parquet": (b"PAR1 and no more", "half.parquet is damaged: .*; copy it again"),
    "broken.jsonl": (
        b'{"text": "a"}\n{"text": ',
        "broken.jsonl, line 2: .*each line must be an obj",
    ),
    "array.json": (b'[{"text": "a"}]', "array.json, line 1: list in place of an object"),
    "other.jsonl": (
        b'{"text": "a"}\n{"body": "a", "n": 1}',
        "line 2: there is no column text; there are body, n. Name one after the path: text:PATH#",
    ),
    "number.jsonl": (b'{"text": 7}', "line 1: text must be text; got 7"),
    "half.jsonl": (
        rb'{"text": "a \ud83d b"}',
        r"half.jsonl, line 1: text holds half a character, '.ud83d'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_is_refused_with_its_place_and_the_remedy(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(f"text:{tmp_path / name}", cache=False)


def test_columns_and_options_that_do_not_fit_are_refused(tmp_path):
    pq.write_table(pa.table({"n": [1], "body": ["a"]}), tmp_path / "rows.parquet")
    (tmp_path / "a.txt").write_text(LINES)
    for option, message in {
        "rows.parquet": "rows.parquet: there is no column text; there are n, body. Name one",
        "rows.parquet#n": "rows.parquet: column n must hold text; it holds int64",
        "a.txt#verse": "a.txt is plain text: what follows it must be one of #line, #paragraph",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_corpus(f"text:{tmp_path / option}", cache=False)
    with pytest.raises(FileNotFoundError, match="no file or folder .*b.txt$"):
        load_corpus(f"text:{tmp_path / 'b.txt'}#line", cache=False)
    with pytest.raises(ValueError, match="/dev/null is neither a file nor a folder"):
        load_corpus("text:/dev/null", cache=False)


def test_a_file_whose_name_has_the_mark_is_found(tmp_path):
    (tmp_path / "a#line").write_text(BOOK)
    plain = load_corpus(f"text:{tmp_path / 'a#line'}", cache=False)
    lines = load_corpus(f"text:{tmp_path / 'a#line'}#line", cache=False)
    eos = plain.tokenizer.eos_token_id
    assert (lines.train[:, 1:-1] == eos).sum() > 3 * (plain.train[:, 1:-1] == eos).sum() > 0


@pytest.mark.parametrize("count", [1, 2, 19])
def test_the_end_of_few_documents_is_held_out(tmp_path, count):
    words = [f"word{number}" for number in range(10_000)]
    size = -(-len(words) // count)
    texts = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
    (tmp_path / "novel.txt").write_text("\n".join(texts))
    corpus = load_corpus(f"text:{tmp_path / 'novel.txt'}", length=16, cache=False)

    def numbers(blocks):
        texts = corpus.tokenizer.batch_decode(blocks[:, 1:-1])
        return [
            int(text.split("word")[1].split("<")[0].strip()[:4])
            for text in texts
            if text.count("word") > 1
        ]

    assert max(numbers(corpus.train)) < min(numbers(corpus.test)) == pytest.approx(9_500, abs=9)
    assert (corpus.train == 1).sum() - len(corpus.train) == count - 1
    assert corpus.tokenizer.unk_token_id not in corpus.test


def test_a_repeated_document_of_several_parts_is_dropped_from_the_test_part(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "CHUNK", 40)
    texts = [sentence + " And so on, and so on, and on." for sentence in SENTENCES]
    (tmp_path / "twice.txt").write_text("\n".join([*texts[:200], *texts]))
    corpus = load_corpus(f"text:{tmp_path / 'twice.txt'}", length=16, cache=False)
    alone = sum(texts.index(text) >= 200 for text in texts)  # those that stand there once
    assert 0 < corpus.duplicates["documents"] <= 30 < alone
    assert len(corpus.test) > 0


def letters(alphabet, lines, length, seed=1):
    draw = random.Random(seed)
    return "\n".join("".join(draw.choices(alphabet, k=length)) for _ in range(lines))


@pytest.mark.parametrize(
    "content, vocab_size, length",
    [
        (letters("ACGT", 40, 1_000), 7, 64),
        (letters("ACDEFGHIKLMNPQRSTVWY", 100, 90), 23, 16),
        (LINES, 96, 16),
        (letters("abc de", 40, 1_000), 96, 64),
        (letters([chr(i) for i in range(0x430, 0x450)] + [" "], 40, 1_000), 96, 64),
        (letters([chr(i) for i in range(0x370, 0x590)] + list("abc "), 40, 1_000), 512, 64),
        (letters("abc de", 12, 100), 96, 8),
    ],
    ids=["dna", "protein", "english", "letters", "cyrillic", "many", "short"],
)
def test_defaults_adapt(tmp_path, content, vocab_size, length):
    (tmp_path / "text.txt").write_text(content)
    corpus = load_corpus(f"text:{tmp_path / 'text.txt'}", cache=False)
    assert (corpus.vocab_size, corpus.length) == (vocab_size, length)


def test_a_sequence_of_letters_has_one_token_a_letter(tmp_path):
    text = letters("ACGT", 1, 20_000)
    (tmp_path / "genome.txt").write_text(text)
    corpus = load_corpus(f"text:{tmp_path / 'genome.txt'}", length=18, cache=False)
    decoded = corpus.tokenizer.decode(corpus.train[:, 1:-1].flatten()).replace(" ", "")
    assert decoded == text[: len(corpus.train) * 16]


def test_merges_are_learned_from_long_words_in_little_time(tmp_path):
    """Without a bound on words, time grows with the square of their length: 17 s in place of 1."""
    (tmp_path / "genome.txt").write_text(letters("ACGT", 2, 200_000))
    start = time.process_time()
    corpus = load_corpus(f"text:{tmp_path / 'genome.txt'}", vocab_size=40, cache=False)
    assert time.process_time() - start < 8
    assert corpus.vocab_size == 40 and corpus.tokenizer.unk_token_id not in corpus.train


def test_blocks_that_are_mapped_are_those_in_memory(tmp_path, monkeypatch):
    from uddm_lib.data import blocks, packing, text

    (tmp_path / "a.txt").write_text("\n".join(SENTENCES * 2))
    small = load_corpus(f"text:{tmp_path / 'a.txt'}", length=16, cache=False)
    for module, name, value in (
        (packing, "BYTES_IN_MEMORY", 10),
        (packing, "CHARACTERS_AT_ONCE", 100),
        (blocks, "ROWS_AT_ONCE", 7),
        (text, "IN_MEMORY", 10),
    ):
        monkeypatch.setattr(module, name, value)
    for cache in (False, tmp_path / "cache", tmp_path / "cache"):
        large = load_corpus(f"text:{tmp_path / 'a.txt'}", length=16, cache=cache)
        assert large.train.dtype == torch.int32 and large.test.dtype == torch.int64
        assert torch.equal(large.train.long(), small.train) and torch.equal(large.test, small.test)
        assert large.duplicates == small.duplicates and small.duplicates["documents"] > 0


def test_a_progress_bar_is_shown_where_it_is_asked_for(tmp_path, capsys, monkeypatch):
    import tqdm

    (tmp_path / "a.txt").write_text(LINES)
    original = tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", lambda **options: original(**{**options, "delay": 0}))
    load_corpus(f"text:{tmp_path / 'a.txt'}", cache=False)
    assert capsys.readouterr() == ("", "")
    load_corpus(f"text:{tmp_path / 'a.txt'}", cache=False, progress=True)
    out, error = capsys.readouterr()
    assert out == "" and "a.txt: learning tokens" in error and "packing" in error


def parquet(texts):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts}), sink)
    return sink.getvalue().to_pybytes()


FORMATS = {
    "a.txt": lambda texts: "\n".join(texts).encode(),
    "a.txt.gz": lambda texts: gzip.compress("\n".join(texts).encode()),
    "a.jsonl": lambda texts: "\n".join(json.dumps({"text": text}) for text in texts).encode(),
    "a.parquet": parquet,
    "novel.txt": lambda texts: " ".join(texts).encode(),
    "book.txt": lambda texts: "\n\n".join(textwrap.fill(text * 4, 70) for text in texts).encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_changed_data_is_noticed_in_every_format(tmp_path, name, monkeypatch):
    parameters = {"corpus": f"text:{tmp_path / name}", "length": 16, "n": "all"}
    monkeypatch.setattr("uddm_lib.data.text.cache_folder", lambda cache: tmp_path / "cache")
    (tmp_path / name).write_bytes(FORMATS[name](SENTENCES))
    corpus = _data.corpus_of(parameters)
    blocks = _data.blocks_of(corpus, parameters)
    recorded = {**parameters, "n": len(blocks), **_data.digests(blocks, corpus)}
    again = _data.corpus_of(parameters)
    assert torch.equal(_data.blocks_of_run(tmp_path, recorded, again), blocks)
    swapped = [*SENTENCES[:50], SENTENCES[51], SENTENCES[50], *SENTENCES[52:]]
    (tmp_path / name).write_bytes(FORMATS[name](swapped))
    with pytest.raises(ValueError, match="blocks.* changed since"):
        _data.blocks_of_run(tmp_path, recorded, _data.corpus_of(parameters))
