//! The end-to-end tests: the real programs, real sockets, a module a noun.

fn main() {}
