//! Facts worked out by hand, and a slow recount.
