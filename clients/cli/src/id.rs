//! `parlo id`: who this user is to others.

use parlod::keys;

pub(crate) fn run() -> anyhow::Result<()> {
    let folder = keys::folder()?;
    let key = keys::identity(&folder)?.public();
    println!("{key}");
    println!("fingerprint  {}", key.fingerprint());
    println!("secret key   {}", folder.join(keys::IDENTITY).display());
    println!("\nThe first line is for your peers: parlo peers add NAME ADDRESS {key}");
    Ok(())
}
