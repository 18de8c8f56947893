"""Pretrained tokenizers, such as those of the paper: ``bert-base-uncased`` (V = 30,522) and ``gpt2`` (V = 50,257)."""

from uddm_lib.results import resolve

__all__ = ["load_tokenizer"]


def load_tokenizer(name_or_folder):
    """A fast tokenizer of transformers, with a BOS and an EOS token.

    As in the released code, BERT's [CLS] and [SEP] take these roles; gpt2 has one token for both. None is added, so
    V is the vocabulary's own size, ``len(tokenizer)``.

    Args:
        name_or_folder: a folder, as ``save_pretrained`` writes it, absolute or relative to the repository's root; or
            a name on the Hugging Face hub, looked for in its local cache first.

    Raises:
        OSError: if it is neither a folder, nor in the cache, nor on a hub that can be reached.
        ValueError: if a folder holds no tokenizer, or the tokenizer is a slow one or has no token for BOS or EOS.
    """
    from transformers import AutoTokenizer

    name, folder = str(name_or_folder), resolve(name_or_folder)
    if folder.is_dir():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"tokenizer: {folder} holds none that transformers reads (tokenizer.json and "
                             f"tokenizer_config.json): {_first_line(error)}") from None
    else:
        tokenizer = _from_hub(AutoTokenizer, name)
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer {name!r} is a slow one; packing needs one of the tokenizers library")
    for role, stand_in in (("bos_token", "cls_token"), ("eos_token", "sep_token")):
        if getattr(tokenizer, role) is None:
            if getattr(tokenizer, stand_in) is None:
                raise ValueError(f"tokenizer {name!r} has neither a {role} nor a {stand_in}")
            setattr(tokenizer, role, getattr(tokenizer, stand_in))
    # What a file says of lengths belongs to the model it was made for: packing neither pads nor cuts.
    tokenizer.model_max_length = 10**9
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _from_hub(auto, name):
    try:
        return auto.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the cache
    try:
        return auto.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise OSError(f"tokenizer {name!r} is no folder, is not in the local cache, and can't be loaded from the hub: "
                      f"{_first_line(error)}. Give a folder that holds its files (tokenizer.json and "
                      "tokenizer_config.json)") from None


def _first_line(error):
    return str(error).strip().partition("\n")[0].rstrip(".:")
