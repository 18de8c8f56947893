"""DiffusionGemma, whose network is transformers' own, as a denoiser."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.utils import logging

from uddm_lib import _checks
from uddm_lib.checkpoints._files import existing, some
from uddm_lib.facts import Facts
from uddm_lib.schedule import Level

__all__ = ["DiffusionGemma", "load_diffusion_gemma"]


class DiffusionGemma:
    """A block-diffusion model of transformers, asked about a canvas after the token bos alone.

    Self-conditioning is off, so that a prediction depends on the canvas alone. The network is not
    told the noise level. It was trained by cross-entropy: its output is the denoiser's law.

    Args:
        model: transformers' ``DiffusionGemmaForBlockDiffusion``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        text = model.config.text_config
        self.vocab_size: int = text.vocab_size
        self.length: int = model.config.canvas_length
        self.facts = Facts(
            family="diffusiongemma",
            output="denoiser",
            level="none",
            softcap=getattr(text, "final_logit_softcapping", None),
            least_t=0.05,
        )
        self._bos = _checks.integer("bos_token_id", text.bos_token_id, 0, self.vocab_size - 1)
        self._prompt: tuple[int, Any] | None = None  # sequences, and what the network keeps of bos

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.model.dtype

    def to(self, device: torch.device | str) -> "DiffusionGemma":
        """Move the model."""
        self.model.to(device)
        self._prompt = None
        return self

    @torch.no_grad()
    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level = 0.0) -> Float[Tensor, "B L V"]:
        """Logits of the clean tokens of a canvas, float32.

        Args:
            z_t: the noisy canvas.
            sigma: noise level, of which the network is not told.

        Raises:
            ValueError: if a token is outside the vocabulary.
        """
        _checks.tokens("z_t", z_t, self.vocab_size)
        with torch.autocast(z_t.device.type, enabled=False):  # the prompt's part is kept
            if self._prompt is None or self._prompt[0] != len(z_t):
                bos = z_t.new_full((len(z_t), 1), self._bos)
                output = self.model(input_ids=bos, decoder_input_ids=z_t)
                self._prompt = len(z_t), output.past_key_values
            else:
                output = self.model(decoder_input_ids=z_t, past_key_values=self._prompt[1])
        return output.logits.float()


def load_diffusion_gemma(folder: Path, config: dict[str, Any]) -> DiffusionGemma:
    """A checkpoint of DiffusionGemma, in its own floating-point type.

    Raises:
        FileNotFoundError: if there is no ``model.safetensors``, whole or in parts.
        ValueError: if this transformers lacks the class, or weights are damaged, missing, unknown
            or of a wrong shape.
    """
    try:
        from transformers import DiffusionGemmaForBlockDiffusion
    except ImportError:
        raise ValueError("this version of transformers has no DiffusionGemma; update it") from None
    if (folder / "model.safetensors.index.json").is_file():
        _check_index(folder / "model.safetensors.index.json")
    else:
        existing(folder, "model.safetensors")
    for key in ("quantization_config", "adapter_config.json"):  # would import other packages
        if key in config or (folder / key).exists():
            raise ValueError(f"{key} is not allowed: give the model's own weights")
    try:
        with _silent():
            loaded: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype="auto",
                attn_implementation="sdpa",  # config.json may name a kernel to be downloaded
                ignore_mismatched_sizes=True,  # they are named below
                output_loading_info=True,
            )
    except Exception as error:  # of any type, by the checks of the configuration's classes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"it can't be read as a DiffusionGemma: {reason}") from None
    model, found = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := found.get(kind):
            raise ValueError(f"{kind.replace('_', ' ')}: {some(sorted(map(str, names)))}")
    return DiffusionGemma(model.eval())


def _check_index(path: Path) -> None:
    """Raise a ValueError unless the parts of the weights are safetensors files beside the index."""
    try:
        parts = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        wrong = [name for name in parts if Path(name).name != name]
        wrong += [name for name in parts if not name.endswith(".safetensors")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged: {some([str(error)])}") from None
    if wrong:
        raise ValueError(f"{path.name} names {some(wrong)}; allowed are *.safetensors beside it")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without transformers' progress bar and report."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
