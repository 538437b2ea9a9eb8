# SPDX-License-Identifier: GPL-3.0-or-later
"""What every server of this project does the same way."""
