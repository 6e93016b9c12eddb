//! The screen at work: messages, keys and signals go in, requests go out.

use std::{env, time::Duration};

use anyhow::{Context, anyhow};
use parlo_api::{CallState, Client, ClientError, RefusalReason, client::Events};
use tokio::sync::mpsc;

use super::{
    render::render,
    state::{Action, Screen},
    terminal::{Input, Terminal},
};
use crate::{format::summary, stop::Signals};

/// Longest wait for the last requests when the screen is left.
const LAST_REQUESTS_TIMEOUT: Duration = Duration::from_secs(3);

/// Shows the screen until it is left, or the call `own`, which this program placed or answered, is over and no other stands.
pub(crate) async fn run(
    client: Client,
    mut events: Events,
    own: Option<u64>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let (mut terminal, mut keys) =
        Terminal::enter().context("cannot use this terminal for a screen; try --no-screen")?;
    let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(own, terminal.releases, colours);
    // One after the other: talk that is pressed and let go must arrive in this order.
    let (ask, asked) = mpsc::unbounded_channel();
    let (complain, mut complaints) = mpsc::unbounded_channel();
    let worker = tokio::spawn(work(client, asked, complain));

    let result = loop {
        if let Err(error) = terminal.drawing.draw(|frame| render(&screen, frame)) {
            break Err(error.into());
        }
        if screen.finished() {
            break Ok(());
        }
        let actions = tokio::select! {
            message = events.next() => match message {
                Some(Ok(message)) => {
                    screen.message(&message);
                    vec![]
                }
                Some(Err(error)) => break Err(error.into()),
                None => break Err(anyhow!("the daemon has ended")),
            },
            input = keys.recv() => match input {
                Some(Input::Key(key)) => screen.key(key),
                Some(Input::Resized) => vec![],
                // The terminal is gone.
                None => screen.terminate(),
            },
            Some(complaint) = complaints.recv() => {
                screen.notice(complaint);
                vec![]
            }
            () = signals.next() => screen.terminate(),
        };
        // Its other end goes only when this one does.
        actions.into_iter().for_each(|action| drop(ask.send(action)));
    };
    screen.leave().into_iter().for_each(|action| drop(ask.send(action)));
    drop(ask);
    let _ = tokio::time::timeout(LAST_REQUESTS_TIMEOUT, worker).await;
    drop(terminal);

    if let Some(call) = screen.own() {
        if call.state != CallState::Ended && screen.is_ending(call.id) {
            eprintln!("hung up");
        } else if call.state != CallState::Ended {
            eprintln!("the call goes on; `parlo screen` shows it, `parlo hangup {}` ends it", call.id);
        } else if call.failure.is_some() {
            return Err(anyhow!(summary(call)));
        } else {
            eprintln!("{}", summary(call));
        }
    }
    result
}

/// Asks the daemon for what the keys wanted.
async fn work(client: Client, mut asked: mpsc::UnboundedReceiver<Action>, complain: mpsc::UnboundedSender<String>) {
    while let Some(action) = asked.recv().await {
        match perform(&client, action).await {
            // Whoever wants a call ended that is over already has what they want.
            Err(error) if error.is_not_found() => {}
            Err(error) => drop(complain.send(error.to_string())),
            Ok(()) => {}
        }
    }
}

async fn perform(client: &Client, action: Action) -> Result<(), ClientError> {
    match action {
        Action::Answer(id) => client.answer(id).await.map(drop),
        Action::Refuse(id) => client.refuse(id, RefusalReason::Declined).await,
        Action::HangUp(id) => client.hang_up(id).await,
        Action::Change(id, change) => client.change(id, &change).await.map(drop),
        Action::Record(id) => client.record(id).await.map(drop),
        Action::StopRecording(id) => client.stop_recording(id).await.map(drop),
        Action::Audio(change) => client.change_audio(&change).await.map(drop),
    }
}
