# What a Python web application on Debian needs, without pip.
FROM clms-base:bookworm
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3 python3-flask python3-pymysql gunicorn ca-certificates \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
