//! Configurations of other programs, each written to a configuration that loads.
