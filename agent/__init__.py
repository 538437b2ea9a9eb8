# SPDX-License-Identifier: GPL-3.0-or-later
"""The root executor on a school server: scheduler, lock, runs of the playbooks, recovery, and the command line."""
