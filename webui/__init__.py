# SPDX-License-Identifier: GPL-3.0-or-later
"""What is served over HTTP: the release server (``vendor``), and what all servers share (``common``)."""
