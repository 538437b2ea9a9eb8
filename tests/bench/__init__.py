# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the figures of architecture.md on a real stand, against the plain script ``by_hand.sh``."""
