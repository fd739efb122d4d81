//! A scenario as the files that `uct replay` takes.
