//! The end-to-end and tidy tests: one binary, so that a change links once.

<<<<<<< HEAD
mod network;
=======
mod cluster;
>>>>>>> 50aa49f (Try clusters of several nodes: joins, roles, and who may call what)
mod node;
mod store;
mod testbed;
mod tidy;
mod workload;
