import re

import pytest

from uddm_lib import figures
from uddm_lib.figures.network_diagram import _boxes
from uddm_lib.model import SIZES, UDDM, UDDMConfig


def test_the_parts_have_all_parameters_of_the_network():
    config = UDDMConfig.named("nano", 20, 8)
    path, noise, total = _boxes(config)
    assert total == UDDM(config).num_parameters()
    assert sum(box.parameters for box in path + noise) == total


@pytest.mark.parametrize("size", SIZES)
def test_the_drawing_names_the_widths(size):
    figure = figures.network(UDDMConfig.named(size, 30_522, 128))
    drawn = [text.get_text() for text in figure.axes[0].texts]
    shape = SIZES[size]
    assert {f"{shape['n_heads']} heads", f"width {shape['hidden_size']:,}"} <= set(drawn)
    assert any(re.match(rf"{shape['n_blocks']} blocks;", text) for text in drawn)
