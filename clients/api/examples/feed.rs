//! Prints the token frames of a call, live, as they are said and heard, until it is over; as `parlo feed` does.
//!
//! It asks the daemon that runs, in which there must be a call (`parlo call NAME`):
//!
//!     cargo run --example feed          # the oldest call
//!     cargo run --example feed -- 7     # the call that `parlo calls` lists as number 7

use std::error::Error;

use parlo_api::{CallState, Client, FeedMessage, client::Side, place};
use parlo_guard::plain;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A daemon whose configuration names another socket is at that one.
    let client = Client::connect(&place::socket()).await?;
    let id = match std::env::args().nth(1) {
        Some(id) => id.parse::<u64>()?,
        None => {
            let calls = client.calls().await?;
            calls.iter().find(|call| call.state != CallState::Ended).ok_or("there is no call")?.id
        }
    };
    let mut feed = client.feed(id, Side::Both).await?;
    while let Some(message) = feed.next().await {
        match message? {
            FeedMessage::Start(start) => {
                // Names come from others, and may hold anything.
                let (peer, bundle) = (plain(&start.peer), plain(&start.bundle_name));
                let (books, samples, rate) = (start.sizes.len(), start.frame_samples, start.sample_rate);
                println!("with {peer}, by {bundle}: {books} codebooks, frames of {samples} samples at {rate} Hz");
            }
            FeedMessage::Frame(frame) => {
                let seconds = frame.time_ms as f64 / 1000.0;
                println!("{seconds:8.3} s {} {} {:?}", frame.stream.name(), frame.mark.name(), frame.codes);
            }
            FeedMessage::Missed { frames } => println!("{frames} frames were missed: this program is too slow"),
            FeedMessage::End => break,
        }
    }
    Ok(())
}
