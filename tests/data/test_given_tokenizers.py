"""Text that is packed with a given tokenizer, the paper's or a small one."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from helpers.tokenizer_files import TEXTS, save_tokenizer, token_ids
from uddm_lib.data import load_corpus, load_tokenizer, vocabulary_size
from uddm_lib.data.packing import PackingJob
from uddm_lib.data.tokenizers import wrap_tokenizer
from uddm_lib.experiments import load_run, prepare, train_run


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
    known = [token_ids(tokenizer, text) for text in TEXTS]
    order = [known.index(sentence) for sentence in sentences]
    assert len(order) > 350 and order == sorted(
        set(order)
    )  # every training sentence, once, in the text's order
    for sentence in sentences[
        :20
    ]:  # a row's text gives its tokens again: BERT's lacks only case and spacing
        assert token_ids(tokenizer, corpus.tokenizer.decode(sentence)) == sentence
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
    other = save_tokenizer(
        tmp_path / "other", turned, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    swapped = save_tokenizer(
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


def test_a_run_with_a_given_tokenizer_comes_back_with_it(tiny, text, tmp_path, monkeypatch):
    monkeypatch.setattr("uddm_lib.data.text.cache_folder", lambda cache: tmp_path / "cache")
    options = {"steps": 1, "batch_size": 4, "n": 5, "size": "pico"}
    experiment = prepare({"corpus": text, "length": 16, "tokenizer": str(tiny), **options})
    train_run(experiment, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert torch.equal(run.train, experiment.blocks)
    assert len(run.tokenizer) == experiment.corpus.vocab_size == run.model.vocab_size == 411
    file = tiny / "tokenizer.json"
    file.write_text(file.read_text().replace('"world,"', '"word,"'))
    named = "whose training blocks and test blocks and tokenizer changed since"
    with pytest.raises(ValueError, match=named):
        load_run(tmp_path / "run")


def test_ids_may_have_gaps(text, tmp_path):
    """V counts the ids that no token has: the model's tables need their rows."""
    words = ["<s>", "</s>", "<unk>", *dict.fromkeys(" ".join(TEXTS).split())]
    model = models.WordLevel({word: 3 * i for i, word in enumerate(words)}, unk_token="<unk>")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = wrap_tokenizer(backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(tmp_path / "gaps")
    options = {"length": 16, "tokenizer": str(tmp_path / "gaps"), "cache": tmp_path / "cache"}
    corpus = load_corpus(text, **options)
    size = 3 * (len(words) - 1) + 1
    assert corpus.vocab_size == vocabulary_size(corpus.tokenizer) == size > len(corpus.tokenizer)
    assert len(words) < corpus.train.max() < size and "sentence" in corpus.tokenizer.decode(
        corpus.train[0]
    )
    with pytest.raises(ValueError, match=f"has {size} tokens; leave vocab_size out"):
        load_corpus(text, **options, vocab_size=len(words))
    (file,) = (tmp_path / "cache").iterdir()
    before = file.stat().st_mtime_ns
    assert torch.equal(load_corpus(text, **options).train, corpus.train)
    assert file.stat().st_mtime_ns == before  # the kept blocks were good


@pytest.mark.parametrize("hidden", [True, False])
def test_a_proxy_that_needs_a_package_is_named(hidden, monkeypatch):
    def fail(name, **options):
        missing = ImportError("Using SOCKS proxy, but the 'socksio' package is not installed")
        if hidden:  # as by transformers
            raise OSError("Can't load the configuration of 'gpt2'") from missing
        raise missing

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", fail)
    with pytest.raises(
        OSError, match="'gpt2' is no folder.*: Using SOCKS proxy, but the 'socksio'"
    ):
        load_tokenizer("gpt2")
