#!/bin/sh
# Record the stories of this folder anew: real clients and servers in network namespaces, the kernel's own NAT between them.
#
#   pcaps/record.sh            all stories
#   pcaps/record.sh NAME...    some of them
#
# Needs root and a Linux kernel with namespaces, veth, bridge, nf_tables, nf_conntrack, nf_nat and nfnetlink_log.
# Installs the Debian packages that are missing. README.md beside this file says what each story holds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

[ "$(id -u)" = 0 ] || { echo "record.sh: run as root: it makes network namespaces and loads nft rulesets into them" >&2; exit 1; }

# command:package
missing=
for need in ip:iproute2 nft:nftables conntrack:conntrack ethtool:ethtool curl:curl dig:bind9-dnsutils ping:iputils-ping \
            traceroute:traceroute nc:netcat-openbsd socat:socat python3:python3; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need##*:}"
done
if [ -n "$missing" ]; then
    echo "record.sh: installing$missing" >&2
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
fi

# The recorder alone decides what the clients see: no proxies, locales or personal curl and dig settings from the caller.
# -B: leave no byte code beside the sources.
cd "$here"
exec env -i PATH="$PATH" LC_ALL=C HOME=/nonexistent python3 -B record "$@"
