"""What the pages of a report share: their style, and links to the pages before and after."""

import html
import re
from pathlib import Path

__all__ = ["linked", "page", "title_of"]

_LINKS = re.compile(r'<nav class="book">.*?</nav>', re.DOTALL)


def page(title: str, content: str) -> str:
    """A page of ``content``, in HTML, with no links yet."""
    css = Path(__file__).with_name("book.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<nav class="book"></nav>
{content}
<nav class="book"></nav>
</body>
</html>
"""


def title_of(content: str) -> str:
    """The title of a page, as HTML."""
    found = re.search("<title>(.*?)</title>", content)
    return found[1] if found else ""


def linked(content: str, before: str, middle: str, after: str) -> str:
    """A page with other links at its top and bottom: three pieces of HTML, maybe empty."""
    links = "".join(f"<span>{part}</span>" for part in (before, middle, after))
    return _LINKS.sub(lambda _: f'<nav class="book">{links}</nav>', content)
