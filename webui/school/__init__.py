# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a school's server, for a person who is no IT person. It has no power: the agent does the work."""
