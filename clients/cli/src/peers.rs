//! `parlo peers`: whom this user knows.

use anyhow::bail;
use clap::Subcommand;
use parlo_protocol::identity::PublicKey;
use parlod::keys::{self, KnownPeers};

/// What to do with the list.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Note a peer, or its new address
    Add {
        /// What you call it
        name: String,
        /// Where it is, HOST:PORT; - for nowhere in particular
        address: String,
        /// Who it is: what `parlo id` shows there
        key: PublicKey,
    },
    /// Forget a peer
    Remove {
        /// What you call it
        name: String,
    },
}

pub(crate) fn run(action: Option<Action>) -> anyhow::Result<()> {
    let known = KnownPeers::new(&keys::folder()?);
    match action {
        None => list(&known),
        Some(Action::Add { name, address, key }) => {
            known.add(&name, (address != "-").then_some(address.as_str()), &key)?;
            println!("{name} is {}", key.fingerprint());
            Ok(())
        }
        Some(Action::Remove { name }) => {
            if !known.remove(&name)? {
                bail!("nobody is called {name} in {}", known.file().display());
            }
            Ok(())
        }
    }
}

fn list(known: &KnownPeers) -> anyhow::Result<()> {
    let peers = known.read()?;
    if peers.iter().next().is_none() {
        println!("Nobody yet. Note a peer with: parlo peers add NAME HOST:PORT KEY");
        return Ok(());
    }
    let width = peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0);
    for peer in peers.iter() {
        let address = peer.address.as_deref().unwrap_or("-");
        println!("{:width$}  {}  {address}", peer.name, peer.key.fingerprint());
    }
    println!("\nWhole keys are in {}", known.file().display());
    Ok(())
}
