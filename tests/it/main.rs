//! Everything through sockets, files and the binary.

mod api;
