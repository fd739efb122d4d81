//! Benchmarks of uct: `benches/observer.rs` (criterion), `src/bin/router` (network namespaces; `benches/router.sh`).
