FROM clms-base:bookworm
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends nginx-light \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/default
STOPSIGNAL SIGQUIT
