//! `authrelay generate`: man pages and shell completions, made from the definition of the command line, for packages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where they are written: man pages into man/, completions into completions/.
    folder: PathBuf,
}

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (man, completions) = (args.folder.join("man"), args.folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // A page for each command would offer `help` once more at every level.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &man).with_context(|| man.display().to_string())?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "authrelay", &completions)
            .with_context(|| completions.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        run(&Args { folder: folder.path().to_owned() }).unwrap();
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        let bash = read("completions/authrelay.bash");
        let command = Cli::command();
        for shown in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = shown.get_name();
            let page = read(&format!("man/authrelay-{name}.1"));
            assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH DESCRIPTION"), "{name}");
            assert!(bash.contains(&format!("authrelay,{name})")), "{name}");
        }
        assert!(read("man/authrelay.1").contains("authrelay\\-check(1)"));
        assert!(read("completions/_authrelay").starts_with("#compdef authrelay"));
        assert!(read("completions/authrelay.fish").contains("complete -c authrelay"));
        assert!(!folder.path().join("man/authrelay-generate.1").exists(), "it is for packages alone");
    }
}
