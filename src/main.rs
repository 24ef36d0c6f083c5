//! The program: reads the command line, runs a verb, turns an error into two lines and an exit code.

use std::io::{BufWriter, Stdout, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;
use netstat_deep::cli::{Cli, Color, Format, PathArgs, Verb};
use netstat_deep::command::{
    confirm, doctor, drops, explain, generate, history, path, record, revert, sockets, topology, tune,
};
use netstat_deep::error::Error;
use netstat_deep::stage::Way;
use signal_hook::consts::SIGINT;

fn main() -> ExitCode {
    let result = Cli::try_parse().map_or_else(usage, |cli| run(&cli));
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            if error.exit_code() != 0 {
                eprintln!("netstat-deep: {error}");
                eprintln!("  {}", error.what_to_do().unwrap_or("see 'netstat-deep --help'"));
            }
            error.exit_code().into()
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Error> {
    if let Some(folder) = cli.verb.state_dir() {
        confirm::finish_overdue(folder);
    }
    match &cli.verb {
        Verb::Rx(args) => report(Way::Receive, args),
        Verb::Tx(args) => report(Way::Send, args),
        Verb::Drops(args) => with(terminal(args.color), |out| drops::run(args, out, &stop_on_interrupt())),
        Verb::Sockets(args) => with(terminal(args.color), |out| sockets::run(args, out, &stop_on_interrupt())),
        Verb::Topology(args) => with(terminal(args.color), |out| topology::run(args, out, &stop_on_interrupt())),
        Verb::Tune(args) => with(terminal(args.color), |out| tune::run(Way::Both, args, out, &stop_on_interrupt())),
        Verb::Confirm(args) => with(terminal(Color::Auto), |out| confirm::run(args, out)),
        Verb::Guard(args) => confirm::guard(args),
        Verb::Revert(args) => with(terminal(Color::Auto), |out| revert::run(args, out)),
        Verb::History(args) => with(terminal(Color::Auto), |out| history::run(args, out, &stop_on_interrupt())),
        Verb::Record(args) => with(terminal(args.color), |out| record::run(args, out, &stop_on_interrupt())),
        Verb::Explain(args) => with(terminal(args.color), |out| explain::run(args, out)),
        Verb::Doctor(args) => with(terminal(args.color), |out| doctor::run(args, out)),
        Verb::Generate(args) => with(terminal(Color::Auto), |out| generate::run(args, out)),
    }
}

/// The report on one path, or the plan that comes of it.
fn report(way: Way, args: &PathArgs) -> Result<u8, Error> {
    if args.plans() {
        return with(terminal(args.color), |out| tune::run(way, args, out, &stop_on_interrupt()));
    }
    if args.show.format() != Format::Table {
        // What machines read needs no colours taken out.
        return with(BufWriter::new(std::io::stdout()), |out| path::run(way, args, out, &stop_on_interrupt()));
    }
    with(terminal(args.color), |out| path::run(way, args, out, &stop_on_interrupt()))
}

/// Runs a verb and makes sure that all it wrote is out.
fn with<W: Write + Send>(mut out: W, verb: impl FnOnce(&mut W) -> Result<u8, Error>) -> Result<u8, Error> {
    let code = verb(&mut out)?;
    out.flush().map_err(Error::output)?;
    Ok(code)
}

/// Standard output, with or without colours.
fn terminal(color: Color) -> BufWriter<AutoStream<Stdout>> {
    let choice = match color {
        Color::Auto => AutoStream::choice(&std::io::stdout()),
        Color::Always => ColorChoice::AlwaysAnsi,
        Color::Never => ColorChoice::Never,
    };
    BufWriter::new(AutoStream::new(std::io::stdout(), choice))
}

/// The first interrupt ends the window and shows what there is; a second one ends the program.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    // Without a handler an interrupt simply ends the program, as ever.
    let _ = signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&stop));
    let _ = signal_hook::flag::register(SIGINT, Arc::clone(&stop));
    stop
}

/// Help and version are no errors; what clap has to say of the others is cut to one line, and one for what to do.
fn usage(error: clap::Error) -> Result<u8, Error> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        error.print().map_err(Error::output)?;
        return Ok(0);
    }
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        error.print().map_err(Error::output)?;
        return Ok(netstat_deep::error::EXIT_USAGE);
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines.next().unwrap_or("the command line makes no sense").trim_start_matches("error: ").to_owned();
    let more: Vec<&str> = lines.collect();
    let tip = more
        .iter()
        .find_map(|line| line.strip_prefix("tip: ").or_else(|| line.strip_prefix("[possible values:").map(|_| *line)));
    let missing = (what.ends_with(':')).then(|| more.first().copied().unwrap_or_default());
    let what = missing.map_or(what.clone(), |missing| format!("{what} {missing}"));
    Err(Error::usage(what).hint(tip.unwrap_or("see 'netstat-deep --help', or --help behind the verb").to_owned()))
}
