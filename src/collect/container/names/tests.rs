//! Names from files and from runtimes, and runtimes that do not behave.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::*;
use crate::collect::host::testing::Fixture;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "0c5f4b3a-9d21-4a7e-8f10-1234567890ab";

fn settings(fixture: &Fixture, sockets: Vec<Socket>) -> NameSettings {
    let paths = HostPaths { rootfs: fixture.path().join("root"), ..HostPaths::default() };
    NameSettings { paths, sockets, timeout: Duration::from_secs(10) }
}

fn wanted(runtime: Runtime, pod_uid: Option<&str>) -> Vec<Wanted> {
    vec![Wanted { id: ID.to_owned(), inode: 1, runtime, pod_uid: pod_uid.map(str::to_owned) }]
}

/// One round, however long it takes; what it gave for the first.
fn round(names: &mut Names, wanted: &[Wanted]) -> Arc<Named> {
    names.ask(true, false, Instant::now() + Duration::from_secs(60), || wanted.to_vec());
    let round = names.shared.lock().asked;
    let table = names.shared.lock();
    let wait =
        names.shared.answered.wait_timeout_while(table, Duration::from_secs(60), |t| t.finished < round);
    drop(wait.unwrap());
    names.of(&wanted[0].id).unwrap()
}

fn named(fixture: &Fixture, runtime: Runtime, pod_uid: Option<&str>) -> Named {
    let mut names = Names::new(settings(fixture, Vec::new()));
    (*round(&mut names, &wanted(runtime, pod_uid))).clone()
}

#[test]
fn files_of_each_runtime() {
    let docker = Fixture::new().file(
        &format!("root/var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/web","RestartCount":2,"Config":{"Image":"nginx:1","Labels":{"a":"b"}},"State":{"Health":null}}"#,
    );
    let got = named(&docker, Runtime::Docker, None);
    assert_eq!((&*got.name, &*got.image, got.restarts), ("web", "nginx:1", Some(2)));

    let containerd = Fixture::new().file(
        &format!("root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.container-name":"c","io.kubernetes.cri.sandbox-name":"p",
            "io.kubernetes.cri.sandbox-namespace":"n","io.kubernetes.cri.image-name":"i"}}"#,
    );
    let got = named(&containerd, Runtime::Containerd, Some(UID));
    assert_eq!((&*got.container, &*got.pod, &*got.namespace, &*got.image), ("c", "p", "n", "i"));
    for state in ["run/k3s/containerd", "run/k0s/containerd", "var/snap/microk8s/common/run/containerd"] {
        let bundle = format!("root/{state}/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
        let text = r#"{"annotations":{"io.kubernetes.cri.image-name":"docker.io/i:1"}}"#;
        let got = named(&Fixture::new().file(&bundle, text), Runtime::Containerd, Some(UID));
        assert_eq!(&*got.image, "docker.io/i:1", "{state}");
    }

    let store =
        format!(r#"[{{"id":"{ID}","names":["web"],"metadata":"{{\"image-name\":\"i\"}}"}},{{"id":"2"}}]"#);
    let podman = Fixture::new()
        .file("root/var/lib/containers/storage/overlay-containers/containers.json", store)
        .file(&format!("root/run/containers/storage/overlay-containers/{ID}/userdata/config.json"), "{}");
    let got = named(&podman, Runtime::Podman, None);
    assert_eq!((&*got.name, &*got.image), ("web", "i"));

    let logs = Fixture::new()
        .file(&format!("root/var/log/containers/p-1_n_c-{ID}.log"), "")
        .dir(&format!("root/var/log/pods/n_p-1_{UID}"));
    let got = named(&logs, Runtime::Unknown, Some(UID));
    assert_eq!((&*got.container, &*got.pod, &*got.namespace), ("c", "p-1", "n"));

    let of_pod_only = Fixture::new().dir(&format!("root/var/log/pods/n_p_{UID}"));
    let got = named(&of_pod_only, Runtime::CriO, Some(UID));
    assert_eq!((&*got.container, &*got.pod, &*got.namespace), ("", "p", "n"));

    assert_eq!(named(&Fixture::new(), Runtime::Docker, None), Named::default());
}

#[test]
fn only_an_id_leads_to_a_file_and_only_a_file_is_read() {
    let path = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
    let text = r#"{"Name":"/payments"}"#;
    let elsewhere = Fixture::new().file("root/elsewhere/config.v2.json", text);
    let elsewhere = elsewhere.dir("root/var/lib/docker/containers").dir("root/run/containers/storage");
    let absolute = elsewhere.path().join("root/elsewhere").display().to_string();
    for id in ["../../../../elsewhere", &absolute, "elsewhere", ""] {
        let wanted = [Wanted { id: id.to_owned(), ..wanted(Runtime::Unknown, None).remove(0) }];
        let found = StateFiles::default().look_up(&settings(&elsewhere, Vec::new()).paths, &wanted);
        assert_eq!(found, [Named::default()], "{wanted:?}");
    }

    let link = elsewhere.link(&path, "../../../../../elsewhere/config.v2.json");
    assert_eq!(named(&link, Runtime::Docker, None), Named::default());

    let fifo = Fixture::new().dir(path.rsplit_once('/').unwrap().0);
    let at = fifo.path().join(&path);
    rustix::fs::mknodat(rustix::fs::CWD, &at, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(named(&fifo, Runtime::Docker, None), Named::default());
}

#[test]
fn a_file_that_is_written_anew_is_read_anew() {
    let path = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
    let fixture = Fixture::new().file(&path, r#"{"Name":"/old","State":{"Health":{"Status":"starting"}}}"#);
    let mut names = Names::new(settings(&fixture, Vec::new()));
    let wanted = wanted(Runtime::Docker, None);
    assert_eq!(&*round(&mut names, &wanted).name, "old");
    let changes = names.changes();
    round(&mut names, &wanted);
    assert_eq!(names.changes(), changes, "the same again is no change");
    let fixture = fixture.file(&path, r#"{"Name":"/new","State":{"Health":{"Status":"healthy"}}}"#);
    let later = std::fs::File::open(fixture.path().join(&path)).unwrap();
    later.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let got = round(&mut names, &wanted);
    assert_eq!((&*got.name, got.health), ("new", Some(Health::Healthy)));
    std::fs::remove_file(fixture.path().join(&path)).unwrap();
    assert_eq!(&*round(&mut names, &wanted).name, "new", "what is known stays known");
}

/// A runtime that answers as long as `works`, and hangs up otherwise.
fn runtime(fixture: &Fixture, works: Arc<AtomicBool>) -> Socket {
    answering(fixture.path().join("runtime.sock"), move |request| {
        let body = if request.starts_with("GET /containers/json?all=1&filters=%7B") {
            format!(r#"[{{"Id":"{ID}","Names":["/web"],"Image":"sha256:1","Status":"Up (healthy)"}}]"#)
        } else {
            assert!(request.starts_with(&format!("GET /containers/{ID}/json ")), "{request}");
            r#"{"Name":"/web","RestartCount":1,"Config":{"Image":"nginx:1"}}"#.to_owned()
        };
        works.load(Ordering::Relaxed).then_some(body)
    })
}

/// A runtime that gives such answers, and hangs up where there is none.
fn answering(path: PathBuf, answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Socket {
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).unwrap();
            if let Some(body) = answer(&String::from_utf8_lossy(&request[..read])) {
                let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
            }
        }
    });
    given(path)
}

fn given(path: PathBuf) -> Socket {
    Socket { name: "docker", runtime: Runtime::Docker, candidates: vec![path], is_given: true }
}

#[test]
fn a_runtime_that_comes_later_goes_and_comes_back() {
    let fixture = Fixture::new();
    let works = Arc::new(AtomicBool::new(false));
    let socket = runtime(&fixture, Arc::clone(&works));
    let mut names = Names::new(settings(&fixture, vec![socket]));
    let wanted = wanted(Runtime::Docker, None);
    for (is_up, name) in [(false, ""), (true, "web"), (false, "web"), (true, "web")] {
        works.store(is_up, Ordering::Relaxed);
        let got = round(&mut names, &wanted);
        assert_eq!(&*got.name, name);
        assert_eq!(names.answers(), [("docker", is_up)]);
        if !name.is_empty() {
            assert_eq!((&*got.image, got.restarts, got.health), ("nginx:1", Some(1), Some(Health::Healthy)));
        }
    }
}

#[test]
fn a_container_that_is_renamed() {
    let fixture = Fixture::new();
    let renamed = Arc::new(AtomicBool::new(false));
    let is_renamed = Arc::clone(&renamed);
    let socket = answering(fixture.path().join("runtime.sock"), move |request| {
        let name = if is_renamed.load(Ordering::Relaxed) { "new" } else { "old" };
        let list = format!(r#"[{{"Id":"{ID}","Names":["/{name}"],"Image":"sha256:1"}}]"#);
        let details = r#"{"Name":"/old","RestartCount":1,"Config":{"Image":"nginx:1"}}"#;
        Some(if request.starts_with("GET /containers/json") { list } else { details.to_owned() })
    });
    let mut names = Names::new(settings(&fixture, vec![socket]));
    for (is_new, name) in [(false, "old"), (true, "new")] {
        renamed.store(is_new, Ordering::Relaxed);
        let got = round(&mut names, &wanted(Runtime::Docker, None));
        assert_eq!((&*got.name, &*got.image, got.restarts), (name, "nginx:1", Some(1)));
    }
}

#[test]
fn a_runtime_that_does_not_tell_of_one_tells_of_the_others() {
    let fixture = Fixture::new();
    let id = |at: u32| format!("{at:064x}");
    let listed: Vec<_> =
        (0..4).map(|at| format!(r#"{{"Id":"{}","Names":["/{at}"],"Image":"i"}}"#, id(at))).collect();
    let (list, never) = (format!("[{}]", listed.join(",")), format!("GET /containers/{}/json ", id(0)));
    let socket = answering(fixture.path().join("slow.sock"), move |request| {
        if request.starts_with("GET /containers/json") {
            return Some(list.clone());
        }
        (!request.starts_with(&never)).then(|| r#"{"RestartCount":7}"#.to_owned())
    });
    let mut names = Names::new(settings(&fixture, vec![socket]));
    let of = |at| Wanted { id: id(at), inode: 1, runtime: Runtime::Docker, pod_uid: None };
    let wanted: Vec<_> = (0..4).map(of).collect();
    for restarts in [[None; 4], [None, Some(7), Some(7), Some(7)]] {
        round(&mut names, &wanted);
        assert_eq!(names.answers(), [("docker", true)]);
        for (at, restarts) in restarts.into_iter().enumerate() {
            let got = names.of(&wanted[at].id).unwrap();
            assert_eq!((&*got.name, &*got.image, got.restarts), (&*at.to_string(), "i", restarts));
        }
    }
}

#[test]
fn a_runtime_that_never_answers_is_waited_for_once() {
    let fixture = Fixture::new();
    let path = fixture.path().join("hangs.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = given(path);
    let mut names =
        Names::new(NameSettings { timeout: Duration::from_secs(60), ..settings(&fixture, vec![socket]) });
    let wanted = wanted(Runtime::Docker, None);
    for _ in 0..100 {
        names.ask(true, false, Instant::now() + PATIENCE, || wanted.clone());
    }
    assert!(names.of(ID).is_none());
    let table = names.shared.lock();
    assert_eq!((table.asked, table.finished), (1, 0), "asked once, while it hangs");
    drop(listener);
}

#[test]
fn a_runtime_that_hangs_takes_no_time_of_another() {
    let fixture = Fixture::new();
    let path = fixture.path().join("hangs.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let hangs = Socket { name: "hangs", runtime: Runtime::Podman, ..given(path) };
    let answers = runtime(&fixture, Arc::new(AtomicBool::new(true)));
    let timeout = Duration::from_millis(200);
    let mut names = Names::new(NameSettings { timeout, ..settings(&fixture, vec![hangs, answers]) });
    let other = Wanted { id: "f".repeat(64), ..wanted(Runtime::Podman, None).remove(0) };
    let wanted = [wanted(Runtime::Docker, None).remove(0), other];
    // On a busy machine even the other may take long.
    assert!((0..50).any(|_| &*round(&mut names, &wanted).name == "web"));
    assert_eq!(names.answers(), [("hangs", false), ("docker", true)]);
}

#[test]
fn nobody_is_asked_of_what_files_know() {
    let file = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
    let fixture = Fixture::new().file(&file, r#"{"Name":"/web","RestartCount":0}"#);
    let socket = given(fixture.path().join("none.sock"));
    let mut names = Names::new(settings(&fixture, vec![socket]));
    assert_eq!(&*round(&mut names, &wanted(Runtime::Docker, None)).name, "web");
    assert_eq!(names.answers(), []);
}

/// A machine whose Podman has its container in files, and what its socket was asked.
fn podman(fixture: Fixture, check: &'static str) -> (Fixture, Socket, Arc<Mutex<Vec<String>>>) {
    let store = format!(r#"[{{"id":"{ID}","names":["web"],"metadata":"{{\"image-name\":\"i\"}}"}}]"#);
    let fixture =
        fixture.file("root/var/lib/containers/storage/overlay-containers/containers.json", store).file(
            &format!("root/run/containers/storage/overlay-containers/{ID}/userdata/config.json"),
            r#"{"annotations":{"io.container.manager":"libpod"}}"#,
        );
    let path = fixture.path().join("podman.sock");
    let (listener, asked) = (UnixListener::bind(&path).unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).unwrap();
            let target = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap().to_owned();
            let body = if target.starts_with("/containers/json") {
                format!(r#"[{{"Id":"{ID}","Names":["/web"],"Image":"i","Status":""}}]"#)
            } else {
                format!(
                    r#"{{"Name":"/web","RestartCount":3,"Config":{{"Labels":{{"team":"a"}}}},"State":{{"Health":{{"Status":"{check}"}}}}}}"#
                )
            };
            log.lock().unwrap().push(target);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
        }
    });
    let socket = Socket { name: "podman", runtime: Runtime::Podman, candidates: vec![path], is_given: true };
    (fixture, socket, asked)
}

#[test]
fn podman_is_asked_of_what_its_files_do_not_tell() {
    for (check, health, asked_again) in [("unhealthy", Some(Health::NotHealthy), 2), ("", None, 0)] {
        let (fixture, socket, asked) = podman(Fixture::new(), check);
        let mut names = Names::new(settings(&fixture, vec![socket]));
        let mut wanted = wanted(Runtime::Podman, None);
        let labels = [("team".to_owned(), "a".to_owned())];
        for questions in [2, 2 + asked_again] {
            let got = round(&mut names, &wanted);
            assert_eq!((&*got.name, &*got.image, got.restarts, got.health), ("web", "i", Some(3), health));
            assert_eq!(got.labels, labels);
            assert_eq!(names.answers(), [("podman", true)]);
            assert_eq!(asked.lock().unwrap().len(), questions, "{check}");
        }
        let before = asked.lock().unwrap().len();
        wanted[0].inode += 1;
        round(&mut names, &wanted);
        assert_eq!(asked.lock().unwrap().len(), before + 2, "started anew");
    }
}
