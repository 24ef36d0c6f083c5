//! Papers made from the code are as the code would make them.

use std::path::Path;

use netstat_deep::generate::papers;

#[test]
fn generated_papers_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for paper in papers(top).unwrap() {
        let old = std::fs::read(top.join(&paper.path)).unwrap_or_default();
        let same = old == paper.bytes;
        assert!(same, "{} is not what the code says: run 'cargo run -- generate'", paper.path.display());
    }
}

#[test]
fn nothing_else_lies_among_the_generated_papers() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made: Vec<_> = papers(top).unwrap().into_iter().map(|paper| top.join(paper.path)).collect();
    for folder in ["man", "completions"] {
        for entry in std::fs::read_dir(top.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            assert!(made.contains(&path), "{} is no longer made", path.display());
        }
    }
}
