"""Digests of token blocks."""

import hashlib

import pytest
import torch

from uddm_lib.data import blocks as module
from uddm_lib.data import digest


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
