#!/bin/bash
# What the official image promises to the outside, as far as docker-compose.yml uses it: it initialises an empty PGDATA with the
# user, password (by file) and database that the environment names, runs /docker-entrypoint-initdb.d while it listens on its
# socket only, and then becomes the server.
set -euo pipefail

if [ "${1:-}" != postgres ]; then
    exec "$@"
fi

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
password_file=${POSTGRES_PASSWORD_FILE:?names a file with the password of $user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    install --directory --mode 0700 "$PGDATA"
    # shellcheck disable=SC2086  # several options in one variable
    initdb --pgdata="$PGDATA" --username="$user" --pwfile="$password_file" --auth=trust ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --wait start --options="-c listen_addresses='' -k /var/run/postgresql"
    run() { psql --host=/var/run/postgresql --username="$user" --no-password --no-psqlrc --set=ON_ERROR_STOP=1 "$@"; }
    if [ "$database" != postgres ]; then
        run --dbname=postgres --set=name="$database" <<<'CREATE DATABASE :"name"'
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sql) run --dbname="$database" --file="$file" ;;
        *.sh) POSTGRES_USER=$user POSTGRES_DB=$database bash "$file" ;;
        esac
    done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
fi

# What the official image has in its postgresql.conf; the command's own options come later and win.
exec postgres -c unix_socket_directories=/var/run/postgresql -c listen_addresses='*' "${@:2}"
