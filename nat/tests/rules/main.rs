//! nft's rules against text, packets and the real nft.
//!
//! | module | shows |
//! |---|---|
//! | `snippets` | hundreds of rules, accepted or refused with this message: `snippets.txt` |
//! | `corpus` | whole rulesets as people write them (`corpus/`), and what nft knows and uct does not (`beyond/`) |
//! | `carets` | the caret stands under what is wrong: `carets.txt` |
//! | `kernel` | all that is accepted above and below, nft accepts and the kernel loads; what nft lists of it, uct accepts |
//! | `grammar` | random rulesets out of the whole subset |
//! | `docs` | the examples of `docs/rules.md` |
//! | `decide` | what rules decide about packets |
//! | `soup` | no text, however wrong, makes reading panic, hang or take much memory |
//!
//! `snippets.txt` and `carets.txt` are written anew with `UCT_BLESS=1`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read their own files")]

mod carets;
mod corpus;
mod decide;
mod docs;
mod grammar;
mod kernel;
mod snippets;
mod soup;
mod support;
