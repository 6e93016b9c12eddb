//! What may be configured. The server itself is in `tests/nats.rs`.

use std::fs;

use parlo_test_support::samples;

use super::*;
use crate::recordings::Recordings;

fn handle(folder: &Path) -> Handle {
    Handle::new(samples::status(vec![]), Arc::new(Recordings::new(folder))).0
}

fn config(url: &str, subject: &str) -> NatsConfig {
    NatsConfig { url: url.into(), subject: subject.into(), ..NatsConfig::default() }
}

#[test]
fn subjects_are_parts_with_dots_between() {
    for good in ["parlo", "office.parlo", "a-b_c.9"] {
        assert!(is_subject(good), "{good}");
    }
    for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "é", "a\r\nPUB x 0", &"x".repeat(201)] {
        assert!(!is_subject(bad), "{bad}");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_name_and_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let handle = handle(folder.path());
    let error = |config: NatsConfig| Nats::start(&config, &handle).unwrap_err().to_string();
    for url in
        ["127.0.0.1:4222", "http://127.0.0.1", "nats://", "nats://ann:secret@", "ws://ann:secret@x", "nats://a:b:c"]
    {
        let said = error(config(url, "parlo"));
        assert!(said.contains("[nats] url") && !said.contains("secret"), "{said}");
    }
    assert!(error(config("nats://127.0.0.1:4222", "a b")).contains("[nats] subject is \"a b\""));
    let missing = folder.path().join("nothing");
    let with = |token: &Path, credentials: &Path| NatsConfig {
        token_file: token.into(),
        credentials: credentials.into(),
        ..config("nats://127.0.0.1:4222", "parlo")
    };
    let none = Path::new("");
    for config in [with(&missing, none), with(none, &missing)] {
        assert!(error(config).contains(&missing.display().to_string()));
    }
    assert!(error(with(&missing, &missing)).contains("leave the other empty"));
    let junk = folder.path().join("junk");
    fs::write(&junk, "junk").unwrap();
    let mode = |mode| fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    // A secret that others can read is none.
    for open in [0o644, 0o640, 0o604] {
        mode(open);
        for config in [with(&junk, none), with(none, &junk)] {
            let said = error(config);
            assert!(said.contains("[nats]") && said.contains(&format!("chmod 600 {}", junk.display())), "{said}");
        }
    }
    mode(0o600);
    assert!(error(with(none, &junk)).contains("credentials"));
}
