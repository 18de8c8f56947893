"""The HTML page of an executed notebook, which a browser shows without internet.

nbconvert's own pages load MathJax, require.js and Mermaid from the internet. Here formulas are
MathML, which browsers draw by themselves, and no script is left.
"""

import html

from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

__all__ = ["notebook_page"]

_TEMPLATE = """{% extends 'index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""


def notebook_page(notebook: NotebookNode, title: str) -> str:
    """The page of ``notebook``, in one file.

    Args:
        notebook: with its outputs.
        title: of the page.
    """
    exporter = HTMLExporter(raw_template=_TEMPLATE)
    exporter.register_filter("markdown2html", _markdown)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return page


class _Renderer(IPythonRenderer):
    """Renders Markdown as nbconvert does, but formulas as MathML, and no links to files."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        # What lies beside a notebook does not lie beside the page of an executed copy.
        return super().link(text, url, title) if "://" in url or url.startswith("#") else text

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


@pass_context
def _markdown(context: Context, source: str) -> str:
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = _Renderer(escape=False, attachments=attachments)
    text: str = MarkdownWithMath(renderer=renderer).render(source)
    return text


def _mathml(formula: str, display: str) -> str:
    try:
        return convert(formula, display=display)
    except Exception:  # each kind of mistake has its own; none should cost the page
        return f"<code>{html.escape(formula)}</code>"
