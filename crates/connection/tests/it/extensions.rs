//! What a request finds in its extensions.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use graceful_connection::{CloseReason, Connection, ConnectionControl, HttpService, Registry, RequestBody, Settings};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};

use crate::{
    checked,
    server::{Client, SECOND, assert_at, settings, with},
};

/// Who the client is, as somebody else knows it.
#[derive(Clone)]
struct Named(String);

fn connect(settings: Settings, service: impl HttpService) -> Client {
    let (io, socket) = tokio::io::duplex(4 << 10);
    let registry = checked::registered(Registry::new());
    let server = registry.spawn(None, |place| {
        Connection::new(socket, place, service, Arc::new(settings)).extension(Named("alice".to_owned())).extension(7_u8)
    });
    Client { io, server, registry, start: Instant::now() }
}

fn text(text: String) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(text.into())))
}

#[tokio::test(crate = "crate::checked", start_paused = true)]
async fn every_request_begins_with_what_the_connection_was_given() {
    for control in [true, false] {
        let service = tower::service_fn(|mut request: Request<RequestBody>| async move {
            let upgrade = request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some();
            let control = request.extensions().get::<ConnectionControl>().is_some();
            let number = request.extensions().get::<u8>().copied();
            let Named(name) = request.extensions_mut().get_mut().expect("it was given");
            // For this one only.
            name.push('!');
            text(format!("{name} {number:?} {control} {upgrade}"))
        });
        let mut client = connect(with(|settings| settings.control_extension = control), service);
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let answer = client.answer().await;
            assert!(answer.ends_with(&format!("alice! Some(7) {control} false")), "a clone of its own: {answer}");
        }
        client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
        let answer = client.answer().await;
        assert!(answer.ends_with(&format!("{control} true")), "beside what hyper puts there: {answer}");
    }
}

#[tokio::test(crate = "crate::checked", start_paused = true)]
async fn a_control_that_is_kept_stays_that_of_its_request() {
    let kept = Arc::new(Mutex::new(Vec::<ConnectionControl>::new()));
    let controls = Arc::clone(&kept);
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        controls.lock().expect("no panic").push(request.extensions().get().cloned().expect("it is there"));
        async move {
            if request.uri().path() == "/slow" {
                sleep(10 * SECOND).await;
            }
            text(String::new())
        }
    });
    let control = |index: usize| kept.lock().expect("no panic")[index].clone();
    let mut client = connect(settings(), service);
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(SECOND).await;
    control(0).set_write_timeout(SECOND);
    client.answer().await;
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(SECOND).await;
    control(2).set_write_timeout(SECOND);
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::WriteTimeout, "its own counts");
    assert_at(took, 12 * SECOND);
}
