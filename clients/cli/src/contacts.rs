//! `parlo contacts`: whom this user knows. Asks the daemon; where none runs, works on its file.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use parlo_control::{Client, Contact, ContactEntry};
use parlo_protocol::identity::PublicKey;
use parlod::keys::{self, KnownPeers};

use crate::{
    connect::{DaemonAddress, block_on},
    daemon_verbs::{Switch, print, print_json},
    format::{plain, table},
};

/// Whom the user knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo contacts                                 list them
  parlo contacts add ada ada.example:7275 KEY    KEY is what `parlo id` shows there
  parlo contacts add ada - KEY --auto-answer     ada may call, and is answered without asking
  parlo contacts auto-answer ada off")]
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
        /// Where it is, HOST:PORT; - for nowhere in particular
        address: String,
        /// Who it is: what `parlo id` shows there
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
    /// Say whether a contact's calls are answered without asking
    AutoAnswer {
        /// What you call it
        name: String,
        /// Whether they are
        switch: Switch,
    },
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
    error.downcast_ref().is_some_and(parlo_control::ClientError::is_no_daemon)
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
        Some(Action::AutoAnswer { name, switch }) => {
            let known = client.contacts().await?.into_iter().find(|contact| contact.name == name);
            let known =
                known.with_context(|| format!("nobody is called {name}; `parlo contacts` lists who is known"))?;
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
            let contact = |peer: &keys::Peer| Contact {
                name: peer.name.clone(),
                address: peer.address.clone(),
                key: peer.key.to_string(),
                fingerprint: peer.key.fingerprint().to_string(),
                auto_answer: false,
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
        Some(Action::AutoAnswer { .. }) => bail!("only a daemon answers calls; start one with `parlo daemon start`"),
    }
}

fn show(contacts: &[Contact], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&contacts);
    }
    if contacts.is_empty() {
        return print("Nobody yet. Note a contact with: parlo contacts add NAME HOST:PORT KEY\n");
    }
    let row = |contact: &Contact| {
        let note = if contact.auto_answer { "answered without asking" } else { "" };
        let address = contact.address.as_deref().unwrap_or("-");
        vec![plain(&contact.name), plain(&contact.fingerprint), plain(address), note.to_owned()]
    };
    print(&table(&contacts.iter().map(row).collect::<Vec<_>>()))
}
