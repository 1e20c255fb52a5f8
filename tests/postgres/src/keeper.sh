# Keeps a PostgreSQL server until standard input ends, which it does however the process at its other end goes away; then
# stops the server and removes its files. Arguments: folder of the programs, folder of the server, port.
set -u
bin=$1 folder=$2 data=$2/data
# Called by itself or by a signal that reached the whole group; the starter alone says when to end.
trap '' HUP INT TERM

end() {
    "$bin/pg_ctl" -D "$data" -m immediate -w stop >/dev/null 2>&1
    rm -rf "$folder"
    exit "$1"
}

fail() {
    cat "$folder/log" >&2
    end 1
}

"$bin/initdb" -D "$data" --username=tallymill --pwfile="$folder/password" --auth-local=trust \
    --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$folder/log" 2>&1 || fail
cat >>"$data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
port = $3
unix_socket_directories = '$folder'
max_connections = 200
deadlock_timeout = 100ms
SETTINGS
"$bin/pg_ctl" -D "$data" -l "$folder/log" -w -t 60 start >/dev/null 2>&1 || fail
echo ready
read -r _
end 0
