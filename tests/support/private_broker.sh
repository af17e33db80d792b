#!/bin/bash
# A private RabbitMQ node for tests, run from the installed package as the
# current user. Everything it writes lives inside DIR.
#
#   private_broker.sh start   DIR          start (first time: pick ports); prints the AMQP URL
#   private_broker.sh stop    DIR          graceful, bounded; then SIGKILL; ends its epmd too
#   private_broker.sh kill    DIR          SIGKILL at once (its epmd is ended too)
#   private_broker.sh restart DIR          start again on the same port and data; prints the URL
#   private_broker.sh ctl     DIR ARGS...  rabbitmqctl against this node
#   private_broker.sh url     DIR          print the AMQP URL
#   private_broker.sh port    DIR          print a port that is kept for a further listener of this node
#
# WARREN_BROKER_START_TIMEOUT (default 180 s) and WARREN_BROKER_STOP_TIMEOUT
# (default 30 s) bound the waits. RABBITMQ_BIN_DIR says where the RabbitMQ
# scripts are (default /usr/lib/rabbitmq/bin). WARREN_BROKER_CONF, at the first
# start, holds further lines for rabbitmq.conf, which win over those set here.
#
# For a cluster: WARREN_BROKER_SHARED, at the first start, names a folder that its
# nodes share, for their cookie and one epmd, so that they find each other. That
# epmd outlives the nodes, until `stop FOLDER`.
set -u

me=${0##*/}
bin_dir=${RABBITMQ_BIN_DIR:-/usr/lib/rabbitmq/bin}
start_timeout=${WARREN_BROKER_START_TIMEOUT:-180}
stop_timeout=${WARREN_BROKER_STOP_TIMEOUT:-30}
unset nodename node_port dist_port epmd_port ctl_port spare_port
shared=

die() {
    echo "$me: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# --- processes: a pid file holds "PID STARTTIME", so a reused pid is never hit

# Start time of a live process; fails for one that is gone or a zombie. A zombie with threads that are still ending
# is alive: until the last of them has ended, its sockets are open.
proc_start_time() {
    local stat threads
    { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
    threads=("/proc/$1/task/"*)
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    case $1 in Z | X) [ ${#threads[@]} -gt 1 ] || return 1 ;; esac
    echo "${20}"
}

save_pid() { # FILE PID
    local started
    started=$(proc_start_time "$2") || return 1
    echo "$2 $started" > "$1"
}

# Prints the pid recorded in FILE if that very process is still alive.
live_pid() { # FILE
    local pid started
    { read -r pid started < "$1"; } 2>/dev/null || return 1
    [ "$(proc_start_time "$pid")" = "$started" ] || return 1
    echo "$pid"
}

# Waits until the process recorded in FILE is gone.
wait_gone() { # FILE SECONDS
    local end=$((SECONDS + $2))
    while live_pid "$1" > /dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# Prints the descendants of a process as lines "PID STARTTIME".
descendants() { # PID
    local child started
    for child in $(ps -o pid= --ppid "$1"); do
        started=$(proc_start_time "$child") || continue
        echo "$child $started"
        descendants "$child"
    done
}

# The VM's helpers end by themselves a moment after it; makes sure of that.
end_helpers() { # LINES
    local pid started end=$((SECONDS + 2))
    while read -r pid started; do
        [ -n "$pid" ] || continue
        while [ "$(proc_start_time "$pid")" = "$started" ]; do
            [ "$SECONDS" -lt "$end" ] || kill -KILL "$pid" 2>/dev/null
            sleep 0.02
        done
    done <<< "$1"
}

end_process() { # FILE SIGNAL SECONDS: signal, bounded wait, then SIGKILL
    local pid helpers
    if pid=$(live_pid "$1"); then
        helpers=$(descendants "$pid")
        kill "-$2" "$pid" 2>/dev/null
        if ! wait_gone "$1" "$3"; then
            [ "$2" = KILL ] || echo "$me: process $pid did not end in $3 s, killing it" >&2
            kill -KILL "$pid" 2>/dev/null
            wait_gone "$1" 10 || die "process $pid survived SIGKILL"
        fi
        end_helpers "$helpers"
    fi
    rm -f "$1"
}

# --- ports

port_open() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The next of a sequence that all brokers of this user share: a port comes again only after all the others. One
# chosen at random could be that of another broker, which is down for a moment. Below the usual ephemeral range,
# so that no outgoing connection takes it meanwhile.
pick_port() {
    local sequence=/tmp/warren-test-ports.$UID last tries
    {
        flock -w 60 9 || die "cannot lock $sequence"
        read -r last <&9
        [[ $last =~ ^(1[0-9]|2[01])[0-9]{3}$ ]] || last=$((10000 + (RANDOM * 32768 + RANDOM) % 12000))
        for ((tries = 0; tries < 200; tries++)); do
            last=$((10000 + (last + 1 - 10000) % 12000))
            port_open "$last" && continue
            echo "$last" > "$sequence"
            echo "$last"
            return 0
        done
    } 9<> "$sequence"
    die "found no free port"
}

# --- layout and environment

write_env() {
    local node_port dist_port epmd_port ctl_port spare_port
    node_port=$(pick_port) || exit 1
    dist_port=$(pick_port) || exit 1
    spare_port=$(pick_port) || exit 1
    shared=${WARREN_BROKER_SHARED:-$shared}
    epmd_port=$([ -z "$shared" ] || cat "$shared/epmd_port" 2>/dev/null)
    [ -n "$epmd_port" ] || epmd_port=$(pick_port) || exit 1
    ctl_port=$((22000 + (RANDOM * 32768 + RANDOM) % 10000))
    cat > "$dir/env.new" << END
nodename=${nodename:-warren-$$-$RANDOM$RANDOM@localhost}
node_port=$node_port
dist_port=$dist_port
epmd_port=$epmd_port
ctl_port=$ctl_port
spare_port=$spare_port
shared=$shared
END
    mv "$dir/env.new" "$dir/env"
}

load_env() {
    [ -f "$dir/env" ] || die "$dir holds no broker (no $dir/env)"
    # shellcheck source=/dev/null
    . "$dir/env"
}

write_layout() {
    local line key
    if [ -n "$shared" ]; then
        mkdir -p "$shared" "$dir/home" || die "cannot create directories in $dir"
        echo "$epmd_port" > "$shared/epmd_port"
        [ -f "$shared/cookie" ] || (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > "$shared/cookie")
        [ -f "$dir/home/.erlang.cookie" ] || cp -p "$shared/cookie" "$dir/home/.erlang.cookie"
        chmod 400 "$dir/home/.erlang.cookie"
    fi
    mkdir -p "$dir/home" "$dir/mnesia" "$dir/log" "$dir/tmp" "$dir/run" "$dir/plugins-expand" ||
        die "cannot create directories in $dir"
    if [ ! -f "$dir/home/.erlang.cookie" ]; then
        (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > "$dir/home/.erlang.cookie") ||
            die "cannot write the Erlang cookie"
        chmod 400 "$dir/home/.erlang.cookie"
    fi
    [ -f "$dir/enabled_plugins" ] || echo '[].' > "$dir/enabled_plugins"
    : > "$dir/rabbitmq-env.conf"
    touch "$dir/extra.conf" || die "cannot write $dir/extra.conf"
    # A key of extra.conf takes the place of ours; of a limit, in whatever unit.
    while IFS= read -r line; do
        key=${line%% =*}
        grep -qE "^${key%.absolute}(\.[a-z]+)? *=" "$dir/extra.conf" || echo "$line"
    done << END > "$dir/rabbitmq.conf"
listeners.tcp.1 = 127.0.0.1:$node_port
max_message_size = 134217728
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
num_acceptors.tcp = 2
log.console = true
log.console.level = info
log.file = false
END
    cat "$dir/extra.conf" >> "$dir/rabbitmq.conf"
}

# Becomes a command with exactly the node's environment, nothing of the caller's.
# RUNNING_UNDER_SYSTEMD makes rabbitmq-server exec the Erlang VM, so that the
# pid we start is the VM itself.
exec_with_env() {
    exec env -i \
        PATH="$PATH:/usr/sbin:/usr/bin:/sbin:/bin" \
        LANG=C.UTF-8 LC_ALL=C.UTF-8 \
        HOME="$dir/home" TMPDIR="$dir/tmp" \
        RUNNING_UNDER_SYSTEMD=true \
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        ERL_CRASH_DUMP="$dir/log/erl_crash.dump" ERL_CRASH_DUMP_SECONDS=0 \
        RABBITMQ_NODENAME="$nodename" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_NODE_PORT="$node_port" \
        RABBITMQ_DIST_PORT="$dist_port" \
        RABBITMQ_CTL_DIST_PORT_MIN="$ctl_port" \
        RABBITMQ_CTL_DIST_PORT_MAX="$((ctl_port + 50))" \
        RABBITMQ_MNESIA_BASE="$dir/mnesia" \
        RABBITMQ_LOG_BASE="$dir/log" \
        RABBITMQ_LOGS=- \
        RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" \
        RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq-env.conf" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
        RABBITMQ_PLUGINS_EXPAND_DIR="$dir/plugins-expand" \
        RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated-config" \
        RABBITMQ_PID_FILE="$dir/run/rabbitmq.pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}" \
        "$@"
}

url() { echo "amqp://guest:guest@127.0.0.1:$node_port/%2f"; }

end_all() { # SIGNAL SECONDS; the VM first, as it would start epmd again
    end_process "$dir/run/beam" "$1" "$2"
    [ -n "$shared" ] || end_process "$dir/run/epmd" TERM 5
    rm -f "$dir/run/rabbitmq.pid"
}

# --- starting

start_epmd() {
    local epmd end pid_file=${shared:-$dir/run}/epmd
    live_pid "$pid_file" > /dev/null && return 0
    epmd=$(command -v epmd) || die "epmd not found: install rabbitmq-server (erlang-base)"
    setsid "$epmd" -address 127.0.0.1 -port "$epmd_port" \
        < /dev/null > "$dir/log/epmd.log" 2>&1 3>&- 4>&- &
    local pid=$!
    disown "$pid"
    save_pid "$pid_file" "$pid" || return 1
    end=$((SECONDS + 10))
    until port_open "$epmd_port"; do
        live_pid "$pid_file" > /dev/null || return 1
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
    sleep 0.1 # had another process held the port, ours would be gone now
    live_pid "$pid_file" > /dev/null
}

# One attempt; sets `why` on failure.
try_start() {
    local end log=$dir/log/broker.log
    write_layout
    [ ! -f "$log" ] || mv -f "$log" "$log.1"
    : > "$log"
    rm -f "$dir/run/rabbitmq.pid"
    for port in "$node_port" "$dist_port" "$epmd_port"; do
        [ "$port" != "$epmd_port" ] || ! live_pid "${shared:-$dir/run}/epmd" > /dev/null || continue
        if port_open "$port"; then
            why="port $port is in use (eaddrinuse)"
            return 1
        fi
    done
    if ! start_epmd; then
        why="epmd did not start on port $epmd_port (eaddrinuse?): $(tail -n 3 "$dir/log/epmd.log")"
        return 1
    fi
    cd "$dir" || die "cannot enter $dir"
    (
        trap - INT TERM HUP
        exec < /dev/null > "$log" 2>&1 3>&- 4>&-
        exec_with_env setsid "$bin_dir/rabbitmq-server"
    ) &
    local pid=$!
    disown "$pid"
    if ! save_pid "$dir/run/beam" "$pid"; then
        why="the broker ended at once"
        return 1
    fi
    end=$((SECONDS + start_timeout))
    until grep -q 'Server startup complete' "$log" && port_open "$node_port"; do
        if ! live_pid "$dir/run/beam" > /dev/null; then
            why="the broker ended while starting"
            return 1
        fi
        if [ "$SECONDS" -ge "$end" ]; then
            why="the broker did not accept connections in $start_timeout s"
            return 1
        fi
        sleep 0.1
    done
}

start() { # fresh: 1 when the ports may be picked anew
    local fresh=$1 attempt why=
    trap 'end_all KILL 10; exit 130' INT
    trap 'end_all KILL 10; exit 143' TERM HUP
    for attempt in 1 2 3 4 5; do
        if try_start; then
            trap - INT TERM HUP
            url
            return 0
        fi
        end_all KILL 10
        if [ "$fresh" = 1 ] && [ "$attempt" -lt 5 ] &&
            { [[ $why == *eaddrinuse* ]] || grep -qi eaddrinuse "$dir/log/broker.log"; }; then
            write_env
            load_env
            continue
        fi
        break
    done
    echo "$me: could not start the broker in $dir: $why" >&2
    echo "--- last lines of $dir/log/broker.log:" >&2
    tail -n 40 "$dir/log/broker.log" >&2
    exit 1
}

# --- commands

[ $# -ge 2 ] || usage
command=$1
dir=$2
shift 2
[ -n "$dir" ] || usage
case $dir in
    /*) ;;
    *) dir=$PWD/$dir ;;
esac
case $dir in
    *[[:space:]]*) die "the RabbitMQ scripts cannot take a directory with blanks: '$dir'" ;;
esac
[ "$command" = ctl ] || [ $# -eq 0 ] || usage

case $command in
    start | restart | ctl)
        [ -x "$bin_dir/rabbitmq-server" ] ||
            die "no $bin_dir/rabbitmq-server: install the package rabbitmq-server"
        ;;
esac

case $command in
    start)
        mkdir -p "$dir/run" || die "cannot create $dir"
        fresh=0
        if [ ! -f "$dir/env" ]; then
            fresh=1
            write_env
            printf '%s\n' "${WARREN_BROKER_CONF:-}" > "$dir/extra.conf"
        fi
        load_env
        if live_pid "$dir/run/beam" > /dev/null; then
            die "a broker already runs in $dir"
        fi
        end_all KILL 10
        start "$fresh"
        ;;
    restart)
        load_env
        end_all TERM "$stop_timeout"
        start 0
        ;;
    stop)
        if [ ! -f "$dir/env" ]; then
            end_process "$dir/epmd" TERM 5 # of a cluster's shared folder
            exit 0
        fi
        load_env
        end_all TERM "$stop_timeout"
        ;;
    kill)
        load_env
        live_pid "$dir/run/beam" > /dev/null || die "no broker runs in $dir"
        end_all KILL 10
        ;;
    ctl)
        load_env
        # Without our epmd the tool would start one of its own, for good.
        live_pid "$dir/run/beam" > /dev/null || die "no broker runs in $dir"
        exec_with_env "$bin_dir/rabbitmqctl" "$@"
        ;;
    url)
        load_env
        url
        ;;
    port)
        load_env
        echo "$spare_port"
        ;;
    *) usage ;;
esac
