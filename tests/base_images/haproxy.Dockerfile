FROM clms-base:bookworm
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends haproxy \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
# HAProxy takes SIGUSR1 as "finish what is open, then go"; SIGTERM would cut connections.
STOPSIGNAL SIGUSR1
