# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate answers in place of CLMS: the maintenance page, the page of a forced update, and both for programs.

The maintenance page is a log format of HAProxy (configuration manual 8.2.6): how far an update has come is filled in at
each request, and a percent sign is written twice.
"""

from __future__ import annotations

import json
from html import escape

from .plan import PHASES
from .restart import PUTTING_BACK

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="{pause}"></noscript>
<title>{title}: {heading}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0; }}
main {{ box-sizing: border-box; max-width: min(34rem, 100%); padding: 1.5rem; min-width: 0; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; }}
progress {{ width: 20rem; max-width: 100%; height: 1.1rem; }}
pre {{ font-size: .9rem; white-space: pre-wrap; overflow-wrap: anywhere; padding: .8rem; border: 1px solid; }}
</style>
</head>
<body>
<main>
{text}
</main>
{script}
</body>
</html>
"""

# whoever reads, or has marked a command, is left where they are: only what has changed is put in its place
_SCRIPT = """\
<script>
setInterval(async () => {
  const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (!answer) return;
  if (answer.status !== 503) { location.assign(location.pathname + location.search); return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [now, next] = [document, page].map((one) => one.querySelector("main"));
  if (!next || now.innerHTML === next.innerHTML) return;
  document.title = page.title;
  now.replaceWith(next);
}, PAUSE);
</script>"""

_UPDATING = """\
<h1>The library system is being updated</h1>
<p>The library system of {title} will be back in a few minutes. Nothing that you have saved is lost.</p>
<p><progress max="100" value="{percent}" aria-label="How far the update has come"></progress></p>
<p>{phase}</p>
<p>This page looks again by itself every {pause} seconds.</p>"""

_NEEDS_OPERATOR = """\
<h1>The library system needs help</h1>
<p>An update of the library system of {title} failed, and the version before it could not be started again by itself.
Nothing that you have saved is lost.</p>
<p>Please tell {contact}. These commands, given on the server as administrator (root), start
what is missing and put the rest in order:</p>
<pre>{commands}</pre>
<p>If that does not help, <code>clms-update doctor</code> says what is wrong; then call support.</p>"""

_BLOCKED = """\
<h1>A security update has to be installed first</h1>
<p>The library system of {title} has to be updated before it can be used again. Until then, books can be looked up,
and nothing can be lent or changed. Nothing that you have saved is lost.</p>
<p>Please tell {contact}. The update can be begun at once on the page for updates; else it begins by itself at the
next quiet time.</p>"""

_NOBODY = "the person who looks after the server"
_PAUSE, _LONG_PAUSE = 5, 60
_TEXTS = {name: phase.text for name, phase in PHASES.items()} | {PUTTING_BACK: "Putting the version before back"}
_PERCENT = "%[str(percent),map(/gate/state.map,0)]"
_PHASE = "%[str(phase),map(/gate/state.map,-),map(/gate/phases.map,Please wait)]"


def files(title: str, contact: str | None = None, commands: str = "") -> dict[str, str]:
    """File name -> content of what the gate answers in place of CLMS, and of what that is filled in with.

    :param title: name of the school
    :param contact: who is to be asked when something is wrong
    :param commands: what an operator has to do by hand, where CLMS will not be back by itself; one command a line
    """
    asked = escape(contact) if contact else _NOBODY
    if commands:
        text = _NEEDS_OPERATOR.format(title=escape(title), contact=asked, commands=escape(commands))
        closed = _page(title, "out of order", text, 2 * _PAUSE)
        said = _answer("needs help from the person who looks after the server.")
    else:
        text = _UPDATING.format(title=escape(title), percent="{percent}", phase="{phase}", pause=_PAUSE)
        closed = _page(title, "back in a few minutes", text, _PAUSE)
        said = _answer("is being updated. Please try again in a minute.")
    blocked = _BLOCKED.format(title=escape(title), contact=asked)
    return {
        "maintenance.html": closed.replace("%", "%%").replace("{percent}", _PERCENT).replace("{phase}", _PHASE),
        "maintenance.json": said.replace("%", "%%"),
        "phases.map": "".join(f"{name} {text}\n" for name, text in _TEXTS.items()),
        "blocked.html": _page(title, "a security update comes first", blocked, _LONG_PAUSE),
        "blocked.json": _answer("has to be updated first; until then, books can only be looked up."),
    }


def _page(title: str, heading: str, text: str, pause: int) -> str:
    script = _SCRIPT.replace("PAUSE", str(pause * 1000))
    return _PAGE.format(title=escape(title), heading=heading, text=text, pause=pause, script=script)


def _answer(said: str) -> str:
    answer = {"success": False, "error": f"The library system {said}"}
    return f"{json.dumps(answer, separators=(',', ':'))}\n"
