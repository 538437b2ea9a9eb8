# SPDX-License-Identifier: GPL-3.0-or-later
"""The release manager's tool `clms-release`: builds, signs and publishes releases."""
