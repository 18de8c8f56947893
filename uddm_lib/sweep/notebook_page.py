"""The HTML page of an executed notebook, which a browser shows without internet.

nbconvert's own pages load MathJax, require.js and Mermaid from the internet. Here formulas are
MathML, which browsers draw by themselves, and there is no script.
"""

import html
from base64 import b64decode
from copy import deepcopy

from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from uddm_lib.sweep import book

__all__ = ["notebook_page"]

_WIDE = 640  # pixels of a picture from which it scrolls on a phone: smaller, nobody could read it
_ALTERNATIVE = "What the code above draws"  # for those who don't see a picture


def notebook_page(notebook: NotebookNode, name: str) -> str:
    """The page of ``notebook``, in one file.

    Args:
        notebook: with its outputs.
        name: its title, if it has no heading.
    """
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    exporter.register_filter("markdown2html", _markdown)
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            _describe_picture(output)
    content, _ = exporter.from_notebook_node(notebook)
    return book.page(_heading(notebook) or name, content)


def _heading(notebook: NotebookNode) -> str:
    """The heading that the notebook opens with, or nothing."""
    opening = notebook.cells[0].source if notebook.cells else ""
    return opening.partition("\n")[0][2:].replace("$", "") if opening.startswith("# ") else ""


def _describe_picture(output: NotebookNode) -> None:
    """Make nbconvert give a wide picture the class ``unconfined``, and each an alternative text."""
    if picture := output.get("data", {}).get("image/png"):
        about = output.setdefault("metadata", {}).setdefault("image/png", {})
        about.setdefault("alt", _ALTERNATIVE)
        width = int.from_bytes(b64decode(picture[:32])[16:20])  # where a PNG has it
        about["unconfined"] = width > _WIDE


class _Renderer(IPythonRenderer):
    """Renders Markdown as nbconvert does, but formulas as MathML, and no links to files."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        # What lies beside a notebook does not lie beside the page of an executed copy.
        return super().link(text, url, title) if "://" in url or url.startswith("#") else text

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>\n{text}</table></div>\n'

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{_mathml(body, "block")}</span>'

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


@pass_context
def _markdown(context: Context, source: str) -> str:
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = _Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
    text: str = MarkdownWithMath(renderer=renderer).render(source)
    return text


def _mathml(formula: str, display: str) -> str:
    try:
        return convert(formula, display=display)
    except Exception:  # each kind of mistake has its own; none should cost the page
        return f"<code>{html.escape(formula)}</code>"
