# shellcheck shell=sh
# What ./start and ./check share: where they are, how they speak, what they log, one at a time.
# Sourced with $root set to the project's folder, which is also the current one.

# The caller's Python settings would reach into .venv; sbin is where dpkg finds its tools.
unset PYTHONPATH PYTHONHOME
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH

log=var/setup.log

say() {
    printf '%s\n' "$*"
}

complain() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# stop STATUS WORDS: one line that says what is wrong and what to do. Statuses are those of
# sysexits.h: 69 something needed is missing, 77 not permitted.
stop() {
    status=$1
    shift
    complain "$*"
    exit "$status"
}

# Take the project's folder for this process: nobody else sets it up at the same time.
begin() {
    trap 'complain "stopped; calling ./${0##*/} again goes on from here."; exit 130' INT
    trap 'exit 143' TERM HUP
    if ! mkdir -p var 2>/dev/null || ! [ -w . ] || ! [ -w var ]; then
        stop 77 "$root cannot be written to by $(id -un); call this as the owner of the folder, or copy the folder."
    fi
    for file in "$log" var/setup.lock .venv; do
        if [ -e "$file" ] && ! [ -w "$file" ]; then
            stop 77 "$root/$file belongs to someone else; call this as its owner, or remove it."
        fi
    done
    exec 9>>var/setup.lock
    if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
        say "Another ./start or ./check is at work in this folder; waiting for it."
        # A file system without locks (some network shares) is no reason to stop.
        flock 9 || true
    fi
}

# Let the next one in: what follows may run beside it.
finish() {
    exec 9>&-
}

# step WORDS COMMAND...: say the words, run the command with its output in the log. When it fails,
# show the end of the log and hand its status back.
step() {
    attempt "$@" || {
        outcome=$?
        complain "that failed (status $outcome); the end of $root/$log:"
        tail -n "+$((lines + 1))" "$log" | tail -n 15 | sed 's/^/    /' >&2
        return "$outcome"
    }
}

# The same for what may fail because there is another way: the log alone tells of it.
attempt() {
    words=$1
    shift
    say "$words ..."
    printf '\n== %s  %s\n' "$(date)" "$words" >>"$log"
    lines=$(wc -l <"$log")
    began=$(date +%s)
    outcome=0
    # In a shell of its own, so that an interruption is told here and not in the log.
    # 9 is the lock: nothing that a command leaves running may keep it.
    ("$@") </dev/null >>"$log" 2>&1 9>&- || outcome=$?
    [ "$outcome" -eq 0 ] || return "$outcome"
    took=$(($(date +%s) - began))
    [ "$took" -lt 5 ] || say "    done in $took s"
}
