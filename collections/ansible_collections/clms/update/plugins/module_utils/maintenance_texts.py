# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate's own pages say, in each language that they have; see :mod:`.maintenance`.

Modules are sent to schools as Python alone, so the words are no gettext catalogue. A test compares them with that of
the school's page: a phase has one name in both.
"""

from __future__ import annotations

from dataclasses import dataclass

from .plan import PHASES
from .restart import PUTTING_BACK


@dataclass(frozen=True)
class Words:
    """One language. A title is that of the browser's window; a text is HTML, and names ``title``, the school's, and
    what else its page has.
    """

    updating_title: str
    updating: str
    """names ``percent``, ``phase`` and ``pause``, in seconds"""
    needs_operator_title: str
    needs_operator: str
    """names ``contact`` and ``commands``"""
    blocked_title: str
    blocked: str
    """names ``contact``"""
    nobody: str
    """in place of a contact"""
    wait: str
    """in place of a phase"""
    phases: dict[str, str]
    """name of a phase -> what is done then"""


ORIGINAL = "en"
"""what is shown to those who want a language that is not here"""

LANGUAGES: dict[str, Words] = {
    "en": Words(
        updating_title="back in a few minutes",
        updating="""\
<h1>The library system is being updated</h1>
<p>The library system of {title} will be back in a few minutes. Nothing that you have saved is lost.</p>
<p><progress max="100" value="{percent}" aria-label="How far the update has come"></progress></p>
<p>{phase}</p>
<p>This page looks again by itself every {pause} seconds.</p>""",
        needs_operator_title="out of order",
        needs_operator="""\
<h1>The library system needs help</h1>
<p>An update of the library system of {title} failed, and the version before it could not be started again by itself.
Nothing that you have saved is lost.</p>
<p>Please tell {contact}. These commands, given on the server as administrator (root), start
what is missing and put the rest in order:</p>
<pre>{commands}</pre>
<p>If that does not help, <code>clms-update doctor</code> says what is wrong; then call support.</p>""",
        blocked_title="a security update comes first",
        blocked="""\
<h1>A security update has to be installed first</h1>
<p>The library system of {title} has to be updated before it can be used again. Until then, books can be looked up,
and nothing can be lent or changed. Nothing that you have saved is lost.</p>
<p>Please tell {contact}. The update can be begun at once on the page for updates; else it begins by itself at the
next quiet time.</p>""",
        nobody="the person who looks after the server",
        wait="Please wait",
        phases={
            **{name: phase.text for name, phase in PHASES.items()},
            PUTTING_BACK: "Putting the version before back",
        },
    ),
    "de": Words(
        updating_title="in ein paar Minuten wieder da",
        updating="""\
<h1>Das Bibliothekssystem wird aktualisiert</h1>
<p>Das Bibliothekssystem von {title} ist in ein paar Minuten wieder da. Nichts, was Sie gespeichert haben, geht
verloren.</p>
<p><progress max="100" value="{percent}" aria-label="Wie weit das Update ist"></progress></p>
<p>{phase}</p>
<p>Diese Seite sieht alle {pause} Sekunden von selbst wieder nach.</p>""",
        needs_operator_title="außer Betrieb",
        needs_operator="""\
<h1>Das Bibliothekssystem braucht Hilfe</h1>
<p>Ein Update des Bibliothekssystems von {title} ist fehlgeschlagen, und die Version davor ließ sich nicht von selbst
wieder starten. Nichts, was Sie gespeichert haben, ist verloren.</p>
<p>Bitte sagen Sie {contact} Bescheid. Diese Befehle, als Administrator (root) auf dem Server eingegeben, starten, was
fehlt, und bringen das Übrige in Ordnung:</p>
<pre>{commands}</pre>
<p>Wenn das nicht hilft, sagt <code>clms-update doctor</code>, was nicht stimmt; rufen Sie dann den Support an.</p>""",
        blocked_title="zuerst kommt ein Sicherheits-Update",
        blocked="""\
<h1>Zuerst muss ein Sicherheits-Update installiert werden</h1>
<p>Das Bibliothekssystem von {title} muss aktualisiert werden, bevor es wieder benutzt werden kann. Bis dahin lassen
sich Bücher nachschlagen, aber nichts ausleihen oder ändern. Nichts, was Sie gespeichert haben, geht verloren.</p>
<p>Bitte sagen Sie {contact} Bescheid. Das Update kann auf der Seite für Updates sofort begonnen werden; sonst beginnt
es von selbst zur nächsten ruhigen Zeit.</p>""",
        nobody="der Person, die den Server betreut,",
        wait="Bitte warten",
        phases={
            "preflight": "Server und alles Nötige prüfen",
            "release": "Neue Version herunterladen und Signatur prüfen",
            "image_pull": "Programmteile herunterladen",
            "backup": "Sicherung erstellen und durch Wiederherstellen prüfen",
            "rehearse": "Update an einer Kopie der Daten proben",
            "drain": "Laufende Anfragen beenden und CLMS schließen",
            "slot": "Daten vorbereiten",
            "migrate": "Daten umwandeln",
            "container_replace": "CLMS starten",
            "health_check": "Prüfen, ob CLMS funktioniert",
            "commit": "Endgültig übernehmen",
            "open": "CLMS wieder öffnen",
            "clean_up": "Aufräumen",
            PUTTING_BACK: "Vorherige Version wiederherstellen",
        },
    ),
}
