use std::io;

use crate::{Accepted, ListenAddr, Listener};

/// A debug event for each connection: `connection accepted`, with `peer`, on the target `graceful::server`.
///
/// Errors pass without an event: what they mean is the server's to say. See the [crate docs](crate).
#[derive(Debug)]
pub struct Logged<L> {
    inner: L,
}

impl<L> Logged<L> {
    /// Logs what `inner` accepts.
    pub const fn new(inner: L) -> Self {
        Self { inner }
    }

    /// The listener inside.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }

    /// The listener inside, to change it.
    pub const fn get_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// The listener inside, without the log.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Listener> Listener for Logged<L> {
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<Accepted<L::Io>> {
        let accepted = self.inner.accept().await?;
        tracing::debug!(
            target: "graceful::server",
            kind = "accepted",
            source = "http",
            peer = %accepted.peer,
            "connection accepted"
        );
        Ok(accepted)
    }

    fn close_queue(&mut self) -> bool {
        self.inner.close_queue()
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        self.inner.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::{Arc, Mutex},
    };

    use tracing::{Level, Subscriber, field::Field};
    use tracing_subscriber::{layer::Context, prelude::*};

    use super::*;
    use crate::{
        ConnectionRate, Limited, Peer, PerIp, Rate, WhenFull,
        mock::{Scripted, accept_now},
    };

    #[derive(Clone, Default)]
    struct Capture(Arc<Mutex<Vec<Event>>>);

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Event {
        level: Option<Level>,
        target: String,
        kind: String,
        peer: String,
        message: String,
    }

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Capture {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            let mut seen =
                Event { level: Some(*metadata.level()), target: metadata.target().to_owned(), ..Event::default() };
            event.record(&mut |field: &Field, value: &dyn fmt::Debug| match field.name() {
                "kind" => seen.kind = format!("{value:?}"),
                "peer" => seen.peer = format!("{value:?}"),
                "message" => seen.message = format!("{value:?}"),
                _ => {}
            });
            self.0.lock().unwrap().push(seen);
        }
    }

    fn event(kind: &str, message: &str) -> Event {
        Event {
            level: Some(Level::DEBUG),
            target: "graceful::server".to_owned(),
            kind: format!("{kind:?}"),
            peer: "unix".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn one_debug_event_for_each_connection_and_none_for_an_error() {
        let capture = Capture::default();
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(capture.clone()));
        let script = Scripted::new();
        let mut listener = Logged::new(script.listener());
        script.fail(io::ErrorKind::ConnectionAborted);
        script.connect_from(Peer::Unix);
        assert!(accept_now(&mut listener).is_err(), "an error passes");
        accept_now(&mut listener).expect("a connection");
        assert_eq!(*capture.0.lock().unwrap(), [event("accepted", "connection accepted")]);
    }

    #[test]
    fn one_debug_event_for_each_refusal() {
        let capture = Capture::default();
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(capture.clone()));
        let script = Scripted::new();
        let mut total = Limited::new(script.listener(), 0).when_full(WhenFull::Refuse);
        script.connect_from(Peer::Unix);
        assert!(tokio_test::task::spawn(total.accept()).poll().is_pending());
        let mut per_ip = PerIp::new(script.listener(), 0);
        script.connect();
        assert!(tokio_test::task::spawn(per_ip.accept()).poll().is_pending());
        let mut rate = Rate::new(script.listener(), ConnectionRate::new(1, std::time::Duration::from_secs(3600)));
        let _admitted = script.connect();
        let _refused = script.connect();
        accept_now(&mut rate).expect("the first");
        assert!(tokio_test::task::spawn(rate.accept()).poll().is_pending());
        let by_address = Event { peer: "127.0.0.1:4000".to_owned(), ..event("per_ip_limit", "connection refused") };
        let by_rate = Event { kind: "\"connection_rate\"".to_owned(), ..by_address.clone() };
        let expected = [event("connection_limit", "connection refused"), by_address, by_rate];
        assert_eq!(*capture.0.lock().unwrap(), expected);
    }
}
