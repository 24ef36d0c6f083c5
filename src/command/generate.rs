//! `generate`: the papers made from the code.

use std::io::Write;

use crate::cli::GenerateArgs;
use crate::error::Error;
use crate::generate;

/// Writes every paper into its place below the folder, and says which changed.
pub fn run(args: &GenerateArgs, out: &mut dyn Write) -> Result<u8, Error> {
    for paper in generate::papers(&args.folder)? {
        let path = args.folder.join(&paper.path);
        if std::fs::read(&path).is_ok_and(|old| old == paper.bytes) {
            continue;
        }
        let failed = |e: std::io::Error| {
            Error::usage(format!("{} can't be written: {e}", path.display()))
                .hint("give a folder that you may write to")
        };
        std::fs::create_dir_all(path.parent().unwrap_or(&args.folder)).map_err(failed)?;
        std::fs::write(&path, &paper.bytes).map_err(failed)?;
        writeln!(out, "{}", paper.path.display()).map_err(Error::output)?;
    }
    Ok(0)
}
