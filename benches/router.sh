#!/usr/bin/env bash
# `uct run` beside the kernel's router, beside a bare copier, and beside what a user would take instead: one table, and JSON.
#
#   benches/router.sh [--rounds N] [--seconds S] [--only NAME,NAME] [--workers N] [--json FILE]
#
# Builds what it needs and runs benches/src/bin/router, which says what is measured and how. Needs root, iproute2, nftables and
# iperf3; slirp4netns and passt take part if they are there. All traffic stays in network namespaces that are gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -q -p uct -p uct-benches
exec target/release/router --uct target/release/uct "$@"
