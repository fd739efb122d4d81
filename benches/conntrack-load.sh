#!/usr/bin/env bash
# How long a million entries take over the control socket, and how much memory, beside conntrack(8) and the kernel.
#
#   benches/conntrack-load.sh [ENTRIES [UCT [alone]]]     ENTRIES: 1000000 unless said; UCT: target/release/uct
#
# Both load the same file (-R), list it (-L), list it as -o save, count it (-C) and delete a tenth (-D by destination). Memory is the
# largest resident set: of the client for each command, of the router once. The kernel's table takes no more than nf_conntrack_max
# entries, so that is raised for as long as this runs, and the entries stand in a network namespace of their own. Needs root, GNU
# time and conntrack; without root, or with `alone`, only uct is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
entries=${1:-1000000}
uct=${2:-target/release/uct}
directory=$(mktemp -d)
namespace=uct-load-$$
max_file=/proc/sys/net/netfilter/nf_conntrack_max
router=
before=

leave() {
    [[ -z $router ]] || kill "$router" 2>/dev/null || true
    if [[ -n $before ]]; then
        ip netns del "$namespace" 2>/dev/null || true
        echo "$before" >"$max_file"
    fi
    rm -rf "$directory"
}
trap leave EXIT

[[ -x $uct ]] || { echo "$uct is not there: cargo build --release -p uct" >&2; exit 1; }

# Ten destinations, so that one of them is a tenth; a source for every 50000 ports.
awk -v n="$entries" 'BEGIN {
    for (i = 0; i < n; i++) {
        s = int(i / 50000); p = 1024 + i % 50000
        printf "-A -t 3600 -u SEEN_REPLY,ASSURED -s 10.0.%d.%d -d 10.9.0.%d -r 10.9.0.%d -q 10.0.%d.%d -p tcp --sport %d --dport 443 --reply-port-src 443 --reply-port-dst %d --state ESTABLISHED\n",
            int(s / 250), 1 + s % 250, i % 10, i % 10, int(s / 250), 1 + s % 250, p, p
    }
}' >"$directory/entries"

# seconds and kilobytes of a command, whose output goes to a file
measure() {
    /usr/bin/time -f '%e %M' -o "$directory/time" "$@" >"$directory/out" 2>"$directory/err" || {
        echo "failed: $*" >&2
        head -3 "$directory/err" >&2
        exit 1
    }
    cat "$directory/time"
}

# every step with one tool: NAME SECONDS KILOBYTES LINES
steps() {
    local lines
    for step in "-R $directory/entries" "-L" "-L -o save" "-C" "-D -d 10.9.0.7"; do
        # shellcheck disable=SC2086
        read -r seconds kilobytes < <(measure "$@" $step)
        lines=$(wc -l <"$directory/out")
        [[ $step == -C ]] && lines=$(cat "$directory/out")
        echo "${step%% $directory*}|$seconds|$kilobytes|$lines"
    done
}

"$uct" run --socket "$directory/socket" --sysctl nf_conntrack_max=$((entries + 1000)) 2>/dev/null &
router=$!
for _ in $(seq 100); do [[ -S $directory/socket ]] && break; sleep 0.05; done
steps "$uct" conntrack --socket "$directory/socket" >"$directory/uct"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$router/status")
held=$(awk '/VmRSS/ { print $2 }' "/proc/$router/status")

if [[ ${3:-} != alone && $(id -u) == 0 ]] && command -v conntrack >/dev/null; then
    modprobe nf_conntrack 2>/dev/null || true
    before=$(cat "$max_file")
    ip netns add "$namespace"
    echo $((before > entries + 1000 ? before : entries + 1000)) >"$max_file" || true
    allowed=$(cat "$max_file")
    if ((allowed < entries)); then
        echo "nf_conntrack_max cannot be raised above $allowed: the kernel gets that many" >&2
        head -n "$((allowed - 100))" "$directory/entries" >"$directory/fewer" && mv "$directory/fewer" "$directory/entries"
    fi
    slab() { awk '/^nf_conntrack / { print $2 * $4 / 1024 }' /proc/slabinfo; }
    slab_before=$(slab)
    steps ip netns exec "$namespace" conntrack >"$directory/kernel"
    slab_after=$(slab)
fi

echo "$entries entries; $(nproc) processors; seconds, and the client's largest memory"
printf '%-16s %9s %9s %10s' command uct MB lines
[[ -z $before ]] || printf ' %9s %9s %10s %12s' kernel MB lines uct/kernel
echo
paste -d'|' "$directory/uct" $([[ -z $before ]] || echo "$directory/kernel") | awk -F'|' '{
    printf "%-16s %9.2f %9.1f %10d", $1, $2, $3 / 1024, $4
    if (NF > 4) printf " %9.2f %9.1f %10d %11.2fx", $6, $7 / 1024, $8, $2 / ($6 > 0 ? $6 : 0.01)
    print ""
}'
awk -v p="$peak" -v h="$held" -v n="$entries" 'BEGIN { printf "router: %.0f MB at most, %.0f MB now: %.0f bytes an entry\n", p / 1024, h / 1024, p * 1024 / n }'
[[ -z $before ]] || awk -v a="$slab_before" -v b="$slab_after" 'BEGIN { printf "kernel: its slab of entries grew by %.0f MB\n", (b - a) / 1024 }'
