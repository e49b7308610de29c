//! Settings that are secret: out of the environment, or out of a file that it names (`DATABASE_URL_FILE` for `DATABASE_URL`). Never off
//! the command line, which every user of the machine can read.
//!
//! A secret is an argument whose value the help does not show (`hide_env_values`).

use std::env;
use std::fs;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error, Id, Parser};

/// Parses the command line and the environment, as `T::parse` does, with secrets out of files.
pub fn parse<T: Parser>() -> T {
    let parsed = matches(T::command()).and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    parsed.unwrap_or_else(|error| error.exit())
}

/// The arguments and settings of this process.
///
/// # Errors
/// As clap's; and for a secret on the command line, one that is given twice, or a file that cannot be read.
pub fn matches(command: Command) -> Result<ArgMatches, Error> {
    let mut command = with_files(command)?;
    let secrets = command.clone();
    let matches = command.try_get_matches_from_mut(env::args_os()).map_err(|error| without_value(&secrets, error))?;
    match shown(&command, &matches) {
        None => Ok(matches),
        Some(name) => {
            let message = format!(
                "{name} is a secret, and every user of the machine can read a command line: put it into the environment, or into a file \
                 that {name}_FILE names"
            );
            Err(command.error(ErrorKind::ArgumentConflict, message))
        }
    }
}

/// Gives each secret that a file has its value.
///
/// # Errors
/// For a secret that is given twice, or a file that cannot be read.
pub fn with_files(mut command: Command) -> Result<Command, Error> {
    for (id, name) in secrets(&command) {
        let file = format!("{name}_FILE");
        let Some(path) = env::var_os(&file) else { continue };
        if env::var_os(&name).is_some() {
            return Err(
                command.error(ErrorKind::ArgumentConflict, format!("{name} and {file} are both set; set one of them"))
            );
        }
        let text = fs::read_to_string(&path).map_err(|error| {
            let message = format!("{file} names {}, which cannot be read: {error}", path.display());
            command.error(ErrorKind::Io, message)
        })?;
        // clap keeps values for as long as the process lives.
        let text: &'static str = text.trim_end_matches(['\r', '\n']).to_owned().leak();
        command = command.mut_arg(id, |argument| argument.default_value(text).hide_default_value(true).required(false));
    }
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in names {
        let mut failed = None;
        command = command.mut_subcommand(name, |subcommand| {
            with_files(subcommand.clone()).unwrap_or_else(|error| {
                failed = Some(error);
                subcommand
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(command)
}

/// The secrets of a command, with the variables that hold them.
fn secrets(command: &Command) -> Vec<(Id, String)> {
    let secret = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
    secret.filter_map(|one| Some((one.get_id().clone(), one.get_env()?.to_str()?.to_owned()))).collect()
}

/// clap's error about a value shows the value, and its error about a secret that is not set asks for an argument.
fn without_value(command: &Command, error: Error) -> Error {
    if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
        && let Some(name) = missing.iter().find_map(|shown| named(command, shown))
    {
        let message = format!("{name} is not set: put it into the environment, or into a file that {name}_FILE names");
        return command.clone().error(error.kind(), message);
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(name) = named(command, shown) else { return error };
    let why = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
    command.clone().error(error.kind(), format!("the value of {name} is not valid{why}"))
}

/// The variable of a secret by what clap calls it: `--database-url <DATABASE_URL>`.
fn named(command: &Command, shown: &str) -> Option<String> {
    let long = shown.trim_start_matches('-').split_whitespace().next()?;
    let of = |command: &Command| {
        let mut secret = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
        let found = secret.find(|argument| argument.get_long() == Some(long))?;
        Some(found.get_env()?.to_str()?.to_owned())
    };
    of(command).or_else(|| command.get_subcommands().find_map(|subcommand| named(subcommand, shown)))
}

/// A secret that is on the command line.
fn shown(command: &Command, matches: &ArgMatches) -> Option<String> {
    let given = |id: &Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let own = secrets(command).into_iter().find(|(id, _)| given(id)).map(|(_, name)| name);
    own.or_else(|| {
        let (name, inner) = matches.subcommand()?;
        shown(command.find_subcommand(name)?, inner)
    })
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command(variable: &'static str) -> Command {
        let secret = Arg::new("secret").long("secret").env(variable).hide_env_values(true).required(true);
        Command::new("program").subcommand(Command::new("act").arg(secret))
    }

    fn secret_of(matches: &ArgMatches) -> Option<&str> {
        matches.subcommand()?.1.get_one::<String>("secret").map(String::as_str)
    }

    #[test]
    fn an_invalid_secret_is_not_shown() {
        let refuse = |_: &str| Err::<String, _>("must begin with whsec_");
        let secret =
            Arg::new("key").long("webhook-key").env("RUNTIME_TEST_KEY").hide_env_values(true).value_parser(refuse);
        let command = Command::new("program").arg(secret);
        let error = command.clone().try_get_matches_from(["program", "--webhook-key", "hush"]).expect_err("refused");
        assert!(error.to_string().contains("hush"), "clap shows it: {error}");
        let error = without_value(&command, error).to_string();
        assert!(
            !error.contains("hush") && error.contains("RUNTIME_TEST_KEY is not valid: must begin with whsec_"),
            "{error}"
        );
    }

    /// `PATH` stands for a variable that is set: a test cannot set one. The programs' own tests play files.
    #[test]
    fn a_secret_on_the_command_line_is_found() {
        let mut command = with_files(command("RUNTIME_TEST_SECRET")).expect("no files");
        let matches = command.try_get_matches_from_mut(["program", "act", "--secret", "hush"]).expect("complete");
        assert_eq!(shown(&command, &matches).as_deref(), Some("RUNTIME_TEST_SECRET"));
        let mut command = with_files(self::command("PATH")).expect("no files");
        let matches = command.try_get_matches_from_mut(["program", "act"]).expect("complete");
        assert_eq!(shown(&command, &matches), None);
        assert_eq!(secret_of(&matches).map(str::to_owned), env::var("PATH").ok());
    }
}
