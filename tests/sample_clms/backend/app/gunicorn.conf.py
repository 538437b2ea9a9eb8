# SPDX-License-Identifier: GPL-3.0-or-later
"""How gunicorn serves the application: one process with threads, quiet on the console."""

import os
import sys
from typing import Any

from clms.config import Config, ConfigError

try:
    Config.from_environment()
except ConfigError as error:  # refused here, in one line, instead of in a worker that is started again and again
    print(f"CLMS does not start: {error}", file=sys.stderr)
    sys.exit(1)

bind = f"{os.environ.get('HOST', '0.0.0.0')}:3001"  # noqa: S104  # inside a container, only its network reaches it
workers = 1
worker_class = "gthread"
threads = 16
# SIGTERM closes the port and lets requests that are being answered finish, for at most this long.
graceful_timeout = 30
timeout = 60
worker_tmp_dir = "/dev/shm"
loglevel = "warning"


def post_worker_init(worker: Any) -> None:
    """Called by gunicorn in the process that answers requests."""
    from clms.timer import start

    start(worker.app.callable.config["CLMS"])
