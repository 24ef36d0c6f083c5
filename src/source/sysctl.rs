//! Settings below `/proc/sys`, as the calling thread's network namespace has them.

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

fn one(host: &Host, path: &str, settings: &mut Settings, bytes: &mut Vec<u8>) {
    if host.read(&format!("proc/sys/{path}"), bytes).is_ok() {
        settings.insert(path, &text::printable(bytes.trim_ascii()));
    }
}
