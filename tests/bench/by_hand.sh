#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Update the sample CLMS by hand, as a careful operator would: what `clms-update update` is measured against.
#
# What can be done while people work is done before anything stops. The operator does not encrypt the backup, does not
# try it out, keeps no journal and has nothing that goes back by itself; requests fail while CLMS is closed.
# `docker create` before and `docker start` while it is closed is the quickest that the command line offers.
#
#   by_hand.sh NAME=value…
#     PREFIX    of all names; PREFIX-a-mysql, PREFIX-a-backend and PREFIX-a-frontend run, PREFIX-b-… are made
#     SECRETS   folder with database.cnf, mysql.env, backend.env, smoke.json and registry.json
#     BACKUPS   folder for the dump and the files; a private one
#     REGISTRY  address of the registry; MYSQL, BACKEND and FRONTEND: the images, the last two by digest
#     HEALTH    path of the new backend's health check
#     PORT      where users reach CLMS
#
# Prints when what was done, as one JSON object of seconds since 1970.
set -euo pipefail
export LC_ALL=C
umask 077
for pair; do declare "$pair"; done
old=$PREFIX-a new=$PREFIX-b
marks=()

mark() { marks+=("\"$1\": $EPOCHREALTIME"); }

volume() { docker volume inspect --format '{{.Mountpoint}}' "$1"; }

address() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }

# Until $1 answers, for a minute.
wait_for() {
    local deadline=$((SECONDS + 60))
    until curl --silent --fail --output /dev/null --max-time 30 "$1"; do
        ((SECONDS < deadline)) || { echo "by_hand.sh: $1 does not answer" >&2; exit 1; }
        sleep 0.05
    done
}

# A container of the new version that is not started yet: name, network alias and the rest of `docker create`.
create() {
    local name=$1 alias=$2
    shift 2
    docker create --name "$new-$name" --network "$PREFIX" --network-alias "$alias" "$@" >/dev/null
}

mark began
docker exec -i "$old-mysql" mariadb-dump --defaults-extra-file=/dev/stdin --single-transaction --quick --routines \
    --triggers --events --hex-blob --comments --no-tablespaces --add-drop-database --databases clms_database \
    <"$SECRETS/database.cnf" | zstd -q -T0 -f -o "$BACKUPS/database.sql.zst"
zstd -q -d -c "$BACKUPS/database.sql.zst" | tail -n 1 | grep '^-- Dump completed' >/dev/null
mark dumped
for name in uploads generated; do
    tar -C "$(volume "$old-$name")" -c . | zstd -q -T0 -f -o "$BACKUPS/$name.tar.zst"
done
tar -C "$SECRETS" -c . | zstd -q -T0 -f -o "$BACKUPS/configuration.tar.zst"
mark packed

jq -r .password "$SECRETS/registry.json" | docker --config "$BACKUPS/docker" login --password-stdin \
    --username "$(jq -r .username "$SECRETS/registry.json")" "$REGISTRY" >/dev/null 2>&1
for image in "$BACKEND" "$FRONTEND"; do
    docker --config "$BACKUPS/docker" pull --quiet "$image" >/dev/null
done
mark pulled

# nocopy: the engine would fill new volumes with what the images have in these places
files=(--volume "$new-uploads:/app/uploads:nocopy" --volume "$new-generated:/app/generated:nocopy"
    --volume "$PREFIX-logs:/app/logs")
create mysql mysql --env-file "$SECRETS/mysql.env" --volume "$new-data:/var/lib/mysql:nocopy" "$MYSQL"
create backend backend --env-file "$SECRETS/backend.env" "${files[@]}" "$BACKEND"
create frontend-test frontend-test "$FRONTEND"
create frontend frontend --publish "127.0.0.1:$PORT:3000" "$FRONTEND"
mark created

docker stop --time 60 "$old-frontend" "$old-backend" >/dev/null
mark app_stopped
docker stop --time 300 "$old-mysql" >/dev/null
docker logs --tail 50 "$old-mysql" 2>&1 | grep -i 'shutdown complete' >/dev/null
mark db_stopped
for name in data uploads generated; do
    cp -a --reflink=auto "$(volume "$old-$name")/." "$(volume "$new-$name")/"
done
mark copied
docker start "$new-mysql" >/dev/null
docker exec "$new-mysql" sh -c 'until mariadb-admin ping >/dev/null 2>&1; do sleep 0.05; done'
mark db_started
docker run --rm --network "$PREFIX" --env-file "$SECRETS/backend.env" "${files[@]}" "$BACKEND" \
    clms-migrate deploy >"$BACKUPS/migration.log" 2>&1
mark migrated
docker start "$new-backend" "$new-frontend-test" >/dev/null
mark started
wait_for "http://$(address "$new-backend"):3001$HEALTH"
base=http://$(address "$new-frontend-test"):3000
wait_for "$base/"
mark healthy
curl --silent --show-error --fail --header 'Content-Type: application/json' --data "@$SECRETS/smoke.json" \
    "$base/api/auth/login" | jq -er '"Authorization: Bearer " + .data.accessToken' >"$BACKUPS/header"
for list in students books borrows; do
    curl --silent --show-error --fail --output /dev/null --header "@$BACKUPS/header" "$base/api/$list?limit=5"
done
mark smoked
docker start "$new-frontend" >/dev/null
# Users who knock while the container gets its address cost engines before 28 a second (they ask for it before it is
# there, and again only after a second). That is not the operator's doing, so it is not counted against him.
ip neigh flush to "$(address "$new-frontend")"
wait_for "http://127.0.0.1:$PORT/"
mark opened

docker rm --force "$new-frontend-test" >/dev/null
mark ended
(IFS=,; echo "{${marks[*]}}")
