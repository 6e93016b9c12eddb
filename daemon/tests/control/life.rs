//! Beginning and end: one server at a time, nothing left behind, kills survived.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use parlod::{
    call_manager::Handle,
    config::ControlConfig,
    control::{ControlError, Endpoints, serve},
    recordings::Recordings,
};

use crate::stand::{Stand, ask, endpoints, extras, status};

/// The variable that makes [`serves_until_it_is_killed`] a server.
const CHILD: &str = "PARLO_TEST_CONTROL_CHILD";

fn another(folder: &Path) -> Result<parlod::control::Server, ControlError> {
    let place = tempfile::tempdir().unwrap();
    let (handle, _) = Handle::new(status(), Arc::new(Recordings::new(place.path())));
    serve(endpoints(folder.to_owned()), handle, extras(&place))
}

#[tokio::test]
async fn files_are_private_and_go_with_the_server() {
    let stand = Stand::new();
    let folder = stand.folder.path().join("parlo");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let token = stand.server.token_file().unwrap().to_owned();
    assert_eq!((mode(&folder), mode(&stand.socket()), mode(&token)), (0o700, 0o600, 0o600));
    assert_eq!((stand.socket(), &token), (folder.join("control.sock"), &folder.join("token")));
    let text = fs::read_to_string(&token).unwrap();
    assert!(text.len() == 65 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    let Stand { folder: _keep, server, .. } = stand;
    tokio::task::spawn_blocking(|| server.shut_down()).await.unwrap();
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["control.lock", "token"], "the next server lets in whoever this one did");
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let stand = Stand::new();
    let (folder, token) = (stand.folder.path().join("parlo"), stand.token());
    let error = another(&folder).unwrap_err().to_string();
    assert!(error.contains("another parlod runs") && error.contains(&folder.display().to_string()), "{error}");
    assert_eq!(stand.token(), token, "the token is still the first one's");
    assert_eq!(stand.get("/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn addresses_that_cannot_be_served_are_told() {
    let stand = Stand::new();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("parlo");
    let with = |tcp: String| {
        let (handle, _) = Handle::new(status(), Arc::new(Recordings::new(place.path())));
        let tcp = Some(tcp.parse().unwrap());
        serve(Endpoints { tcp, ..endpoints(folder.clone()) }, handle, extras(&place)).map(drop).unwrap_err().to_string()
    };
    let taken = format!("127.0.0.1:{}", stand.port());
    let error = with(taken.clone());
    assert!(error.contains(&taken) && error.contains("in use"), "{error}");
    assert!(
        !folder.join("control.sock").exists() && !folder.join("token").exists(),
        "nothing is left of half a server"
    );
    assert!(with("0.0.0.0:0".into()).contains("loopback"));
    assert!(with("192.0.2.1:7276".into()).contains("loopback"));
    let long = place.path().join("x".repeat(120));
    let error = another(&long).unwrap_err().to_string();
    assert!(error.contains(&long.display().to_string()), "{error}");
}

#[test]
fn the_configuration_names_the_endpoints() {
    let new = |socket: &str, tcp: &str| Endpoints::new(&ControlConfig { socket: socket.into(), tcp: tcp.into() });
    assert_eq!(
        new("/a/b.sock", "[::1]:7276").unwrap(),
        Endpoints {
            socket: Some(PathBuf::from("/a/b.sock")),
            tcp: Some("[::1]:7276".parse().unwrap()),
            token: PathBuf::from("/a/token"),
        }
    );
    assert_eq!(new("", "").unwrap().socket.unwrap(), parlo_api::place::socket());
    let none = new("none", "").unwrap();
    assert_eq!((none.socket, none.tcp, none.token), (None, None, parlo_api::place::token()));
    assert!(matches!(new("", "localhost"), Err(ControlError::NotLoopback(_))));
}

/// Not a test: the child of the one below.
#[test]
fn serves_until_it_is_killed() {
    let Some(folder) = env::var_os(CHILD) else { return };
    let _server = another(Path::new(&folder)).unwrap();
    eprintln!("serving");
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn what_a_killed_daemon_leaves_behind_is_in_nobodys_way() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("parlo");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "life::serves_until_it_is_killed", "--nocapture"])
        .env(CHILD, &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "serving"), "the child did not serve");
    let token = fs::read_to_string(folder.join("token")).unwrap();
    let error = another(&folder).unwrap_err().to_string();
    assert!(error.contains("another parlod runs"), "{error}");

    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.join("control.sock").exists() && folder.join("token").exists(), "it had no time to tidy up");
    let server = another(&folder).unwrap();
    assert_eq!(fs::read_to_string(folder.join("token")).unwrap(), token);
    let stream = tokio::net::UnixStream::connect(server.socket().unwrap()).await.unwrap();
    assert_eq!(ask(stream, "GET", "/api/v1/presence", &[("host", "x")], "").await.status, 200);
}
