//! What this process may do, and what the kernel's type information names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::{privilege, tracepoint};

fuzz_target!(|bytes: &[u8]| {
    let status = privilege::status(bytes);
    assert!((0..64).all(|number| status.has(number).is_some() == status.effective.is_some()));
    assert!(privilege::chosen(bytes).is_none_or(|word| word.len() + 2 <= bytes.len()));
    assert!(!privilege::shows_addresses(bytes) || bytes.iter().any(u8::is_ascii_hexdigit));
    if let Some(types) = tracepoint::parse(bytes) {
        let names: usize = types.tracepoints.iter().map(|name| name.len()).sum();
        assert!(types.bytes == bytes.len() && names + types.drop_reasons <= bytes.len());
    }
});
