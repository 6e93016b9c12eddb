//! Whether anybody else could have written a file, or could put another in its place: as OpenSSH's StrictModes asks of keys (sshd_config(5)).

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

use crate::plain;

/// What nobody else may do with a file. "Else" is everybody but this user, root, and whoever owns the program that runs: that one could
/// change what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Change it.
    Unchanged,
    /// Change or read it.
    Secret,
}

/// Why a file is not to be trusted: what is wrong with it, or with a folder that it lies in, and the command that mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Another user's.
    #[error("{} belongs to another user (number {owner}), who can change it{}: say `chown {user} {}`, if what is there is yours",
        shown(.path), inside(.path, .file), quoted(.path))]
    Owner {
        /// The file that was looked at.
        file: PathBuf,
        /// What is wrong: it, a folder above it, or a link to it.
        path: PathBuf,
        /// Whose that is.
        owner: u32,
        /// Whose it should be.
        user: u32,
    },
    /// Others may write to it.
    #[error("others can write to {} (mode {mode:04o}){}: say `chmod go-w {}`, if you trust what is there",
        shown(.path), inside(.path, .file), quoted(.path))]
    Writable {
        /// The file that was looked at.
        file: PathBuf,
        /// What is wrong: it, or a folder above it.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others may read a secret.
    #[error("others can read {} (mode {mode:04o}), which is secret: say `chmod 600 {}`, or draw a new secret if they may have", shown(.path),
        quoted(.path))]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("cannot look at {}: {error}", shown(.path))]
    System {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl OwnerError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = shown(path);
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:=".contains(c);
    if text.chars().all(bare) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn inside(path: &Path, file: &Path) -> String {
    if path == file { String::new() } else { format!(", and so what is read as {}", shown(file)) }
}

/// The most links on the way to a file, as in Linux's own resolution (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Whether nobody but this user and root (and the program's owner) can have written a file or folder, or can put another in its place: it, every folder above it, and
/// every link on the way must be theirs, and writable by nobody else. (A folder such as `/tmp`, where only its owner can remove a file, may be
/// above, but not the folder itself.)
///
/// # Errors
/// At the first thing that is not so, from the root on.
pub fn check_owner(file: &Path, keep: Keep) -> Result<(), OwnerError> {
    check_as(file, keep, USERS.get_or_init(Users::of_process))
}

static USERS: OnceLock<Users> = OnceLock::new();

/// Reads what the checks need to know of the system's users, once. Called before the program gives up its right to open files, it makes
/// [`check_owner`] open none: it only looks.
pub fn know_users() {
    USERS.get_or_init(Users::of_process);
}

/// For whom files are looked at.
#[derive(Debug, Clone)]
struct Users {
    user: u32,
    /// Who owns the program.
    program: Option<u32>,
    /// The group that is the user's alone, as many systems give one to each user.
    own_group: Option<u32>,
    /// How root's files look in a user namespace that does not know root.
    unmapped: Option<u32>,
}

impl Users {
    fn of_process() -> Self {
        // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
        let user = unsafe { libc::geteuid() };
        let program = std::env::current_exe().and_then(fs::metadata).map(|program| program.uid()).ok();
        Self { user, program, own_group: own_group(user), unmapped: unmapped() }
    }

    /// Whether what is there is this user's or root's.
    fn own(&self, path: &Path, there: &Metadata) -> bool {
        let trusted = [Some(0), Some(self.user), self.program];
        trusted.contains(&Some(there.uid())) || (Some(there.uid()) == self.unmapped && is_of_the_system(path))
    }

    fn others_write(&self, there: &Metadata) -> bool {
        let mode = there.mode();
        mode & 0o002 != 0 || (mode & 0o020 != 0 && Some(there.gid()) != self.own_group)
    }
}

/// The group of the user's number and name that has no other members, if there is one: where each user has such a group, files are
/// writable by it from the start (umask 002). Root's is no such group.
fn own_group(user: u32) -> Option<u32> {
    if user == 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let groups = fs::read_to_string("/etc/group").ok()?;
    own_group_of(user, &users, &groups)
}

/// The same by the texts of passwd(5) and group(5).
fn own_group_of(user: u32, users: &str, groups: &str) -> Option<u32> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let users: Vec<_> = users.lines().map(fields).filter(|user| user.len() >= 4).collect();
    let own = users.iter().find(|line| line[2].parse() == Ok(user))?;
    let group = own[3].parse().ok()?;
    // Nobody else is in it.
    if users.iter().any(|other| other[0] != own[0] && other[3] == own[3]) {
        return None;
    }
    let mut groups = groups.lines().map(fields).filter(|group| group.len() >= 4);
    let found = groups.find(|line| line[2].parse() == Ok(group))?;
    let members = found[3].split(',').all(|member| member.is_empty() || member == own[0]);
    (found[0] == own[0] && members).then_some(group)
}

/// The number that stands for root's files here, if this process is in a user namespace that root is not part of (user_namespaces(7)), as
/// systemd's `PrivateUsers=` makes one.
fn unmapped() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let has_root = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>());
        matches!((numbers.next(), numbers.next()), (Some(Ok(0)), Some(Ok(_))))
    });
    if has_root {
        return None;
    }
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}

/// Folders that are root's on every system, where it cannot be told by their owner.
fn is_of_the_system(path: &Path) -> bool {
    let tops =
        ["/", "/etc", "/home", "/opt", "/run", "/run/user", "/srv", "/tmp", "/usr", "/var", "/var/lib", "/var/tmp"];
    tops.iter().any(|top| path == Path::new(top)) || ["/usr", "/etc"].iter().any(|top| path.starts_with(top))
}

fn check_as(file: &Path, keep: Keep, users: &Users) -> Result<(), OwnerError> {
    let system = |path: &Path| {
        let path = path.to_owned();
        move |error| OwnerError::System { path, error }
    };
    let absolute = std::path::absolute(file).map_err(system(file))?;
    let mut left: VecDeque<OsString> = names(&absolute);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let owner = |path: &Path, there: &Metadata| match users.own(path, there) {
        true => Ok(()),
        false => {
            let (file, path) = (file.to_owned(), path.to_owned());
            Err(OwnerError::Owner { file, path, owner: there.uid(), user: users.user })
        }
    };
    loop {
        let there = fs::symlink_metadata(&at).map_err(system(&at))?;
        if there.file_type().is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(system(file)(io::Error::other("too many links")));
            }
            // Its folder was looked at: nobody else can replace it there, unless it is theirs.
            owner(&at, &there)?;
            let target = fs::read_link(&at).map_err(system(&at))?;
            names(&target).into_iter().rev().for_each(|name| left.push_front(name));
            at = if target.is_absolute() {
                PathBuf::from("/")
            } else {
                at.parent().unwrap_or(Path::new("/")).to_owned()
            };
        } else {
            if !left.is_empty() && !there.is_dir() {
                return Err(system(&at)(io::ErrorKind::NotADirectory.into()));
            }
            owner(&at, &there)?;
            let mode = there.mode() & 0o7777;
            // What lies in a sticky folder can only be removed by its owner, which is looked at next.
            let sticky = there.is_dir() && mode & 0o1000 != 0 && !left.is_empty();
            if users.others_write(&there) && !sticky {
                return Err(OwnerError::Writable { file: file.to_owned(), path: at, mode });
            }
            if left.is_empty() && keep == Keep::Secret && mode & 0o077 != 0 {
                return Err(OwnerError::Readable { path: at, mode });
            }
        }
        match left.pop_front() {
            None => return Ok(()),
            Some(name) if name == ".." => {
                at.pop();
            }
            Some(name) => at.push(name),
        }
    }
}

/// The parts of a path behind the root.
fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// A folder `here/deep` with a file, closed to others.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("here/deep");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "text").unwrap();
        for (path, mode) in [(&place.path().join("here"), 0o755), (&folder, 0o755), (&file, 0o600)] {
            mode_of(path, mode);
        }
        (place, file)
    }

    fn mode_of(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn me() -> Users {
        Users { own_group: None, ..Users::of_process() }
    }

    #[test]
    fn what_others_can_write_is_named_with_the_command_that_mends_it() {
        let (_place, file) = tree();
        check_owner(&file, Keep::Secret).unwrap();
        let folder = file.parent().unwrap().to_owned();
        for (path, own) in [(&file, 0o600), (&folder, 0o755), (&folder.parent().unwrap().to_owned(), 0o755)] {
            for open in [own | 0o020, own | 0o002, own | 0o022, 0o777] {
                mode_of(path, open);
                let said = check_as(&file, Keep::Unchanged, &me()).unwrap_err().to_string();
                for part in
                    [&format!("chmod go-w {}", path.display()), &format!("{open:04o}"), &path.display().to_string()]
                {
                    assert!(said.contains(part.as_str()), "{said}");
                }
                assert_eq!(said.contains("what is read as"), *path != file, "{said}");
            }
            mode_of(path, own);
        }
        check_owner(&file, Keep::Secret).unwrap();
        for open in [0o640, 0o604, 0o601] {
            mode_of(&file, open);
            check_owner(&file, Keep::Unchanged).unwrap();
            let said = check_owner(&file, Keep::Secret).unwrap_err().to_string();
            assert!(said.contains(&format!("chmod 600 {}", file.display())), "{said}");
        }
    }

    #[test]
    fn a_sticky_folder_may_be_above_but_not_the_thing_itself() {
        let (_place, file) = tree();
        let folder = file.parent().unwrap();
        mode_of(folder, 0o1777);
        check_owner(&file, Keep::Secret).unwrap();
        assert!(matches!(check_owner(folder, Keep::Unchanged), Err(OwnerError::Writable { .. })));
    }

    #[test]
    fn another_users_file_folder_or_link_is_refused() {
        let (place, file) = tree();
        // Looked at as somebody else, whatever user runs the test; root's is always trusted.
        let other = Users { user: me().user + 1, program: None, own_group: None, unmapped: None };
        let result = check_as(&file, Keep::Unchanged, &other);
        if me().user != 0 {
            assert!(matches!(result, Err(OwnerError::Owner { .. })));
            return;
        }
        result.unwrap();
        let folder = file.parent().unwrap().to_owned();
        let link = place.path().join("link");
        symlink(&folder, &link).unwrap();
        for path in [&file, &folder] {
            chown(path, Some(65_534), None).unwrap();
            for through in [file.clone(), link.join("file")] {
                let said = check_owner(&through, Keep::Unchanged).unwrap_err().to_string();
                assert!(said.contains("65534") && said.contains(&format!("chown 0 {}", path.display())), "{said}");
            }
            chown(path, Some(0), None).unwrap();
        }
        check_owner(&link.join("file"), Keep::Secret).unwrap();
        // In a folder where anybody can make links, one of another user leads where that one wants.
        let sticky = place.path().join("sticky");
        fs::create_dir(&sticky).unwrap();
        mode_of(&sticky, 0o1777);
        let theirs = sticky.join("theirs");
        symlink("../here/deep", &theirs).unwrap();
        check_owner(&theirs.join("file"), Keep::Secret).unwrap();
        std::os::unix::fs::lchown(&theirs, Some(65_534), None).unwrap();
        assert!(matches!(check_owner(&theirs.join("file"), Keep::Secret), Err(OwnerError::Owner { .. })));
    }

    #[test]
    fn what_is_not_there_or_circles_is_said() {
        let (place, file) = tree();
        assert!(check_owner(&file.with_file_name("none"), Keep::Secret).unwrap_err().is_not_found());
        symlink("b", place.path().join("a")).unwrap();
        symlink("a", place.path().join("b")).unwrap();
        assert!(matches!(check_owner(&place.path().join("a"), Keep::Secret), Err(OwnerError::System { .. })));
        let through = check_owner(Path::new("/dev/null/parlo/known_peers"), Keep::Unchanged).unwrap_err();
        assert!(matches!(through, OwnerError::System { .. }) && !through.is_not_found());
        // Names that lead back up are walked as they are.
        check_owner(&file.parent().unwrap().join("../deep/./file"), Keep::Secret).unwrap();
    }

    #[test]
    fn a_group_counts_as_the_users_own_only_if_nobody_else_is_in_it() {
        let users =
            "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nben:x:1001:100::/home/ben:/bin/sh\n";
        for (groups, more, expected) in [
            ("ann:x:1000:\n", "", Some(1000)),
            ("ann:x:1000:ann\n", "", Some(1000)),
            ("ann:x:1000:ann,ben\n", "", None),
            ("users:x:1000:\n", "", None),
            ("", "", None),
            ("ann:x:1000:\n", "eve:x:1002:1000::/:/bin/sh\n", None),
        ] {
            assert_eq!(own_group_of(1000, &format!("{users}{more}"), groups), expected, "{groups} {more}");
        }
        assert_eq!(own_group(0), None);
    }

    #[test]
    fn paths_are_quoted_as_shells_take_them() {
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        assert!(!quoted(Path::new("/a\x1b[2J")).contains('\x1b'));
    }
}
