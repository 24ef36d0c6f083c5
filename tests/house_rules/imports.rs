//! Imports run one way, and stages know nothing of each other's neighbours but their counters.

use std::path::{Path, PathBuf};

/// A module may import those before it, and itself. What shares a line does not import each other.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["model"],
    &["source"],
    &["stage"],
    &["ledger", "diagnose", "observe", "drops", "sockets"],
    &["tune"],
    &["report"],
    &["cli"],
    &["render"],
    &["generate"],
    &["command"],
];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

#[test]
fn imports_run_one_way() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&top) {
        let inside = file.strip_prefix(&top).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                // Macros are exported at the top of the crate.
                if used.is_empty() || used == "counters" {
                    continue;
                }
                let allowed = used == module || layer(used) < layer(module);
                assert!(allowed, "{}:{}: {module} imports {used}", inside.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_model_does_no_input_or_output() {
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for forbidden in ["std::fs", "std::io", "std::process", "std::env", "rustix", "libc"] {
            assert!(!text.contains(forbidden), "{} uses {forbidden}", file.display());
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
