# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate answers in place of CLMS: the maintenance page, the page of a forced update, and both for programs.

A page is there in each language of :mod:`.maintenance_texts`, and a browser gets the one that it asks for.

The maintenance page is a log format of HAProxy (configuration manual 8.2.6): how far an update has come is filled in at
each request, and a percent sign is written twice.
"""

from __future__ import annotations

import json
from html import escape

from .maintenance_texts import LANGUAGES, ORIGINAL, Words

_PAGE = """\
<!DOCTYPE html>
<html lang="{language}">
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

_PAUSE, _LONG_PAUSE = 5, 60
_PERCENT = "%[str(percent),map(/gate/state.map,0)]"
_PHASE = "%[str(phase),map(/gate/state.map,-),map(/gate/{phases},{wait})]"


def files(title: str, contact: str | None = None, commands: str = "") -> dict[str, str]:
    """File name -> content of what the gate answers in place of CLMS, and of what that is filled in with.

    :param title: name of the school
    :param contact: who is to be asked when something is wrong
    :param commands: what an operator has to do by hand, where CLMS will not be back by itself; one command a line
    """
    if commands:
        said = _answer("needs help from the person who looks after the server.")
    else:
        said = _answer("is being updated. Please try again in a minute.")
    found = {
        "maintenance.json": said.replace("%", "%%"),
        "blocked.json": _answer("has to be updated first; until then, books can only be looked up."),
    }
    for language, words in LANGUAGES.items():
        found |= _pages(language, words, title, contact, commands)
    return found


def name_of(file: str, language: str) -> str:
    """The name of a file in a language: ``maintenance.de.html``; English has the plain one."""
    stem, ending = file.rsplit(".", 1)
    return file if language == ORIGINAL else f"{stem}.{language}.{ending}"


def _pages(language: str, words: Words, title: str, contact: str | None, commands: str) -> dict[str, str]:
    named = {"title": escape(title), "contact": escape(contact) if contact else words.nobody}
    phases = name_of("phases.map", language)
    if commands:
        text = words.needs_operator.format(commands=escape(commands), **named)
        closed = _page(language, title, words.needs_operator_title, text, 2 * _PAUSE)
    else:
        text = words.updating.format(percent="{percent}", phase="{phase}", pause=_PAUSE, **named)
        closed = _page(language, title, words.updating_title, text, _PAUSE)
    phase = _PHASE.format(phases=phases, wait=words.wait)
    blocked = _page(language, title, words.blocked_title, words.blocked.format(**named), _LONG_PAUSE)
    return {
        name_of("maintenance.html", language): closed.replace("%", "%%")
        .replace("{percent}", _PERCENT)
        .replace("{phase}", phase),
        phases: "".join(f"{name} {text}\n" for name, text in words.phases.items()),
        name_of("blocked.html", language): blocked,
    }


def _page(language: str, title: str, heading: str, text: str, pause: int) -> str:
    script = _SCRIPT.replace("PAUSE", str(pause * 1000))
    return _PAGE.format(language=language, title=escape(title), heading=heading, text=text, pause=pause, script=script)


def _answer(said: str) -> str:
    answer = {"success": False, "error": f"The library system {said}"}
    return f"{json.dumps(answer, separators=(',', ':'))}\n"
