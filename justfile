# Everything that a person or CI runs here; `just` alone lists it.

# A recipe's arguments reach its script as "$@", so that a folder with blanks stays one word.
set positional-arguments

_default:
    @just --list --unsorted

# A tracker on port 9470 of this machine; nodes here and on the LAN find it by themselves
[group('run')]
tracker *ARGS:
    cargo run --release --package potluck-rendezvous --bin potluck-tracker -- "$@"

# A node: `just node --share DIR`; with no tracker named it finds one on this machine or the LAN
[group('run')]
node *ARGS:
    cargo run --release --package potluck-node --bin potluck -- node "$@"

# Any verb, at the running node if there is one: `just potluck search blue`
[group('run')]
potluck *ARGS:
    @cargo run --quiet --release --package potluck-node --bin potluck -- "$@"

# A tracker and three nodes on real folders that search and download; `just demo --keep` leaves them running
[group('run')]
demo *ARGS:
    cargo demo "$@"

# N more nodes on this machine, each with its own data folder; they end with Ctrl-C
[group('run')]
swarm N='3':
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --package potluck-node
    target="${CARGO_TARGET_DIR:-target}"
    home="$(mktemp -d)"
    trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$home"' EXIT
    for i in $(seq 1 "$1"); do
        mkdir -p "$home/$i/share"
        date > "$home/$i/share/made by node $i.txt"
        "$target/release/potluck" --data-dir "$home/$i" node --nickname "node $i" --share "n$i=$home/$i/share" \
            --listen /ip4/0.0.0.0/tcp/0 --download-dir "$home/$i/downloads" < /dev/null &
    done
    wait

# All tests: of the pure modules, of the architecture, and scenarios with real programs
[group('check')]
test *ARGS:
    cargo test --workspace "$@"

# The long stories: hundreds of kills at random moments, of trackers and of downloads; prints what was fetched twice
[group('check')]
gauntlet *ARGS:
    cargo test --release --package potluck-tests --test scenarios -- --ignored --nocapture "$@"

# Exactly what CI runs
[group('check')]
ci:
    .ci/run

# New pictures of the page for docs/screenshots; needs Debian's chromium and chromium-driver
[group('check')]
screenshots:
    POTLUCK_SCREENSHOTS="$PWD/docs/screenshots" cargo test --package potluck-tests --test scenarios -- the_page_in_a_browser

# What must hold for any bytes, under libFuzzer: 60 seconds a target, or `just fuzz SECONDS TARGET…`; needs a C++ compiler
[group('check')]
fuzz *ARGS:
    tests/fuzz/run "$@"

# The packages potluck and potluck-tracker for Debian; needs cargo-deb
[group('run')]
deb:
    packaging/deb

# Licences, sources, advisories and versions of all dependencies; needs cargo-deny
[group('check')]
deny:
    cargo deny --config .deny.toml check

# The documentation of all crates, with private items, in a browser
[group('check')]
doc:
    cargo doc --workspace --no-deps --document-private-items --open

# How fast files move between nodes, and by curl, rsync, scp, tar and aria2 if installed; --help names the cases
[group('measure')]
bench-transfer *ARGS:
    cargo run --quiet --release --package potluck-tests --bin bench-transfer -- "$@"

# The index in process: `just bench-index CORPUS.tsv QUERIES.tsv [ENTRIES]`; one JSON line a result
[group('measure')]
bench-index CORPUS QUERIES *ARGS:
    cargo run --quiet --release --package potluck-common --example bench_index -- "$@"

# The index over the wire: a thousand peers publish to a tracker and search it, and it starts again
[group('measure')]
bench-index-wire CORPUS QUERIES *ARGS:
    cargo run --quiet --release --package potluck-tests --bin bench-index -- "$@"
