# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix (``make faults``): what becomes of a school when something breaks in the middle of a run."""
