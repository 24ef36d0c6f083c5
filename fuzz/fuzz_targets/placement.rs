//! What tells which CPU does whose work: lists and bitmaps of CPUs, places on the PCI bus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::model::layout::{cpu_list, cpu_mask, written};
use netstat_deep::source::interrupts;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Some(cpus) = cpu_list(&text) {
        assert!(cpus.len() <= 2 * 8192);
        assert!(cpu_list(&written(&cpus)).is_some_and(|again| again == cpus));
    }
    if let Some(cpus) = cpu_mask(&text) {
        // A digit is four CPUs.
        assert!(cpus.len() <= bytes.len() * 4 && cpus.is_sorted());
    }
    if let Some(bus) = interrupts::pci(bytes) {
        assert!(!bus.contains('/') && !bus.contains(".."));
    }
});
