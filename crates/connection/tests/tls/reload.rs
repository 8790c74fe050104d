//! Another certificate, on a server that runs.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use graceful_connection::tls::{
    TlsError,
    rustls::{
        self,
        crypto::{KeyProvider, ring},
        pki_types::PrivateKeyDer,
        sign::SigningKey,
    },
};
use rcgen::{KeyPair, date_time_ymd};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    authority::{Authority, Files, pass, replace},
    client::{Client, get, shown},
    server::{SECOND, Server},
};

fn setup() -> (Authority, Files, Server) {
    let authority = Authority::new();
    let files = authority.issue("old", &["localhost"]);
    let server = Server::new(files.settings());
    (authority, files, server)
}

async fn served_now(server: &Server, authority: &Authority) -> String {
    let (io, _served) = server.connect();
    shown(&Client::new(authority).connect(io).await.expect("a connection"))
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn new_connections_get_the_new_one_and_old_ones_go_on() {
    let (authority, files, server) = setup();
    let (io, _served) = server.connect();
    let mut old = Client::new(&authority).connect(io).await.expect("a connection");
    get(&mut old, "/").await.expect("an answer");
    authority.renew(&files, "new");
    server.acceptor.reload().expect("good files");
    assert_eq!(served_now(&server, &authority).await, "new");
    assert_eq!(shown(&old), "old");
    assert!(get(&mut old, "/").await.expect("still there").ends_with("ok"));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn bad_files_change_nothing() {
    let (authority, files, server) = setup();
    let expires = server.acceptor.expires();
    let good = fs::read(&files.chain).expect("the file");
    for (bad, what) in [
        (b"".to_vec(), "empty"),
        (good[..good.len() / 2].to_vec(), "half written"),
        (fs::read(authority.issue("other", &["localhost"]).chain).expect("the file"), "of another key"),
    ] {
        fs::write(&files.chain, bad).expect("the file can be written");
        server.acceptor.reload().expect_err(what);
        assert_eq!(served_now(&server, &authority).await, "old", "{what}");
    }
    fs::remove_file(&files.key).expect("the file is there");
    let error = server.acceptor.reload().expect_err("the key is gone");
    assert!(matches!(error, TlsError::Read { .. }), "{error:?}");
    assert_eq!(served_now(&server, &authority).await, "old");
    assert_eq!(server.acceptor.expires(), expires);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_has_expired_does_not_keep_the_others_from_being_renewed() {
    let authority = Authority::new();
    let (short, expires) = authority.issue_short("short", &["abandoned.test"]);
    let files = authority.issue("old", &["localhost"]);
    let server = Server::new(short.settings().certificate(&files.chain, &files.key));
    pass(expires);
    authority.renew(&files, "new");
    server.acceptor.reload().expect("the one that has expired is served already");
    assert_eq!(served_now(&server, &authority).await, "new");
    assert!(server.acceptor.expires() <= expires, "it is still one of them");

    // Another one that has expired is a mistake, as it is at the start.
    authority.renew(&files, "newer");
    let other = authority.issue_with("other", &["abandoned.test"], &KeyPair::generate().expect("a key"), |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    replace(&other.key, &short.key);
    replace(&other.chain, &short.chain);
    let error = server.acceptor.reload().expect_err("nobody has it");
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");
    assert_eq!(served_now(&server, &authority).await, "new");
}

/// What a watch was told, in order.
fn watch(server: &Server, every: Option<Duration>) -> mpsc::UnboundedReceiver<Result<(), String>> {
    let (told, reloads) = mpsc::unbounded_channel();
    let acceptor = server.acceptor.clone();
    tokio::spawn(async move {
        acceptor.watch(every, |result| drop(told.send(result.map_err(|error| error.to_string())))).await
    });
    reloads
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_changed_file_is_seen_once_it_keeps_still() {
    let (authority, files, server) = setup();
    let mut reloads = watch(&server, Some(5 * SECOND));
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "nothing has changed");

    // Half of a renewal, then the other half.
    let fresh = authority.issue("new", &["localhost"]);
    replace(&fresh.key, &files.key);
    sleep(3 * SECOND).await;
    replace(&fresh.chain, &files.chain);
    assert_eq!(reloads.recv().await, Some(Ok(())), "it was not read in the middle");
    assert_eq!(served_now(&server, &authority).await, "new");
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "one attempt a change");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_bad_change_is_tried_once_and_the_next_one_again() {
    let (authority, files, server) = setup();
    let mut reloads = watch(&server, Some(5 * SECOND));
    fs::write(&files.chain, "nothing of use").expect("the file can be written");
    let error = reloads.recv().await.expect("an attempt").expect_err("a bad file");
    assert!(error.contains("the certificate chain is not in it"), "{error}");
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "one attempt a change, or the log would be full of it");
    authority.renew(&files, "new");
    assert_eq!(reloads.recv().await, Some(Ok(())));
    assert_eq!(served_now(&server, &authority).await, "new");
}

/// In a process of its own, since it takes every file descriptor there is.
#[cfg(unix)]
#[test]
fn what_could_not_be_read_is_tried_again_and_told_once() {
    let program = std::env::current_exe().expect("this program");
    let status = std::process::Command::new("sh")
        .args(["-c", r#"ulimit -n 64 && exec "$0" --ignored --exact reload::out_of_descriptors"#])
        .arg(program)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("a shell");
    assert!(status.success(), "{status}");
}

#[cfg(unix)]
#[tokio::test(start_paused = true, crate = "crate::checked")]
#[ignore = "takes every file descriptor: run by what_could_not_be_read_is_tried_again_and_told_once"]
async fn out_of_descriptors() {
    let (authority, files, server) = setup();
    let mut reloads = watch(&server, Some(5 * SECOND));
    authority.renew(&files, "new");
    let mut all = Vec::new();
    let error = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => all.push(file),
            Err(error) => break error,
        }
        assert!(all.len() < 64, "run with `ulimit -n 64`");
    };
    assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
    let error = reloads.recv().await.expect("an attempt").expect_err("there is no descriptor");
    assert!(error.contains("cannot read the certificate chain"), "{error}");
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "it is told once");
    drop(all);
    assert_eq!(timeout(60 * SECOND, reloads.recv()).await, Ok(Some(Ok(()))), "it is tried again");
    assert_eq!(served_now(&server, &authority).await, "new");
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "it has been read");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_file_that_is_gone_is_told_once() {
    let (authority, files, server) = setup();
    let mut reloads = watch(&server, Some(5 * SECOND));
    fs::remove_file(&files.key).expect("the file is there");
    let error = reloads.recv().await.expect("an attempt").expect_err("no key");
    assert!(error.contains("no such file"), "{error}");
    sleep(60 * SECOND).await;
    assert!(reloads.try_recv().is_err(), "one line a change");
    server.acceptor.request_reload();
    assert_eq!(reloads.recv().await.expect("an attempt"), Err(error), "who asks is answered");
    authority.renew(&files, "new");
    assert_eq!(reloads.recv().await, Some(Ok(())));
}

/// Keys of a provider that panics when it is told to.
#[derive(Debug)]
struct Panics(&'static dyn KeyProvider, AtomicBool);

impl KeyProvider for Panics {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        assert!(!self.1.load(Relaxed), "on purpose");
        self.0.load_private_key(key)
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_panic_is_told_and_changes_nothing() {
    let authority = Authority::new();
    let files = authority.issue("old", &["localhost"]);
    let mut provider = ring::default_provider();
    let keys: &'static Panics = Box::leak(Box::new(Panics(provider.key_provider, AtomicBool::new(false))));
    provider.key_provider = keys;
    let server = Server::new(files.settings().crypto_provider(provider.into()));
    let mut reloads = watch(&server, None);
    authority.renew(&files, "new");
    keys.1.store(true, Relaxed);
    server.acceptor.request_reload();
    let told = timeout(60 * SECOND, reloads.recv()).await.expect("it is told");
    let error = told.expect("an attempt").expect_err("it panicked");
    assert!(error.contains("panicked"), "{error}");
    assert_eq!(served_now(&server, &authority).await, "old");
    keys.1.store(false, Relaxed);
    server.acceptor.request_reload();
    assert_eq!(reloads.recv().await, Some(Ok(())));
    assert_eq!(served_now(&server, &authority).await, "new");
}

#[cfg(unix)]
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_swapped_link_is_a_change() {
    use std::os::unix::fs::symlink;

    // As Kubernetes mounts a secret: the files are links through a link to a folder, and that one is swapped.
    let authority = Authority::new();
    for (folder, name) in [("..2024", "old"), ("..2025", "new")] {
        let files = authority.issue(name, &["localhost"]);
        fs::create_dir(authority.path(folder)).expect("a folder");
        replace(&files.chain, &authority.path(folder).join("tls.crt"));
        replace(&files.key, &authority.path(folder).join("tls.key"));
    }
    symlink("..2024", authority.path("..data")).expect("a link");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), authority.path(file)).expect("a link");
    }
    let files = Files { chain: authority.path("tls.crt"), key: authority.path("tls.key") };
    let server = Server::new(files.settings());
    let mut reloads = watch(&server, Some(5 * SECOND));
    assert_eq!(served_now(&server, &authority).await, "old");
    symlink("..2025", authority.path("..tmp")).expect("a link");
    replace(&authority.path("..tmp"), &authority.path("..data"));
    assert_eq!(reloads.recv().await, Some(Ok(())));
    assert_eq!(served_now(&server, &authority).await, "new");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn when_asked_it_does_not_wait() {
    for every in [None, Some(Duration::ZERO), Some(3600 * SECOND)] {
        let (authority, files, server) = setup();
        let mut reloads = watch(&server, every);
        authority.renew(&files, "new");
        // Many signals, one reload.
        server.acceptor.request_reload();
        server.acceptor.request_reload();
        let start = tokio::time::Instant::now();
        assert_eq!(reloads.recv().await, Some(Ok(())));
        assert!(start.elapsed() < SECOND, "{every:?}");
        assert_eq!(served_now(&server, &authority).await, "new");
    }
}

#[tokio::test(crate = "crate::checked")]
async fn reloads_do_not_get_in_each_others_way() {
    let (authority, files, server) = setup();
    let server = Arc::new(server);
    let reloading: Vec<_> = (0..8)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || (0..20).for_each(|_| drop(server.acceptor.reload())))
        })
        .collect();
    authority.renew(&files, "new");
    for reloading in reloading {
        reloading.await.expect("no panic");
    }
    server.acceptor.reload().expect("good files");
    assert_eq!(served_now(&server, &authority).await, "new");
}
