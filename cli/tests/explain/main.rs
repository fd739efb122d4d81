//! What `uct explain` says: of every story in `pcaps/` a golden file beside it (`NAME.explain`, written anew with
//! `UCT_BLESS=1`), and of every reason that anything can give, its sentence.

mod annotated;
mod chromium;
mod diff;
mod drops;
mod golden;
mod invalid;
mod lab;
mod lesson;
mod nat;
mod pages;
mod pains;
mod states;
mod travel;
