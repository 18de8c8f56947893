"""Pretrained tokenizers, such as the paper's ``bert-base-uncased`` (V = 30,522) and ``gpt2``."""

from pathlib import Path
from typing import TYPE_CHECKING

from uddm_lib.data._paths import find

if TYPE_CHECKING:
    import tokenizers
    import transformers

__all__ = ["given_tokenizer", "load_tokenizer", "vocabulary_size", "wrap_tokenizer"]

FILES = (
    "tokenizer.json and tokenizer_config.json, or with the latter vocab.txt, "
    "or vocab.json and merges.txt"
)
# For each special token that packing needs: the attribute and the tokens that may take its role.
STAND_INS = {
    "bos_token": ("cls_token", ("[CLS]", "<|endoftext|>")),
    "eos_token": ("sep_token", ("[SEP]", "<|endoftext|>")),
}


def load_tokenizer(name_or_folder: str | Path) -> "transformers.PreTrainedTokenizerFast":
    """Load a fast tokenizer of transformers, with a BOS and an EOS token.

    As in the released code, BERT's [CLS] and [SEP] take these roles; gpt2 has one token for both.
    No token is added, so V is that of the vocabulary, :func:`vocabulary_size`.

    Args:
        name_or_folder: a folder, as ``save_pretrained`` writes it, or a name on the Hugging Face
            hub. A relative path is looked up in the working directory, then in the root of the
            repository, if there is a checkout. A folder that exists comes before a name. A name is
            looked up in the hub's local cache first.

    Raises:
        OSError: if it is neither a folder, nor in the cache, nor on a hub that can be reached.
        ValueError: if it is empty; if a folder holds no tokenizer, or one that needs code of its
            own; if the tokenizer is a slow one, has only special tokens, or has no token for BOS
            or EOS.
    """
    name = "" if name_or_folder is None else str(name_or_folder)
    if not name.strip():
        raise ValueError(
            f"tokenizer must be a name such as 'gpt2', or a folder; got {name_or_folder!r}"
        )
    from transformers import PreTrainedTokenizerFast

    folder = find(name)
    tokenizer = _from_folder(folder) if folder is not None and folder.is_dir() else _from_hub(name)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"tokenizer {name!r} is a slow one; packing needs one of the tokenizers library"
        )
    # Without its vocabulary files, transformers gives the class's special tokens, and no error.
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise ValueError(
            f"tokenizer {name!r} has special tokens only: its vocabulary is missing ({FILES})"
        )
    _assign_ends(tokenizer, name)
    # What a file says about lengths belongs to the model it was made for: packing neither pads
    # nor cuts.
    tokenizer.model_max_length = 10**9
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def given_tokenizer(
    name_or_folder: str | Path, vocab_size: int | None
) -> "transformers.PreTrainedTokenizerFast":
    """Load a tokenizer of ``vocab_size`` tokens, or of any size if that is None.

    Raises:
        ValueError, OSError: as :func:`load_tokenizer`; ValueError if the size is another.
    """
    tokenizer = load_tokenizer(name_or_folder)
    size = vocabulary_size(tokenizer)
    if vocab_size not in (None, size):
        raise ValueError(
            f"vocab_size={vocab_size}: tokenizer {str(name_or_folder)!r} has {size} "
            "tokens; leave vocab_size out"
        )
    return tokenizer


def vocabulary_size(
    tokenizer: "tokenizers.Tokenizer | transformers.PreTrainedTokenizerBase",
) -> int:
    """V: one more than the largest token id.

    It is more than ``len(tokenizer)`` where ids have gaps (camembert's have one).
    """
    return max(tokenizer.get_vocab().values()) + 1


def wrap_tokenizer(
    backend: "tokenizers.Tokenizer", **special_tokens: str
) -> "transformers.PreTrainedTokenizerFast":
    """A tokenizer of transformers around one of the tokenizers library."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **special_tokens
    )


def _assign_ends(tokenizer: "transformers.PreTrainedTokenizerFast", name: str) -> None:
    """Give stand-ins the roles of BOS and EOS where the tokenizer has none."""
    vocabulary = tokenizer.get_vocab()
    for role, (stand_in, usual) in STAND_INS.items():
        if getattr(tokenizer, role) is None:
            known = [token for token in usual if token in vocabulary]
            token = getattr(tokenizer, stand_in) or next(iter(known), None)
            if token is None:
                raise ValueError(f"tokenizer {name!r} has neither a {role} nor a {stand_in}")
            setattr(tokenizer, role, token)


def _from_folder(folder: Path) -> "transformers.PreTrainedTokenizerBase":
    try:
        return _read(folder, local_files_only=True)
    except Exception as error:  # damage shows in any way: JSON, missing keys, bare exceptions
        raise ValueError(
            f"tokenizer: {folder} holds none that transformers reads ({FILES}): "
            f"{_first_line(error)}"
        ) from None


def _from_hub(name: str) -> "transformers.PreTrainedTokenizerBase":
    try:
        return _read(name, local_files_only=True)
    except (OSError, ValueError, ImportError):
        pass  # not in the cache
    try:
        return _read(name)
    except (OSError, ValueError, ImportError) as error:
        reason = _first_line(_missing_package(error) or error)
        raise OSError(
            f"tokenizer {name!r} is no folder, is not in the local cache, and can't be loaded "
            f"from the hub: {reason}. Give a folder that holds its files ({FILES})"
        ) from None


def _read(
    name_or_folder: str | Path, local_files_only: bool = False
) -> "transformers.PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    # By default transformers asks on the terminal whether it may run code that a tokenizer brings.
    return AutoTokenizer.from_pretrained(
        name_or_folder, trust_remote_code=False, local_files_only=local_files_only
    )


def _missing_package(error: BaseException | None) -> ImportError | None:
    """The ImportError, as of a SOCKS proxy, that the hub's libraries turned into ``error``."""
    while error is not None and not isinstance(error, ImportError):
        error = error.__cause__ or error.__context__
    return error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".: ")
