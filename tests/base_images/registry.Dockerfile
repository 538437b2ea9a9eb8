FROM clms-base:bookworm
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends docker-registry ca-certificates \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
