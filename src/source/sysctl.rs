//! Settings below `/proc/sys`, as the calling thread's network namespace has them. Only [`set`] writes.

use super::{Host, text};
use crate::model::Settings;

/// Reads `paths` (`net/core/rmem_default`); in `net/ipv4/conf/DEV/rp_filter`, `DEV` stands for every device. What is not
/// there is left out.
pub fn read(host: &Host, paths: impl Iterator<Item = String>) -> Settings {
    let mut settings = Settings::default();
    let mut bytes = Vec::new();
    for path in paths {
        match path.split_once("/DEV/") {
            Some((folder, key)) => {
                for device in host.list(&format!("proc/sys/{folder}")).unwrap_or_default() {
                    // A name that is no text can't be put into a path of this kind; its setting stays unknown.
                    if let Ok(device) = std::str::from_utf8(&device) {
                        one(host, &format!("{folder}/{device}/{key}"), &mut settings, &mut bytes);
                    }
                }
            }
            None => one(host, &path, &mut settings, &mut bytes),
        }
    }
    settings
}

/// The present value at `path`, blanks normalised to one.
pub fn value(path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    Host::Live.read(&format!("proc/sys/{path}"), &mut bytes)?;
    Ok(text::one_blank(&bytes))
}

/// Whether the value at `path` could be set, without setting it.
pub fn writable(path: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(format!("/proc/sys/{path}")).map(drop)
}

/// Sets the value at `path`, in the calling thread's network namespace.
pub fn set(path: &str, value: &str) -> std::io::Result<()> {
    use std::io::Write;
    // The kernel takes a value as a whole, in one write.
    std::fs::OpenOptions::new().write(true).open(format!("/proc/sys/{path}"))?.write_all(value.as_bytes())
}

fn one(host: &Host, path: &str, settings: &mut Settings, bytes: &mut Vec<u8>) {
    if host.read(&format!("proc/sys/{path}"), bytes).is_ok() {
        settings.insert(path, text::one_blank(bytes));
    }
}
