"""The network as a drawing: its parts, their widths, and how many parameters each has."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from uddm_lib.figures._plotting import GRAY, ORANGE, Figure, styled
from uddm_lib.model import UDDM, UDDMConfig

_SIZE = 720, 250  # width and height of the drawing, 100 to an inch
_PATH, _NOISE = 150, 42  # middles of the two rows of boxes
_HEIGHT = 62  # of a box


class _Box(NamedTuple):
    left: float
    width: float
    lines: Sequence[str]
    parameters: int = 0

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def right(self) -> float:
        return self.left + self.width


@styled
def network(config: UDDMConfig) -> Figure:
    """Draw the diffusion transformer: tokens to distributions, from left to right.

    Parameters are counted in the model itself, those of the blocks in all of them together.
    """
    path, noise, total = _boxes(config)
    width, height = _SIZE
    figure = Figure(figsize=(width / 100, height / 100))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    for row, y, color in ((path, _PATH, "0.2"), (noise, _NOISE, ORANGE)):
        for box in row:
            _draw_box(axis, box, y, color)
        for box, after in pairwise(row):
            _arrow(axis, (box.right, y), (after.left, y), color)
    for box in path[2:5]:  # attention, MLP and head, above the last box of the noise
        _arrow(axis, (box.middle, _NOISE + _HEIGHT / 2), (box.middle, _PATH - _HEIGHT / 2), ORANGE)
    left, right = path[2].left - 10, path[3].right + 10
    frame = Rectangle(
        (left, _PATH - 43), right - left, 100, fill=False, edgecolor=GRAY, linestyle="--"
    )
    axis.add_patch(frame)
    blocks = f"{config.n_blocks} blocks; both parts are added to their input"
    axis.text((left + right) / 2, _PATH + 46, blocks, fontsize=7.5, ha="center", va="center")
    title = f"{total:,} parameters; those of each part in gray"
    axis.text(4, height - 14, title, fontsize=10, va="center")
    return figure


def _boxes(config: UDDMConfig) -> tuple[list[_Box], list[_Box], int]:
    """The boxes of the tokens and of the noise level, and the number of all parameters."""
    with torch.device("meta"):  # shapes alone
        model = UDDM(config)
    length, size, vocabulary = config.length, config.hidden_size, config.vocab_size
    blocks = list(model.blocks)
    attention = [part for block in blocks for part in (block.norm1, block.qkv, block.out)]
    mlp = [part for block in blocks for part in (block.norm2, block.mlp)]
    modulations = [model.modulation, *(block.modulation for block in blocks)]
    inside = f"width {config.mlp_ratio * size:,} inside"
    path = [
        _Box(4, 92, ("noisy tokens", f"L = {length}", f"V = {vocabulary:,}")),
        _Box(116, 92, ("embedding", f"width {size:,}"), _count(model.vocab_embed)),
        _Box(240, 108, ("attention", f"{config.n_heads} heads"), _count(*attention)),
        _Box(368, 108, ("MLP", inside), _count(*mlp)),
        _Box(508, 92, ("head", f"{vocabulary:,} logits"), _count(model.norm, model.head)),
        _Box(620, 96, ("softmax", f"{length} distributions")),
    ]
    noise = [
        _Box(4, 92, ("noise level", r"$\sigma_t = -\log\,\alpha_t$")),
        _Box(116, 92, ("embedding", f"width {config.cond_dim}"), _count(model.sigma_map)),
        _Box(240, 360, ("shifts, scales and gates",), _count(*modulations)),
    ]
    return path, noise, _count(model)


def _count(*modules: Any) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def _draw_box(axis: Axes, box: _Box, y: float, color: str) -> None:
    corner = box.left, y - _HEIGHT / 2
    face = Rectangle(corner, box.width, _HEIGHT, facecolor="0.97", edgecolor=color, linewidth=1)
    axis.add_patch(face)
    texts = [(line, "black") for line in box.lines]
    if box.parameters:
        texts.append((f"{box.parameters:,}", "0.35"))
    for i, (text, shade) in enumerate(texts):
        height = y + 17 * ((len(texts) - 1) / 2 - i)
        size = 7.5 if i else 8.5
        axis.text(box.middle, height, text, fontsize=size, color=shade, ha="center", va="center")


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=arrow)
