//! Writes the corpus that is committed: `cargo run -p parlo-fuzz --example seeds`.

use std::{fs, path::Path};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in parlo_fuzz::TARGETS {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in parlo_fuzz::seeds(target.name) {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
