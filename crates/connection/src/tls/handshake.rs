//! From an accepted socket to a TLS connection.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    task::yield_now,
    time::{Instant, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server};

use super::{
    Acceptor, HandshakeError, TlsInfo, TlsStream,
    hello::{self, First},
    rustls::server::Acceptor as Hello,
    stream::Replayed,
};
use crate::{CloseReason, Place, connection::SETTLE, settings::deadline, shared::Shared, told::Signal, wait::Watch};

/// How long a client in the middle of its handshake may go on when the server is told to drain. Two round trips.
const HALFWAY: Duration = Duration::from_secs(1);

/// How long a client whom we have told why may take to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// A record of the type `alert`: fatal, `unrecognized_name` (RFC 6066, 3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

pub(super) async fn accept<T>(acceptor: &Acceptor, io: T, place: Place) -> Result<(TlsStream<T>, Place), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let shared = Arc::clone(place.shared());
    // The socket is closed in there, before the place says so.
    match connect(acceptor, io, &shared).await {
        Ok(stream) => Ok((stream, place)),
        Err(error) => {
            shared.set_reason(match (&error, shared.signal()) {
                (HandshakeError::Shutdown, Signal::Force) => CloseReason::Forced,
                (HandshakeError::Shutdown, _) => CloseReason::Drained,
                _ => CloseReason::Handshake,
            });
            Err(error)
        }
    }
}

async fn connect<T>(acceptor: &Acceptor, io: T, shared: &Shared) -> Result<TlsStream<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let due = deadline(Instant::now(), acceptor.settings().handshake_timeout);
    let mut watch = pin!(Watch::new(shared, due));
    let mut io = Replayed::new(io);
    let first = watch.as_mut().over(SETTLE, hello::first(&mut io)).await?;
    match first.map_err(HandshakeError::Io)? {
        First::Tls => {}
        First::PlainHttp => {
            let told = timeout(FAREWELL, hello::speaks_https(io.get_mut()));
            let _ = watch.as_mut().over(FAREWELL, told).await;
            return Err(HandshakeError::PlainHttp);
        }
        First::Unknown => return Err(HandshakeError::NotTls),
    }
    let stream = watch.as_mut().over(HALFWAY, shake_hands(acceptor, io)).await??;
    shared.set_tls(TlsInfo::of(stream.get_ref().1).map_err(HandshakeError::ClientCertificate)?);
    Ok(TlsStream::new(stream))
}

async fn shake_hands<T>(acceptor: &Acceptor, io: Replayed<T>) -> Result<server::TlsStream<Replayed<T>>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Until all of this is there, it costs a buffer.
    let mut hello = LazyConfigAcceptor::new(Hello::default(), io).await.map_err(HandshakeError::of)?;
    let taken = match acceptor.places() {
        Some(places) => {
            // It is never closed.
            let place = places.acquire().await.ok();
            // To the end of the worker's queue with the place in hand: others come first, and whoever has no place is not
            // in the queue at all.
            yield_now().await;
            place
        }
        None => None,
    };
    let loaded = acceptor.loaded();
    let name = hello.client_hello().server_name().map(str::to_owned);
    if acceptor.settings().known_names_only && !loaded.certificates.knows(name.as_deref()) {
        drop(taken);
        let _ = hello.io.write_all(&UNRECOGNIZED_NAME).await;
        return Err(HandshakeError::UnknownName(name));
    }
    // All the arithmetic of a handshake is in here: the exchange of keys, the signature.
    let answered = hello.into_stream(Arc::clone(&loaded.config)).into_fallible();
    drop(taken);
    match answered.await {
        Ok(stream) => Ok(stream),
        Err((error, mut io)) => {
            let error = HandshakeError::of(error);
            if let HandshakeError::ClientCertificate(_) = error {
                // In TLS 1.3 the client believes that all is well, and has sent its first request: closed at once, the
                // socket would be reset, and the alert that says why would be lost.
                let _ = timeout(FAREWELL, hello::farewell(&mut io)).await;
            }
            Err(error)
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's client and server run beside each other")]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;
    use tokio::{io::DuplexStream, task::JoinHandle};
    use tokio_rustls::{
        TlsConnector, client,
        rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
    };

    use super::*;
    use crate::{Registry, tls::TlsSettings};

    type Connected = JoinHandle<std::io::Result<client::TlsStream<DuplexStream>>>;
    type Served = JoinHandle<Result<(), HandshakeError>>;

    fn setup(name: &str) -> (Acceptor, TlsConnector) {
        let pair = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let file = std::env::temp_dir().join(format!("graceful-{name}-{}.pem", std::process::id()));
        fs::write(&file, pair.cert.pem() + &pair.signing_key.serialize_pem()).expect("the file can be written");
        let acceptor = Acceptor::new(TlsSettings::new(&file, &file).max_handshakes(Some(2))).expect("a good file");
        fs::remove_file(file).expect("it is there");
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (acceptor, TlsConnector::from(Arc::new(client)))
    }

    /// A client, and the server's task for it.
    fn connect(acceptor: &Acceptor, connector: &TlsConnector) -> (Connected, Served) {
        let (client, socket) = tokio::io::duplex(16 << 10);
        let acceptor = acceptor.clone();
        let place = Registry::new().open(None);
        let served = tokio::spawn(async move { acceptor.accept(socket, place).await.map(drop) });
        let name = ServerName::try_from("localhost").expect("a name");
        (tokio::spawn(connector.connect(name, client)), served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_without_a_place_waits_for_one() {
        let (acceptor, connector) = setup("places-wait");
        let places = acceptor.places().expect("a limit");
        let taken = places.acquire_many(2).await.expect("all of them");
        let (connected, served) = connect(&acceptor, &connector);
        tokio::time::sleep(4 * FAREWELL).await;
        assert!(!connected.is_finished() && !served.is_finished(), "there is no place");
        drop(taken);
        let _client = connected.await.expect("no panic").expect("it was let in");
        served.await.expect("no panic").expect("a connection");
        assert_eq!(places.available_permits(), 2, "the place is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_within_its_limit() {
        let (acceptor, connector) = setup("places-limit");
        let places = acceptor.places().expect("a limit");
        let taken = places.acquire_many(2).await.expect("all of them");
        let start = Instant::now();
        let (connected, served) = connect(&acceptor, &connector);
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
        assert!(start.elapsed() >= Duration::from_secs(5));
        connected.await.expect("no panic").expect_err("it was not let in");
        drop(taken);
        assert_eq!(places.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_while_it_waits_takes_nothing_along() {
        let (acceptor, connector) = setup("places-drop");
        let places = acceptor.places().expect("a limit");
        let taken = places.acquire_many(2).await.expect("all of them");
        let (_connected, served) = connect(&acceptor, &connector);
        tokio::time::sleep(FAREWELL).await;
        served.abort();
        assert!(served.await.is_err(), "it was dropped");
        drop(taken);
        assert_eq!(places.available_permits(), 2);
    }
}
