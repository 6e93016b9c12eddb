//! Parlo: where the server's socket and the cookie for it are, as libpulse looks for them (pulse-client.conf(5), and
//! `src/pulse/client-conf.c`, `src/pulsecore/core-util.c` and `authkey.c` of PulseAudio 16).

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Bytes of a cookie. A server refuses messages with another number, even where it would not ask for the cookie.
const COOKIE_BYTES: usize = 256;

/// What the process was told, and the files of the user and the system.
pub(crate) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
    /// Where the system's files are: `/`, but in tests.
    root: PathBuf,
}

impl Environment<'_> {
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// `$XDG_CONFIG_HOME`, or `~/.config`.
    fn config(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| Some(self.home.as_ref()?.join(".config")))
    }

    /// A setting of the client's configuration: of the file that the user has, or else of the system's and those beside it.
    fn setting(&self, name: &str) -> Option<String> {
        let own = self.path("PULSE_CLIENTCONFIG").or_else(|| {
            let old = self.home.as_ref().map(|home| home.join(".pulse/client.conf"));
            let new = self.config().map(|config| config.join("pulse/client.conf"));
            old.into_iter().chain(new).find(|file| file.is_file())
        });
        let files = match own {
            Some(own) => {
                let beside = PathBuf::from(format!("{}.d", own.display()));
                vec![own, beside]
            }
            None => vec![self.root.join("etc/pulse/client.conf"), self.root.join("etc/pulse/client.conf.d")],
        };
        let mut texts = Vec::new();
        for file in files {
            if file.is_dir() {
                let mut parts: Vec<_> =
                    fs::read_dir(&file).into_iter().flatten().flatten().map(|part| part.path()).collect();
                parts.retain(|part| part.extension().is_some_and(|kind| kind == "conf"));
                parts.sort();
                texts.extend(parts.iter().filter_map(|part| fs::read_to_string(part).ok()));
            } else {
                texts.extend(fs::read_to_string(&file).ok());
            }
        }
        // The last one counts.
        let mut lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
        lines
            .by_ref()
            .filter(|line| !line.starts_with(['#', ';']))
            .filter_map(|line| line.split_once('='))
            .fold(None, |found, (key, value)| if key.trim() == name { Some(value.trim().to_owned()) } else { found })
            .filter(|value| !value.is_empty())
    }

    /// Sockets to try, in this order. Of servers that are named, only those on this machine: others speak over TCP, which this client
    /// does not.
    fn sockets(&self) -> Vec<PathBuf> {
        let named = self.path("PULSE_SERVER").map(|named| named.to_string_lossy().into_owned());
        if let Some(named) = named.or_else(|| self.setting("default-server")) {
            return named.split_whitespace().filter_map(|server| self.socket(server)).collect();
        }
        let mut found = Vec::new();
        found.extend(self.path("PULSE_RUNTIME_PATH").map(|folder| folder.join("native")));
        found.extend(self.path("XDG_RUNTIME_DIR").map(|folder| folder.join("pulse/native")));
        // Without either: a link that the server makes, named for the machine.
        if let (Some(home), Some(machine)) = (&self.home, self.machine()) {
            let name = format!("{machine}-runtime/native");
            found.extend(self.config().map(|config| config.join("pulse").join(&name)));
            found.push(home.join(".pulse").join(&name));
        }
        // One for the whole system.
        found.push(self.root.join("var/run/pulse/native"));
        found.dedup();
        found
    }

    /// The socket that a server's name stands for: `{MACHINE}unix:/path`, `unix:/path` or `/path`.
    fn socket(&self, server: &str) -> Option<PathBuf> {
        let server = match server.strip_prefix('{') {
            None => server,
            Some(rest) => {
                let (machine, server) = rest.split_once('}')?;
                if self.machine().is_none_or(|own| own != machine) {
                    return None;
                }
                server
            }
        };
        let path = server.strip_prefix("unix:").unwrap_or(server);
        path.starts_with('/').then(|| PathBuf::from(path))
    }

    fn machine(&self) -> Option<String> {
        let files = ["etc/machine-id", "var/lib/dbus/machine-id"];
        let read = |file: &str| fs::read_to_string(self.root.join(file)).ok();
        files.into_iter().find_map(read).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Files that the cookie may be in, in the order in which they are tried.
    fn cookies(&self) -> Vec<PathBuf> {
        // Names that are no full paths are of the settings' folder.
        let full = |name: PathBuf| if name.is_absolute() { Some(name) } else { Some(self.config()?.join(name)) };
        let named = self.path("PULSE_COOKIE").and_then(full);
        let set = || self.setting("cookie-file").map(PathBuf::from).and_then(full);
        let usual = self.config().map(|config| config.join("pulse/cookie"));
        let old = self.home.as_ref().map(|home| home.join(".pulse-cookie"));
        named.or_else(set).into_iter().chain(usual).chain(old).collect()
    }

    /// The cookie. Without one, zeros: servers that go by who connects let the user in all the same.
    fn cookie(&self) -> Vec<u8> {
        let whole = |file: PathBuf| fs::read(file).ok().filter(|cookie| cookie.len() == COOKIE_BYTES);
        self.cookies().into_iter().find_map(whole).unwrap_or_else(|| vec![0; COOKIE_BYTES])
    }
}

fn with<T>(work: impl FnOnce(&Environment<'_>) -> T) -> T {
    #[allow(deprecated)]
    let home = std::env::home_dir();
    work(&Environment { variable: &|name| std::env::var_os(name), home, root: Path::new("/").to_owned() })
}

/// The sockets to try, in this order.
pub(crate) fn socket_paths() -> Vec<PathBuf> {
    with(|environment| environment.sockets())
}

/// What to show the server: 256 bytes.
pub(crate) fn cookie() -> Vec<u8> {
    with(|environment| environment.cookie())
}

/// The first socket that is there, of those that libpulse would try: what `$PULSE_SERVER` names, or the client's configuration
/// (`default-server`); else `$PULSE_RUNTIME_PATH/native`, `$XDG_RUNTIME_DIR/pulse/native`, the link that a server without these makes among the
/// user's settings, and `/var/run/pulse/native`.
pub fn socket_path_from_env() -> Option<PathBuf> {
    socket_paths().into_iter().find(|path| path.exists())
}

/// The first file with a cookie that is there: what `$PULSE_COOKIE` names, or the client's configuration (`cookie-file`); then
/// `$XDG_CONFIG_HOME/pulse/cookie` (or `~/.config/pulse/cookie`), and `~/.pulse-cookie`.
pub fn cookie_path_from_env() -> Option<PathBuf> {
    with(|environment| environment.cookies().into_iter().find(|path| path.exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with a home in it, of its own.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("parlo-pulse-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("home")).unwrap();
            Self(root)
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let file = self.0.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, bytes).unwrap();
            file
        }

        fn ask<T>(&self, variables: &[(&str, &str)], work: impl FnOnce(&Environment<'_>) -> T) -> T {
            let root = self.0.display().to_string();
            let variable = |name: &str| {
                let found = variables.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| OsString::from(value.replace("ROOT", &root)))
            };
            work(&Environment { variable: &variable, home: Some(self.0.join("home")), root: self.0.clone() })
        }

        fn sockets(&self, variables: &[(&str, &str)]) -> Vec<String> {
            let root = self.0.display().to_string();
            let found = self.ask(variables, |environment| environment.sockets());
            found.iter().map(|path| path.display().to_string().replace(&root, "ROOT")).collect()
        }

        fn cookie(&self, variables: &[(&str, &str)]) -> u8 {
            let cookie = self.ask(variables, |environment| environment.cookie());
            assert!(cookie.len() == COOKIE_BYTES && cookie.iter().all(|byte| *byte == cookie[0]));
            cookie[0]
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn sockets_are_where_libpulse_looks() {
        let place = Place::new("sockets");
        let system = "ROOT/var/run/pulse/native";
        assert_eq!(place.sockets(&[]), [system]);
        assert_eq!(place.sockets(&[("XDG_RUNTIME_DIR", "/run/user/7")]), ["/run/user/7/pulse/native", system]);
        let both = [("XDG_RUNTIME_DIR", "/run/user/7"), ("PULSE_RUNTIME_PATH", "/elsewhere")];
        assert_eq!(place.sockets(&both), ["/elsewhere/native", "/run/user/7/pulse/native", system]);
        for (named, found) in [
            ("unix:/a/b", &["/a/b"] as &[&str]),
            ("/a/b", &["/a/b"]),
            ("tcp:host:4713 unix:/a /b", &["/a", "/b"]),
            ("host", &[]),
            ("{other}unix:/a unix:/b", &["/b"]),
        ] {
            assert_eq!(place.sockets(&[("PULSE_SERVER", named), ("XDG_RUNTIME_DIR", "/run/user/7")]), found, "{named}");
        }
        place.write("etc/machine-id", b"abc\n");
        assert_eq!(place.sockets(&[("PULSE_SERVER", "{abc}unix:/a {abd}unix:/b")]), ["/a"]);
        let linked = place.sockets(&[("XDG_CONFIG_HOME", "ROOT/settings")]);
        assert_eq!(linked, ["ROOT/settings/pulse/abc-runtime/native", "ROOT/home/.pulse/abc-runtime/native", system]);
    }

    #[test]
    fn a_server_may_be_named_in_the_clients_configuration() {
        let place = Place::new("configuration");
        place.write("etc/pulse/client.conf", b"# comment\n; default-server = /no\ndefault-server = unix:/system\n");
        assert_eq!(place.sockets(&[]), ["/system"]);
        place.write("etc/pulse/client.conf.d/10-more.conf", b"default-server=/more");
        place.write("etc/pulse/client.conf.d/20-other.txt", b"default-server=/other");
        assert_eq!(place.sockets(&[]), ["/more"]);
        place.write("settings/pulse/client.conf", b"default-server=/user");
        assert_eq!(place.sockets(&[("XDG_CONFIG_HOME", "ROOT/settings")]), ["/user"]);
        assert_eq!(place.sockets(&[("PULSE_SERVER", "/named"), ("XDG_CONFIG_HOME", "ROOT/settings")]), ["/named"]);
        place.write("own.conf", b"default-server = /own");
        assert_eq!(place.sockets(&[("PULSE_CLIENTCONFIG", "ROOT/own.conf")]), ["/own"]);
    }

    #[test]
    fn cookies_are_whole_or_zeros() {
        let place = Place::new("cookies");
        assert_eq!(place.cookie(&[]), 0, "a server that goes by the user wants 256 bytes all the same");
        place.write("home/.pulse-cookie", &[1; 256]);
        assert_eq!(place.cookie(&[]), 1);
        place.write("home/.config/pulse/cookie", &[2; 256]);
        assert_eq!(place.cookie(&[]), 2);
        let settings = ("XDG_CONFIG_HOME", "ROOT/settings");
        assert_eq!(place.cookie(&[settings]), 1, "the settings are elsewhere");
        place.write("settings/pulse/cookie", &[3; 256]);
        assert_eq!(place.cookie(&[settings]), 3);
        place.write("named", &[4; 256]);
        assert_eq!(place.cookie(&[settings, ("PULSE_COOKIE", "ROOT/named")]), 4);
        place.write("settings/short", &[5; 255]);
        assert_eq!(place.cookie(&[settings, ("PULSE_COOKIE", "short")]), 3, "of the settings' folder, and not whole");
        place.write("settings/pulse/client.conf", b"cookie-file = whole");
        place.write("settings/whole", &[6; 256]);
        assert_eq!(place.cookie(&[settings]), 6);
    }
}
