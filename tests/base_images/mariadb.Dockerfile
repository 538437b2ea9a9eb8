FROM clms-base:bookworm
# The ids are fixed before the package could pick any: a data directory that is copied or restored keeps its owner.
RUN groupadd --system --gid 999 mysql \
 && useradd --system --uid 999 --gid mysql --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin mysql \
 && apt-get update -q \
 && apt-get install -y -q --no-install-recommends mariadb-server \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && rm -rf /var/lib/mysql /run/mysqld \
 && install -d -o mysql -g mysql -m 0750 /var/lib/mysql \
 && install -d -o mysql -g mysql -m 0755 /run/mysqld
