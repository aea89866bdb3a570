//! The worked examples of `config/examples`, each driven as it is written: the ways to ship that they replace, whole.
//!
//! Nothing in their files is changed. What a test machine has elsewhere (listeners, folders, the registry) is said by
//! variables of the environment, and drains are shortened.

mod behind_a_tunnel;
mod full_pipeline;
mod home_server;
mod immutable_images;
mod small_server;
