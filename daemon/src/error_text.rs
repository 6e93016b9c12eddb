//! Errors in one sentence for people: what libraries state, and what can be done about it with Parlo's programs, of which libraries know nothing.

use std::error::Error;

use parlo_archive::{ArchiveError, SurveyFault};
use parlo_audio_io::output::OutputError;
use parlo_model::ModelError;
use parlo_protocol::{identity::KeyError, psk::PskError};

use crate::{
    audio::AudioError,
    call::{CallError, CodecError},
    recordings::RecordingError,
};

/// What an error says, and its causes, each once: many errors name their cause themselves. With what can be done about them.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let more = cause.to_string();
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        let remedy = remedy(cause).unwrap_or_default();
        if !text.contains(remedy) {
            text.push_str(remedy);
        }
    }
    text
}

/// What an error says, without its causes, and what can be done about it.
pub fn sentence_of(error: &(dyn Error + 'static)) -> String {
    format!("{error}{}", remedy(error).unwrap_or_default())
}

/// How the sentence of a library's error goes on for who uses the programs, if it does.
fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref() {
        return of_model(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_archive(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_audio(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_output(error);
    }
    // These pass on what others say, and are not among their own causes.
    match error.downcast_ref() {
        Some(CallError::Model(error) | CallError::Codec(CodecError::Model(error))) => return of_model(error),
        Some(CallError::Audio(error)) => return of_audio(error),
        _ => {}
    }
    match error.downcast_ref() {
        Some(RecordingError::Model(error)) => return of_model(error),
        Some(RecordingError::Unplayable { error, .. }) => return of_archive(error),
        _ => {}
    }
    if let Some(CodecError::Model(error)) = error.downcast_ref() {
        return of_model(error);
    }
    match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(KeyError::Fingerprint), ..) => Some(", and its owner's `parlo id` shows it"),
        (_, Some(PskError::Prefix), _) => Some("; `parlo contacts psk NAME --new` makes one, and shows it once"),
        (.., Some(SurveyFault::Index)) => Some("; `parlo repair` makes it again"),
        _ => None,
    }
}

fn of_model(error: &ModelError) -> Option<&'static str> {
    match error {
        ModelError::NoBundle { .. } => Some(
            "; name one with --bundle DIR or the environment variable PARLO_BUNDLE, or set PARLO_HOME to the folder that Parlo was \
             installed to",
        ),
        ModelError::Runtime { .. } => Some(
            "; set PARLO_HOME to the folder that Parlo was installed to, or ORT_DYLIB_PATH to a libonnxruntime.so of version 1.29 or \
             later (in the source tree `cargo xtask setup` fetches it)",
        ),
        ModelError::Whole { .. } => {
            Some(". Files work (`parlo encode`, `parlo decode`); calls, pipes and feeds need a model that streams")
        }
        ModelError::Long { .. } => Some("; `parlo cut` takes parts of a file, and a model that streams any length"),
        _ => None,
    }
}

fn of_archive(error: &ArchiveError) -> Option<&'static str> {
    match error {
        ArchiveError::Hole { .. } => Some("; `parlo cut` takes out what lies before or after"),
        ArchiveError::TooLong { .. } => Some(": `parlo cut` takes parts of it"),
        ArchiveError::Model(error) => of_model(error),
        _ => None,
    }
}

fn of_audio(error: &AudioError) -> Option<&'static str> {
    match error {
        AudioError::UnknownDevice { near: Some(_), .. } => Some(" `parlo devices` lists all"),
        AudioError::Output(error) => of_output(error),
        _ => None,
    }
}

fn of_output(error: &OutputError) -> Option<&'static str> {
    match error {
        OutputError::There(_) => Some(": --force replaces it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn no_cause_is_said_twice_and_none_is_left_out() {
        let io = || io::Error::other("the disk is gone");
        for (error, expected) in [
            (anyhow!(io()), "the disk is gone"),
            (anyhow!(CallError::Network(io())), "the network failed: the disk is gone"),
            (anyhow!(io()).context("cannot write a.ptk"), "cannot write a.ptk: the disk is gone"),
            (anyhow!(CallError::Network(io())).context("no call"), "no call: the network failed: the disk is gone"),
            (anyhow!("cannot read x: the disk is gone"), "cannot read x: the disk is gone"),
        ] {
            assert_eq!(sentence(&error), expected);
        }
        let twice = Err::<(), _>(io()).context("first").context("second").unwrap_err();
        assert_eq!(sentence(&twice), "second: first: the disk is gone");
    }

    #[test]
    fn what_can_be_done_is_said_once_whoever_passes_the_error_on() {
        let whole = || ModelError::Whole { name: "it".into(), reason: "it looks ahead".into() };
        let said = "the model it takes whole recordings only, not one frame after another: it looks ahead. Files work (`parlo encode`, \
                    `parlo decode`); calls, pipes and feeds need a model that streams";
        let errors: [Box<dyn Error>; 5] = [
            Box::new(whole()),
            Box::new(CallError::Model(whole())),
            Box::new(CallError::Codec(CodecError::Model(whole()))),
            Box::new(ArchiveError::Model(whole())),
            Box::new(RecordingError::Model(whole())),
        ];
        for error in errors {
            assert_eq!(sentence_of(error.as_ref()), said);
        }
        assert_eq!(sentence(&whole().into()), said);
        assert_eq!(sentence(&anyhow!(CallError::Model(whole())).context("no call")), format!("no call: {said}"));

        let long = || ArchiveError::TooLong { seconds: 90_000 };
        let said = "it holds 25 hours, and a sound file up to 4 GiB of samples: `parlo cut` takes parts of it";
        assert_eq!(sentence_of(&long()), said);
        let unplayable = RecordingError::Unplayable { file: "a.ptk".into(), error: Box::new(long()) };
        assert_eq!(sentence_of(&unplayable), format!("a.ptk: {said}"));

        let there = || OutputError::There("a.wav".into());
        for error in [anyhow!(there()), anyhow!(AudioError::Output(there())), anyhow!(CallError::Audio(there().into()))]
        {
            assert_eq!(sentence(&error), "a.wav is there already: --force replaces it");
        }
        let all = vec!["Headset".to_owned()];
        let unknown =
            AudioError::UnknownDevice { direction: "input", name: "Hedset".into(), near: Some(all[0].clone()), all };
        let said = "there is no sound input \"Hedset\"; did you mean \"Headset\"? `parlo devices` lists all";
        assert_eq!(sentence_of(&unknown), said);
        assert_eq!(
            sentence_of(&PskError::Prefix),
            "a shared secret begins with \"parlo-psk:\"; `parlo contacts psk NAME --new` makes one, and shows it once"
        );
        assert!(
            sentence_of(&KeyError::Fingerprint)
                .ends_with("begins with \"parlo:\", and its owner's `parlo id` shows it")
        );
        assert_eq!(
            sentence_of(&SurveyFault::Index),
            "its index is not that of its blocks; `parlo repair` makes it again"
        );
        assert_eq!(sentence_of(&KeyError::Check), KeyError::Check.to_string());
    }
}
