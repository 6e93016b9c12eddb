//! Manual pages and shells' completions, out of the command line's own description: for installations.

use std::{fs, io, path::Path};

use clap::Command;
use clap_complete::Shell;

/// Writes the manual pages of `command` and of its subcommands, and its completions for bash, zsh and fish, into folders under `share`
/// where those who read them look: `man/man1`, `bash-completion/completions`, `zsh/site-functions`, `fish/vendor_completions.d`.
///
/// # Errors
/// If a folder cannot be made or a file cannot be written.
pub fn write(command: &Command, share: &Path) -> io::Result<()> {
    let name = command.get_name();
    for (shell, file) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), name, &mut text);
        let file = share.join(file);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text)?;
    }
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(command.clone().disable_help_subcommand(true), pages)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let speak =
            Command::new("speak").about("Says something").arg(Arg::new("loud").long("loud").help("So that all hear"));
        write(&Command::new("voice").subcommand(speak), folder.path()).unwrap();
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(read("man/man1/voice.1").contains("speak"));
        assert!(read("man/man1/voice-speak.1").contains("So that all hear"));
        for file in
            ["bash-completion/completions/voice", "zsh/site-functions/_voice", "fish/vendor_completions.d/voice.fish"]
        {
            assert!(read(file).contains("loud"), "{file}");
        }
    }
}
