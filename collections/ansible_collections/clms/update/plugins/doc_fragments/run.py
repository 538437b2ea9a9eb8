# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of a module that carries out a phase."""

from __future__ import annotations


class ModuleDocFragment:
    """Options, attributes and requirements of a module that carries out one phase of an open run."""

    DOCUMENTATION = r"""
options:
  home:
    description:
      - Folder on the school server that holds the journal and the runs.
    type: path
    required: true
  run:
    description:
      - Number of the open run, as the module that opened it returned.
      - A run that has ended or was overtaken by a newer one is refused.
    type: int
    required: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: partial
    details:
      - In check mode the module does nothing and reports a change.
        What the phase would find can only be seen by doing the phases before it.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: none
    details:
      - Each phase is done once in a run; a second call is refused with the code V(RUN_PHASE).
        A phase that was interrupted may be called again and does what is missing.
requirements:
  - a Docker engine on the managed node, and the right to use it
  - docker (Python library)
  - PyMySQL (Python library)
"""
