"""Pretrained tokenizers, such as those of the paper: ``bert-base-uncased`` (V = 30,522) and ``gpt2`` (V = 50,257)."""

from uddm_lib.results import resolve

__all__ = ["load_tokenizer"]

FILES = "tokenizer.json and tokenizer_config.json, or with the latter vocab.txt, or vocab.json and merges.txt"
STAND_INS = {
    "bos_token": ("cls_token", ("[CLS]", "<|endoftext|>")),
    "eos_token": ("sep_token", ("[SEP]", "<|endoftext|>")),
}


def load_tokenizer(name_or_folder):
    """A fast tokenizer of transformers, with a BOS and an EOS token.

    As in the released code, BERT's [CLS] and [SEP] take these roles; gpt2 has one token for both. None is added, so
    V is the vocabulary's own size, ``len(tokenizer)``.

    Args:
        name_or_folder: a folder, as ``save_pretrained`` writes it, absolute or relative to the repository's root; or
            a name on the Hugging Face hub, looked for in its local cache first.

    Raises:
        OSError: if it is neither a folder, nor in the cache, nor on a hub that can be reached.
        ValueError: if it is empty, a folder holds no tokenizer, one needs code of its own, or the tokenizer is a slow
            one, has only special tokens, or has no token for BOS or EOS.
    """
    name = "" if name_or_folder is None else str(name_or_folder)
    if not name.strip():
        raise ValueError(
            f"tokenizer must be a name such as 'gpt2', or a folder; got {name_or_folder!r}"
        )
    folder = resolve(name)
    if folder.is_dir():
        try:
            tokenizer = _read(folder, local_files_only=True)
        except (
            Exception
        ) as error:  # damage shows in any way: JSON, missing keys, bare exceptions of tokenizers
            raise ValueError(
                f"tokenizer: {folder} holds none that transformers reads ({FILES}): "
                f"{_first_line(error)}"
            ) from None
    else:
        tokenizer = _from_hub(name)
    if not tokenizer.is_fast:
        raise ValueError(
            f"tokenizer {name!r} is a slow one; packing needs one of the tokenizers library"
        )
    # Where its vocabulary files are missing, transformers gives the class's special tokens, and no error.
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise ValueError(
            f"tokenizer {name!r} has special tokens only: its vocabulary is missing ({FILES})"
        )
    for role, (stand_in, usual) in STAND_INS.items():
        if getattr(tokenizer, role) is None:
            token = getattr(tokenizer, stand_in) or next(
                (t for t in usual if t in tokenizer.get_vocab()), None
            )
            if token is None:
                raise ValueError(f"tokenizer {name!r} has neither a {role} nor a {stand_in}")
            setattr(tokenizer, role, token)
    # What a file says of lengths belongs to the model it was made for: packing neither pads nor cuts.
    tokenizer.model_max_length = 10**9
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _read(name, **options):
    from transformers import AutoTokenizer

    # Unless told, transformers asks on the terminal whether it may run code that a tokenizer brings along.
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)


def _from_hub(name):
    try:
        return _read(name, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the cache
    try:
        return _read(name)
    except (OSError, ValueError) as error:
        raise OSError(
            f"tokenizer {name!r} is no folder, is not in the local cache, and can't be loaded from the hub: "
            f"{_first_line(error)}. Give a folder that holds its files ({FILES})"
        ) from None


def _first_line(error):
    return str(error).strip().partition("\n")[0].rstrip(".: ")
