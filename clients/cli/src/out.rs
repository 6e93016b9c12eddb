//! What is printed, whether or not anybody can read it: a closed or full output ends the program with an exit code, never in a panic.
//! `println!` and the like mean these in all of this program.

use std::{
    fmt::Arguments,
    io::{self, Write},
    process,
};

use parlo_guard::plain_lines;

/// Prints on standard output, or ends the program.
pub(crate) fn print(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    let Err(error) = out.write_all(shown(text).as_bytes()).and_then(|()| out.flush()) else { return };
    // Whoever read our output has had enough; that is for them to say, not for us.
    if error.kind() != io::ErrorKind::BrokenPipe {
        eprint(format_args!("parlo: cannot write to standard output: {error}\n"));
    }
    parlo_audio_io::remove_temporary();
    // Destructors do not run.
    parlo_audio_io::remove_temporary();
    process::exit(1);
}

/// Prints on standard error, if that is possible.
pub(crate) fn eprint(text: Arguments<'_>) {
    // Nobody is left to be told.
    let _ = io::stderr().lock().write_all(shown(text).as_bytes());
}

/// Whatever is printed may have in it what others wrote: names in files, words of peers and servers, errors that name them. None of it acts on
/// a terminal.
fn shown(text: Arguments<'_>) -> String {
    plain_lines(&text.to_string())
}

#[allow(unused_macros, reason = "whoever prints without a newline finds this one rather than std's")]
macro_rules! print {
    ($($text:tt)*) => { $crate::out::print(::std::format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::out::print(::std::format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::print(::std::format_args!("{}\n", ::std::format_args!($($text)*))) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::out::eprint(::std::format_args!($($text)*)) };
}

macro_rules! eprintln {
    () => { $crate::out::eprint(::std::format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::eprint(::std::format_args!("{}\n", ::std::format_args!($($text)*))) };
}
