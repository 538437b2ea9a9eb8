# SPDX-License-Identifier: GPL-3.0-or-later
"""What the closed gate answers: the maintenance page for people, and the same for programs."""

from __future__ import annotations

import json
from html import escape

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="10">
<title>{title}: {heading}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0; }}
main {{ max-width: 34rem; padding: 1.5rem; min-width: 0; }}
h1 {{ font-size: 1.6rem; }}
pre {{ font-size: .9rem; white-space: pre-wrap; overflow-wrap: anywhere; padding: .8rem; border: 1px solid; }}
</style>
</head>
<body>
<main>
{text}
</main>
</body>
</html>
"""

_UPDATING = """\
<h1>The library system is being updated</h1>
<p>The library system of {title} will be back in a few minutes. Nothing that you have saved is lost.</p>
<p>This page looks again by itself every ten seconds.</p>"""

_NEEDS_OPERATOR = """\
<h1>The library system needs help</h1>
<p>An update of the library system of {title} failed, and the version before it could not be started again by itself.
Nothing that you have saved is lost.</p>
<p>Please tell the person who looks after the server. These commands, given on the server as administrator (root), start
what is missing and put the rest in order:</p>
<pre>{commands}</pre>
<p>If that does not help, <code>clms-update doctor</code> says what is wrong; then call support.</p>"""


def files(title: str, commands: str = "") -> dict[str, str]:
    """File name -> content of what the closed gate answers.

    :param title: name of the school
    :param commands: what an operator has to do by hand, where CLMS will not be back by itself; one command a line
    """
    heading, template = ("out of order", _NEEDS_OPERATOR) if commands else ("back in a few minutes", _UPDATING)
    safe = escape(title)
    text = template.format(title=safe, commands=escape(commands))
    what = "needs help from the person who looks after the server." if commands else "is being updated."
    when = "" if commands else " Please try again in a minute."
    answer = {"success": False, "error": f"The library system {what}{when}"}
    return {
        "maintenance.html": _PAGE.format(title=safe, heading=heading, text=text),
        "maintenance.json": f"{json.dumps(answer, separators=(',', ':'))}\n",
    }
