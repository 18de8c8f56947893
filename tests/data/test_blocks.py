"""Checks and digests of token blocks."""

import hashlib

import pytest
import torch

from uddm_lib.data import blocks as module
from uddm_lib.data import check_blocks, digest


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_the_digest_is_that_of_the_ids_whatever_their_type(dtype):
    ids = [[1, 0, 127], [4, 5, 6]]
    expected = hashlib.sha256(b"".join(i.to_bytes(4, "little") for row in ids for i in row))
    assert digest(torch.tensor(ids, dtype=dtype)) == expected.hexdigest()


def test_the_digest_does_not_depend_on_how_the_ids_are_stored(monkeypatch):
    blocks = torch.arange(60).view(20, 3)
    whole = digest(blocks)
    assert digest(blocks.T.contiguous().T) == digest(blocks.repeat(1, 2)[:, :3]) == whole
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    assert digest(blocks) == whole


def test_any_other_id_or_order_gives_another_digest():
    blocks = torch.arange(60).view(20, 3)
    changed = blocks.clone()
    changed[-1, -1] += 1
    others = [changed, blocks.flip(0), blocks.flip(1), blocks[:-1], blocks + 1]
    assert len({digest(other) for other in [blocks, *others]}) == 6
    assert len(digest(torch.empty(0, 5, dtype=torch.int16))) == 64


@pytest.mark.parametrize(
    "blocks, message",
    [
        (torch.tensor([[0, 1], [7, 2]]), r"token id 7 \(block 1, position 0\).*0 to 6"),
        (torch.tensor([[0, -1]]), "token id -1"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([[0.0, 1.0]]), "float32"),
        (torch.tensor([[True, False]]), "bool"),
        ([[0, 1]], "list"),
    ],
)
def test_check_blocks_names_what_is_wrong(blocks, message, unchecked):
    with pytest.raises(ValueError, match=message):
        check_blocks(blocks, 7)


def test_check_blocks_accepts_every_id():
    check_blocks(torch.tensor([[0, 6]]), 7)
    check_blocks(torch.tensor([[0, 6]], dtype=torch.int32), 7)
    check_blocks(torch.empty(0, 5, dtype=torch.int64), 7)


def test_a_vocabulary_may_be_larger_than_the_type_of_the_blocks():
    """2**15 as an int16 is negative, so every id would be at least that."""
    blocks = torch.tensor([[0, 2**15 - 1]], dtype=torch.int16)
    for vocab_size in (2**15, 2**15 + 1, 50_000):
        check_blocks(blocks, vocab_size)
        with pytest.raises(ValueError, match=f"token id -1 .* 0 to {vocab_size - 1}"):
            check_blocks(-blocks.clamp(max=1), vocab_size)


def test_the_place_of_a_bad_id_is_found_in_any_part(monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    blocks = torch.zeros(20, 4, dtype=torch.int64)
    blocks[13, 2] = blocks[17, 1] = 9
    with pytest.raises(ValueError, match=r"token id 9 \(block 13, position 2\)"):
        check_blocks(blocks, 9)


def repeated(train, test):
    """Which rows repeat an earlier one."""
    seen, again = set(), []
    for row in map(tuple, torch.cat([train, test]).tolist()):
        again.append(row in seen)
        seen.add(row)
    return torch.tensor(again).split([len(train), len(test)])


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_repeated_blocks_are_dropped_and_the_order_stays(monkeypatch, dtype):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    generator = torch.Generator().manual_seed(1)
    train, test = torch.randint(6, (150, 2), generator=generator, dtype=dtype).split([100, 50])
    again = repeated(train, test)
    expected = [train[~again[0]], test[~again[1]]]
    left, held_out, duplicates = module.distinct(train, test)
    assert torch.equal(left, expected[0]) and torch.equal(held_out, expected[1])
    assert duplicates == {"train": int(again[0].sum()), "test": int(again[1].sum())}


@pytest.mark.parametrize("rows", [3, 1000])
@pytest.mark.parametrize("run", [1, 2, 3, 5, 6, 7, 8])
def test_runs_of_tokens_are_found_in_the_training_part(monkeypatch, run, rows):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    generator = torch.Generator().manual_seed(2)
    train, test = torch.randint(4, (60, 8), generator=generator).split([30, 30])
    test[0, :7] = torch.cat([train[4, 5:], train[5, :4]])  # across two blocks of the stream
    stream = train.flatten().tolist()
    known = {tuple(stream[i : i + run]) for i in range(len(stream) - run + 1)}
    expected = [
        any(tuple(row[i : i + run]) in known for i in range(8 - run + 1)) for row in test.tolist()
    ]
    assert module.have_run_in(train, test, run).tolist() == expected
    assert run == 8 or expected[0]


def test_an_empty_training_part_has_no_run():
    train, test = torch.ones(0, 5, dtype=torch.int64), torch.ones(3, 5, dtype=torch.int64)
    assert module.have_run_in(train, test, 4).tolist() == [False] * 3
