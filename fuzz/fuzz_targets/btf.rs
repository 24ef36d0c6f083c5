//! The kernel's description of its types.

#![no_main]

use libfuzzer_sys::fuzz_target;
use netstat_deep::source::btf::{Btf, joined};
use netstat_deep::source::reasons::ReasonNames;

fuzz_target!(|bytes: &[u8]| {
    let Some(btf) = Btf::kernel(bytes) else { return };
    // A type has 12 bytes at least.
    assert!(btf.types() * 12 <= bytes.len());
    if let Some(arguments) = btf.arguments("kfree_skb") {
        assert!(arguments.len() * 8 <= bytes.len());
    }
    // Cut anywhere, the second half may be a module's.
    for at in [24, bytes.len() / 2] {
        let (kernel, module) = bytes.split_at(at.min(bytes.len()));
        let _ = Btf::module(module, &btf).and_then(|module| module.function("nft_do_chain"));
        if let Some(all) = joined(kernel, module).or_else(|| joined(bytes, bytes)) {
            let _ = Btf::kernel(&all).and_then(|all| all.function("nft_do_chain"));
        }
    }
    assert!(btf.values("skb_drop_reason").len() * 8 <= bytes.len());
    let names = ReasonNames::read(&btf, |_| Some(bytes.to_vec()));
    assert!(names.iter().count() * 8 <= bytes.len() * 3);
});
