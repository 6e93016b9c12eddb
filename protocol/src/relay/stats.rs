//! What a relay has done, and what it has not.

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It is neither a Join nor for peers.
    Foreign,
    /// It is longer than allowed.
    Long,
    /// Its sender sits in no room.
    Stranger,
    /// Its sender sits in a room alone.
    Alone,
    /// Its sender sends more than allowed.
    Fast,
    /// It has not the tag of the member that it claims to be of.
    Forged,
}

/// What a relay has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Datagrams carried.
    pub forwarded: u64,
    /// Their bytes, without headers.
    pub forwarded_bytes: u64,
    /// Seats taken.
    pub joins: u64,
    /// Seats taken from a member who was silent.
    pub moves: u64,
    /// Cookies given.
    pub retries: u64,
    /// Joins that were refused.
    pub refused: u64,
    /// Members who left by falling silent.
    pub expired: u64,
    /// Datagrams that are neither Joins nor for peers.
    pub foreign: u64,
    /// Datagrams too long.
    pub long: u64,
    /// Datagrams from who sits in no room.
    pub strangers: u64,
    /// Datagrams to a seat that nobody had taken.
    pub alone: u64,
    /// Datagrams above a member's rate.
    pub fast: u64,
    /// Datagrams without the tag of the member that they claim to be of: they count against nobody.
    pub forged: u64,
    /// Rooms closed for who came from sources with fewer.
    pub evicted: u64,
}

impl RelayStats {
    pub(super) fn count(&mut self, drop: Dropped) {
        *match drop {
            Dropped::Foreign => &mut self.foreign,
            Dropped::Long => &mut self.long,
            Dropped::Stranger => &mut self.strangers,
            Dropped::Alone => &mut self.alone,
            Dropped::Fast => &mut self.fast,
            Dropped::Forged => &mut self.forged,
        } += 1;
    }
}
