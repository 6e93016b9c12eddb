//! What the feeds are told of calls.

use std::time::SystemTime;

use parlo_api::FeedStart;
use parlo_protocol::offer::Codec;

use super::event_loop::CallManager;
use crate::clock::wall_and_monotonic;

impl CallManager<'_> {
    /// There is a call: programs may wait for its tokens.
    pub(super) fn feed_opens(&self, id: u64) {
        if let Some(feeds) = self.feeds() {
            feeds.open(id);
        }
    }

    /// A call's sound is about to be opened: from here on its time counts.
    pub(super) fn feed_begins(&self, at: usize, codec: Codec) {
        let (Some(feeds), call) = (self.feeds(), &self.calls[at]) else { return };
        if codec == Codec::Opus {
            // There will be no tokens.
            feeds.end(call.id);
            return;
        }
        let (created, now) = wall_and_monotonic();
        let created = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let bundle = self.engine.bundle_of(Some(codec));
        let manifest = bundle.manifest();
        let start = FeedStart {
            call: call.id,
            peer: call.name.clone().unwrap_or_else(|| call.asked.clone()),
            bundle: bundle.id().to_string(),
            bundle_name: manifest.name.clone(),
            tokens: bundle.tokens().to_string(),
            sample_rate: manifest.audio.sample_rate,
            frame_samples: u32::try_from(manifest.audio.frame_samples).unwrap_or(u32::MAX),
            sizes: bundle.layout().sizes().to_vec(),
            created_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        };
        feeds.begin(now, start);
    }

    /// A call is over, and its sound is closed.
    pub(super) fn feed_ends(&self, id: u64) {
        match (&self.frame_tap, self.feeds()) {
            (Some(frame_tap), _) => frame_tap.over(id),
            (None, Some(feeds)) => feeds.end(id),
            (None, None) => {}
        }
    }
}
