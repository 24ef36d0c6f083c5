//! The compiled programs that are committed are those of the source beside them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aya_obj::Object;
use libtest_mimic::{Arguments, Failed, Trial};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf")
}

fn main() {
    let args = Arguments::from_args();
    let clang = Command::new("clang").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = clang.is_ok_and(|status| status.success());
    let trial = |name, test: fn() -> Result<(), Failed>| {
        let trial = Trial::test(name, test);
        if found { trial } else { trial.with_kind("needs clang").with_ignored_flag(true) }
    };
    let trials = vec![
        trial("objects_are_those_of_the_source", same_as_source),
        trial("the_same_source_gives_the_same_bytes_in_any_folder", same_in_any_folder),
    ];
    libtest_mimic::run(&args, trials).exit();
}

/// Byte for byte with the compiler that made them, else by their programs and maps.
fn same_as_source() -> Result<(), Failed> {
    let made = tempfile::tempdir()?;
    build(&folder(), made.path())?;
    let version = |folder: &Path| std::fs::read_to_string(folder.join("clang-version"));
    let same_compiler = version(&folder())? == version(made.path())?;
    let names = objects(made.path())?;
    if names != objects(&folder())? {
        return Err("not the same objects: run ebpf/build".into());
    }
    for name in names {
        let (old, new) = (std::fs::read(folder().join(&name))?, std::fs::read(made.path().join(&name))?);
        let same = if same_compiler { old == new } else { parts(&old)? == parts(&new)? };
        if !same {
            return Err(format!("ebpf/{name} is not what its source says: run ebpf/build").into());
        }
    }
    Ok(())
}

fn same_in_any_folder() -> Result<(), Failed> {
    let elsewhere = tempfile::tempdir()?;
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "o") {
            std::fs::copy(&path, elsewhere.path().join(path.file_name().unwrap_or_default()))?;
        }
    }
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    build(&folder(), here.path())?;
    build(elsewhere.path(), there.path())?;
    for name in objects(here.path())? {
        let bytes = std::fs::read(here.path().join(&name))?;
        if bytes != std::fs::read(there.path().join(&name))? {
            return Err(format!("{name} depends on the folder that it is made in").into());
        }
        let top = folder().into_os_string().into_encoded_bytes();
        if bytes.windows(top.len()).any(|part| part == top) {
            return Err(format!("{name} holds the path of the folder that it was made in").into());
        }
    }
    Ok(())
}

fn build(source: &Path, to: &Path) -> Result<(), Failed> {
    let output = Command::new(source.join("build")).arg(to).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}

fn objects(folder: &Path) -> Result<BTreeSet<String>, Failed> {
    let names = std::fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.ends_with(".bpf.o")).collect())
}

/// The names of programs and maps.
fn parts(object: &[u8]) -> Result<(BTreeSet<String>, BTreeSet<String>), Failed> {
    let object = Object::parse(object).map_err(|e| e.to_string())?;
    Ok((object.programs.into_keys().collect(), object.maps.into_keys().collect()))
}
