//! What happens when the machine has no more to give: everybody is served as far as possible, it is said once, and
//! all is well by itself as soon as there is something again. A full disk is with the access log and the state file.

mod clock;
mod descriptors;
mod growth;
mod memory;
