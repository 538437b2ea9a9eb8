# SPDX-License-Identifier: GPL-3.0-or-later
"""The attack catalogue (``make attacks``): what somebody can do to a school and its vendor, and what comes of it."""
