//! The fuzzing program: libFuzzer drives the target that `$SWITCHER_FUZZ` names. Built and run by `tests/fuzz/run`.

#![no_main]

use std::sync::LazyLock;

use switcher_fuzz::{PLANTED, TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let wanted = std::env::var("SWITCHER_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().chain([&PLANTED]).find(|target| target.name == wanted);
    found.unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("SWITCHER_FUZZ names no target; choose one of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
