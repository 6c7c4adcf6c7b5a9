//! Git: fetch, read, commit, push with compare-and-swap
