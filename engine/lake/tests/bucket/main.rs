//! A table in a bucket of a real S3 server: the protocol's steps, crashes at every request, and what goes wrong on the way.

mod crashes;
mod failures;
mod lossy_proxy;
mod server;
mod steps;
mod table;
mod tls;
