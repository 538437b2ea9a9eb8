# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor and schools on one machine, out of the same roles that set up real ones; the demo and the tests use it."""
