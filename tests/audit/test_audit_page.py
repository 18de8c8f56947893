"""The page of an audit of texts: whole, escaped, offline, readable."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

from helpers.browser import ask, needs_chromium
from helpers.paths import ROOT
from uddm_lib.audit import audit_page
from uddm_lib.audit.audit_page import pieces_of_text
from uddm_lib.audit.output_check import OutputCheck
from uddm_lib.audit.significance import detection
from uddm_lib.audit.texts import TextAudit
from uddm_lib.data import load_tokenizer

HOSTILE = '</pre><script>alert("1")</script> & <b onclick=x>God</b>\n\u00e9\u4e2d'
TEXTS = ["And God said,", HOSTILE, "let there be light: " * 100]
UNSEEN = ["and there was light.", "And God saw the light,", "that it was good:"]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(ROOT / "runs" / "pretrained" / "kjv-nano-n000016-s1" / "model")


@pytest.fixture(scope="module")
def page(tokenizer):
    log_p = [torch.linspace(-4, 0, len(pieces_of_text(text, tokenizer))) for text in TEXTS + UNSEEN]
    scores = [values.mean().item() for values in log_p]
    texts = pd.DataFrame(
        {
            "best_log_p": [-3.0, -1.0, -2.0],
            "p_value": [0.5, 0.01, 0.25],
            "memorized": [False, True, False],
        }
    )
    unseen = pd.DataFrame({"best_log_p": scores[3:]})
    both = [table.assign(blind=[0.0, 1.0, 2.0]) for table in (texts, unseen)]
    found = detection(*both, ["best_log_p", "blind"])
    output = OutputCheck("leave-one-out", {"leave-one-out": 0.0, "denoiser": 0.5}, False)
    audit = TextAudit(
        "memorized", ("why <not>",), texts, unseen, 0.1, 0.2, None, found, log_p, output
    )
    nearest = pd.DataFrame(
        {"text": TEXTS, "overlap": [0.1, 1.0, 0.3], "nearest": ["a", HOSTILE, ""]}
    )
    return audit_page.texts_page(
        "<model>", {"output": "x"}, audit, TEXTS, UNSEEN, tokenizer, nearest
    )


def test_how_well_scores_find_members_comes_last(page):
    head, rows = page.split("<h2>How well each score tells known members from unseen texts</h2>")
    assert "over_blind" not in head and "only this excess counts" in rows
    blind = r"<td>blind</td><td>0.50 \[.{10}\]</td><td>0.00 \[0.00, 0.00\]</td>"
    assert re.search(blind + "<td>too few</td>" * 2, rows)


@pytest.mark.parametrize("text", [*TEXTS, "  God ", "\u00e9\u00e9 \U0001f600x"])
def test_pieces_of_a_text_make_the_text(tokenizer, text):
    pieces = pieces_of_text(text, tokenizer)
    assert "".join(pieces) == text
    assert len(pieces) == len(tokenizer(text, add_special_tokens=False)["input_ids"])


def blocks(page):
    found = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", "", block)) for block in found]


def test_texts_that_stand_out_come_first_and_nothing_of_them_is_a_tag(page):
    shown = [block.replace("\u2591", "") for block in blocks(page)]
    key, first, its_nearest, second = shown[:4]
    assert key == " 0  1  2  3 or more "
    assert first == its_nearest == HOSTILE.replace("\n", "\u23ce")
    assert TEXTS[2].startswith(second) and shown[5] == TEXTS[0] and len(shown) == 1 + 6 + 3
    assert "<script" not in page and "<b " not in page and "<not>" not in page
    assert "p-value 0.01, memorized" in page and "p-value 0.25, not found" in page
    assert re.search(r"and \d+ more tokens", page)
    assert page.count("overlap 100%") == 1 and "http" not in page.replace("http://www.w3.org", "")


def test_colors_tell_the_log_probability(page):
    first = re.search(r"p-value 0.01.*?<pre>(.*?)</pre>", page, re.DOTALL)[1]
    nats = [float(value) for value in re.findall(r'title="(-?[\d.]+) nats"', first)]
    colors = [float(value) for value in re.findall(r"rgba\(0,114,178,([\d.]+)\)", first)]
    assert nats[0] == 4 and nats[-1] == 0 and colors[0] == 0 and colors[-1] == 0.75
    assert sorted(nats, reverse=True) == nats and sorted(colors) == colors


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_the_strongest_color_leaves_the_text_readable_in_light_and_dark(page):
    """A contrast of at least 4.5, as WCAG 2 asks for."""
    modes = re.findall(r"color: #(\w{3,6}); background: #(\w{3,6});", page)
    assert len(modes) == 2 and "prefers-color-scheme: dark" in page
    for mode in modes:
        ink, paper = (np.array(to_rgb(f"#{color}")) for color in mode)
        strongest = 0.25 * paper + 0.75 * np.array([0, 114, 178]) / 255
        for ground in (paper, strongest):
            low, high = sorted([luminance(ink), luminance(ground)])
            assert (high + 0.05) / (low + 0.05) > 4.5


@needs_chromium
def test_a_browser_shows_the_texts_and_asks_for_nothing(page, tmp_path):
    script = """const results = {
      scripts: document.querySelectorAll("pre script, pre b").length,
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    };"""
    assert ask(page, script, tmp_path) == {"scripts": 0, "wide": 0}
