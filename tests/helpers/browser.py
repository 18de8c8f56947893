"""A page opened in headless Chromium: what its own scripts compute there, and what it complains of.

No driver is needed: the test adds a script to a copy of the page, and the script writes its results
into an element of the document, which Chromium prints.
"""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

# Before the page's own scripts, so that none of their errors is missed.
_LISTEN = """<script>
const complaints = [];
addEventListener("error", (event) => complaints.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => complaints.push(event.blockedURI));
</script>"""
_TELL = """<script>
addEventListener("load", () => {{
  {script}
  const told = document.createElement("pre");
  told.id = "told";
  const requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  told.textContent = JSON.stringify({{ complaints, requests, results }});
  document.body.append(told);
}});
</script>"""


def ask(page, script, folder, files=False):
    """Open ``page`` with ``script``, which leaves an object ``results``.

    With ``files`` the page may ask for files, and look into those in its frames.

    Returns:
        The results, after checks that the page wrote no error and asked for nothing.
    """
    assert page.count("</head>") == 1 and page.count("</body>") == 1
    asking = page.replace("</head>", f"{_LISTEN}</head>")
    asking = asking.replace("</body>", f"{_TELL.format(script=script)}</body>")
    (folder / "page.html").write_text(asking, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            *(["--allow-file-access-from-files"] if files else []),
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, f"the page's script failed: {console or done.stderr[-2000:]}"
    told = json.loads(unescape(told[1]))
    requests = [name for name in told["requests"] if not (files and name.startswith("file:"))]
    complaints = console + told["complaints"] + requests
    assert not complaints, complaints
    return told["results"]
