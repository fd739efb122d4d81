//! Counters: the kernel's own (`conntrack -S`), and one for each reason that the engine can give.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Invalid;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The engine's counters.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: Counter,)*
            invalid_reasons: [Counter; Invalid::COUNT],
        }

        impl Stats {
            /// The counters by the names that `conntrack -S` prints, in its order.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get())),*].into_iter()
            }
        }
    };
}

/// Counts upwards from zero.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Tuples that NAT found taken while it looked for a free one.
    found,
    /// Packets without a connection because the tracker said no.
    invalid,
    /// Connections inserted.
    insert,
    /// Insertions that failed.
    insert_failed,
    /// Packets dropped for want of a connection.
    drop,
    /// Connections given up to make room.
    early_drop,
    /// ICMP packets that the tracker refused.
    error,
    /// Lookups that began again.
    search_restart,
    /// Clashes that were resolved.
    clash_resolve,
    /// Insertions refused because too many connections share a hash.
    chaintoolong,
}

impl Stats {
    pub(crate) fn count_invalid(&self, why: Invalid, is_error: bool) {
        if is_error {
            self.error.count()
        } else {
            self.invalid.count()
        }
        self.invalid_reasons[why.index()].count();
    }

    /// How often each reason was given, for the reasons that were.
    pub fn invalid_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Invalid::NAMES.into_iter().zip(self.invalid_reasons.iter().map(Counter::get)).filter(|(_, n)| *n > 0)
    }
}
