//! `parlo contacts`: whom this user knows. Asks the daemon; where none runs, works on its file.

use std::io::{Read, stdin};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use parlo_api::{Client, Contact, ContactEntry, PskEntry};
use parlo_protocol::{
    identity::{KeyError, PublicKey},
    psk::Psk,
};
use parlod::keys::{self, KnownPeers};
use zeroize::Zeroizing;

use crate::{
    connect::{DaemonAddress, block_on},
    daemon_verbs::{Switch, print, print_json},
    format::{plain, table},
};

/// Bytes of standard input in which a secret is looked for.
const MOST_TEXT: usize = 4096;

/// Whom the user knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo contacts                                 list them
  parlo contacts add ada ada.example:7275 KEY    KEY is what `parlo id` shows there
  parlo contacts add ada - KEY --auto-answer     ada may call, and is answered without asking
  parlo contacts auto-answer ada off
  parlo contacts psk ada --new                   a secret that both of you need to call each other
  parlo contacts psk ada --set - < secret.txt    the one that ada has made")]
pub(crate) struct Contacts {
    #[command(subcommand)]
    action: Option<Action>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Note a contact, or its new address
    Add {
        /// What you call it
        name: String,
        /// Where it is, HOST:PORT; - if it has no fixed address
        address: String,
        /// Who it is: what `parlo id` shows there
        #[arg(value_parser = key)]
        key: PublicKey,
        /// Answer its calls without asking
        #[arg(long)]
        auto_answer: bool,
    },
    /// Forget a contact
    Remove {
        /// What you call it
        name: String,
    },
    /// Share a secret with a contact, without which there is no call between you
    #[command(after_help = "\
Keys alone keep a call from everybody today. Who records it, and can break them with a machine to come, needs this secret as
well. Both sides need the same: make it on one, tell it over a way that nobody else hears, and set it on the other.")]
    Psk {
        /// What you call it
        name: String,
        /// Make a new secret, and show it this once
        #[arg(long, conflicts_with_all = ["set", "remove"])]
        new: bool,
        /// Take the secret that the other side has made, from standard input
        #[arg(long, value_name = "-", conflicts_with = "remove")]
        set: Option<String>,
        /// Share none any more
        #[arg(long)]
        remove: bool,
    },
    /// Say whether a contact's calls are answered without asking
    AutoAnswer {
        /// What you call it
        name: String,
        /// Whether they are
        switch: Switch,
    },
}

/// What becomes of the secret that is shared with a contact.
enum PskChange {
    /// Nothing: whether there is one is asked.
    None,
    New(Psk),
    Set(Psk),
    Remove,
}

impl PskChange {
    fn of(new: bool, set: Option<&str>, remove: bool) -> anyhow::Result<Self> {
        match set {
            Some("-") => {
                let mut text = Zeroizing::new(String::with_capacity(MOST_TEXT));
                stdin().take(MOST_TEXT as u64).read_to_string(&mut text).context("cannot read the secret")?;
                Ok(Self::Set(text.trim().parse()?))
            }
            Some(_) => bail!("the secret is read from standard input, as others see a program's words: say --set -"),
            None if new => {
                let mut bytes = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *bytes).context("the system gives no random numbers")?;
                Ok(Self::New(Psk::from_bytes(*bytes)))
            }
            None if remove => Ok(Self::Remove),
            None => Ok(Self::None),
        }
    }

    fn psk(&self) -> Option<&Psk> {
        match self {
            Self::New(psk) | Self::Set(psk) => Some(psk),
            Self::None | Self::Remove => None,
        }
    }

    /// Says what was done. The secret alone is on the first line, for who hands it on.
    fn tell(&self, name: &str, has_one: bool) -> anyhow::Result<()> {
        match self {
            Self::None if has_one => print(&format!("you share a secret with {name}\n")),
            Self::None => print(&format!("you share no secret with {name}\n")),
            Self::New(psk) => {
                print(&format!("{}\n", *psk.to_text()))?;
                eprintln!(
                    "This is shown once. Tell it to {name} over a way that nobody else hears; there: parlo contacts psk YOU --set -\n\
                     Until it is set there, neither of you can call the other."
                );
                Ok(())
            }
            Self::Set(_) => print(&format!("you share this secret with {name} now\n")),
            Self::Remove => {
                print(&format!("you share no secret with {name} any more; the other side is to remove it too\n"))
            }
        }
    }
}

/// A key that was typed.
fn key(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(|error: KeyError| parlod::sentence_of(&error))
}

impl Contacts {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let wants_daemon =
            matches!(self.action, Some(Action::Add { auto_answer: true, .. } | Action::AutoAnswer { .. }));
        let client = block_on(async {
            match self.reach.running().await {
                Ok(client) => Ok(Some(client)),
                Err(error) if is_no_daemon(&error) && self.reach.socket.is_none() && !wants_daemon => Ok(None),
                Err(error) if is_no_daemon(&error) && self.reach.socket.is_none() => {
                    self.reach.started().await.map(Some)
                }
                Err(error) => Err(error),
            }
        })?;
        match client {
            Some(client) => block_on(with_daemon(&client, self.action, self.json)),
            None => with_file(&KnownPeers::new(&keys::folder()?), self.action, self.json),
        }
    }
}

fn is_no_daemon(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(parlo_api::ClientError::is_no_daemon)
}

async fn with_daemon(client: &Client, action: Option<Action>, json: bool) -> anyhow::Result<()> {
    match action {
        None => show(&client.contacts().await?, json),
        Some(Action::Add { name, address, key, auto_answer }) => {
            let key = key.to_string();
            let known = client.contacts().await?.into_iter().find(|contact| contact.name == name);
            // Whoever has a name keeps it: another key under it may be an impostor's.
            if let Some(known) = known.as_ref().filter(|known| known.key != key) {
                let fingerprint = plain(&known.fingerprint);
                bail!("{name} is somebody else already ({fingerprint}); if that is over: parlo contacts remove {name}");
            }
            let auto_answer = auto_answer || known.is_some_and(|known| known.auto_answer);
            let entry = ContactEntry { address: (address != "-").then_some(address), key, auto_answer };
            let contact = client.put_contact(&name, &entry).await?;
            let answered = if contact.auto_answer { ", answered without asking" } else { "" };
            print(&format!("{name} is {}{answered}\n", plain(&contact.fingerprint)))
        }
        Some(Action::Remove { name }) => Ok(client.remove_contact(&name).await?),
        Some(Action::Psk { name, new, set, remove }) => {
            let known = client.contacts().await?.into_iter().find(|contact| contact.name == name);
            let known = known.with_context(|| nobody(&name))?;
            let change = PskChange::of(new, set.as_deref(), remove)?;
            let entry = change.psk().map(|psk| PskEntry { psk: psk.to_text().to_string() });
            if !matches!(change, PskChange::None) {
                client.set_psk(&name, entry.as_ref()).await?;
            }
            change.tell(&name, known.psk)
        }
        Some(Action::AutoAnswer { name, switch }) => {
            let known = client.contacts().await?.into_iter().find(|contact| contact.name == name);
            let known = known.with_context(|| nobody(&name))?;
            let entry = ContactEntry { address: known.address, key: known.key, auto_answer: switch.is_on() };
            let contact = client.put_contact(&name, &entry).await?;
            print(&match contact.auto_answer {
                true => format!("calls from {name} are answered without asking\n"),
                false => format!("calls from {name} ring\n"),
            })
        }
    }
}

fn with_file(known: &KnownPeers, action: Option<Action>, json: bool) -> anyhow::Result<()> {
    match action {
        None => {
            let peers = known.read()?;
            let contact = |peer: &keys::KnownPeer| Contact {
                name: peer.name.clone(),
                address: peer.address.clone(),
                key: peer.key.to_string(),
                fingerprint: peer.key.fingerprint().to_string(),
                auto_answer: false,
                psk: peers.psk(&peer.key).is_some(),
            };
            show(&peers.iter().map(contact).collect::<Vec<_>>(), json)?;
            if !json && peers.iter().next().is_some() {
                print(&format!("\nWhole keys are in {}\n", known.file().display()))?;
            }
            Ok(())
        }
        Some(Action::Add { name, address, key, .. }) => {
            known.add(&name, (address != "-").then_some(address.as_str()), &key)?;
            print(&format!("{name} is {}\n", key.fingerprint()))
        }
        Some(Action::Remove { name }) => {
            if !known.remove(&name)? {
                bail!("nobody is called {name} in {}", known.file().display());
            }
            Ok(())
        }
        Some(Action::Psk { name, new, set, remove }) => {
            let peers = known.read()?;
            let has_one = peers.psk(&peers.by_name(&name).with_context(|| nobody(&name))?.key).is_some();
            let change = PskChange::of(new, set.as_deref(), remove)?;
            if !matches!(change, PskChange::None) && !known.set_psk(&name, change.psk())? {
                bail!(nobody(&name));
            }
            change.tell(&name, has_one)
        }
        Some(Action::AutoAnswer { .. }) => bail!("only a daemon answers calls; start one with `parlo daemon start`"),
    }
}

fn nobody(name: &str) -> String {
    format!("nobody is called {name}; `parlo contacts` lists who is known")
}

fn show(contacts: &[Contact], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&contacts);
    }
    if contacts.is_empty() {
        return print("Nobody yet. Note a contact with: parlo contacts add NAME HOST:PORT KEY\n");
    }
    let row = |contact: &Contact| {
        let notes = [(contact.auto_answer, "answered without asking"), (contact.psk, "shared secret")];
        let notes: Vec<_> = notes.into_iter().filter_map(|(holds, note)| holds.then_some(note)).collect();
        let address = contact.address.as_deref().unwrap_or("-");
        vec![plain(&contact.name), plain(&contact.fingerprint), plain(address), notes.join(", ")]
    };
    print(&table(&contacts.iter().map(row).collect::<Vec<_>>()))
}
