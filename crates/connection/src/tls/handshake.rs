//! From an accepted socket to a TLS connection.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    task::yield_now,
    time::{Instant, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server};

use super::{
    Acceptor, HandshakeError, TlsInfo, TlsStream,
    gate::Gate,
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
    let mut gate = acceptor.places().map(|places| Gate::new(Arc::clone(places)));
    if let Some(gate) = &mut gate {
        poll_fn(|cx| gate.poll_open(cx)).await;
        // To the end of the worker's queue with the place in hand: others come first, and whoever has no place is not
        // in the queue at all.
        yield_now().await;
    }
    let loaded = acceptor.loaded();
    let name = hello.client_hello().server_name().map(str::to_owned);
    if acceptor.settings().known_names_only && !loaded.certificates.knows(name.as_deref()) {
        drop(gate);
        let _ = hello.io.write_all(&UNRECOGNIZED_NAME).await;
        return Err(HandshakeError::UnknownName(name));
    }
    // Most of the arithmetic of a handshake is in the answer to the hello: the exchange of keys, the signature. What comes
    // later has to pass the gate.
    hello.io.set_gate(gate);
    match hello.into_stream(Arc::clone(&loaded.config)).into_fallible().await {
        Ok(mut stream) => {
            stream.get_mut().0.set_gate(None);
            Ok(stream)
        }
        Err((error, mut io)) => {
            io.set_gate(None);
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
    use tokio::{
        io::{AsyncReadExt, DuplexStream},
        task::JoinHandle,
        time::sleep,
    };
    use tokio_rustls::{
        TlsConnector, client,
        rustls::{
            ClientConfig, RootCertStore, SupportedProtocolVersion,
            crypto::ring,
            pki_types::ServerName,
            version::{TLS12, TLS13},
        },
    };

    use super::*;
    use crate::{Registry, tls::TlsSettings};

    type Connected = JoinHandle<std::io::Result<client::TlsStream<DuplexStream>>>;
    type Served = JoinHandle<Result<(), HandshakeError>>;

    fn setup(name: &str) -> (Acceptor, TlsConnector) {
        setup_with(name, &TLS13)
    }

    fn setup_with(name: &str, version: &'static SupportedProtocolVersion) -> (Acceptor, TlsConnector) {
        let pair = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let file = std::env::temp_dir().join(format!("graceful-{name}-{}.pem", std::process::id()));
        fs::write(&file, pair.cert.pem() + &pair.signing_key.serialize_pem()).expect("the file can be written");
        let acceptor = Acceptor::new(TlsSettings::new(&file, &file).max_handshakes(Some(2))).expect("a good file");
        fs::remove_file(file).expect("it is there");
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (acceptor, TlsConnector::from(Arc::new(client)))
    }

    /// A client, and the server's task for it.
    fn connect(acceptor: &Acceptor, connector: &TlsConnector) -> (Connected, Served) {
        let (client, socket) = tokio::io::duplex(16 << 10);
        (connect_to(connector, client), serve(acceptor, socket))
    }

    fn connect_to(connector: &TlsConnector, client: DuplexStream) -> Connected {
        let name = ServerName::try_from("localhost").expect("a name");
        tokio::spawn(connector.connect(name, client))
    }

    fn serve(acceptor: &Acceptor, socket: DuplexStream) -> Served {
        let acceptor = acceptor.clone();
        let place = Registry::new().open(None);
        tokio::spawn(async move { acceptor.accept(socket, place).await.map(drop) })
    }

    /// Lets through what was sent so far.
    async fn pass_on(from: &mut DuplexStream, to: &mut DuplexStream) {
        let mut bytes = vec![0; 16 << 10];
        let n = from.read(&mut bytes).await.expect("it is open");
        to.write_all(&bytes[..n]).await.expect("it is open");
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
    async fn the_rest_of_a_handshake_takes_a_place_as_well() {
        for version in [&TLS12, &TLS13] {
            let (acceptor, connector) = setup_with("places-rest", version);
            let places = acceptor.places().expect("a limit");
            let (mut client, far) = tokio::io::duplex(16 << 10);
            let (mut server, socket) = tokio::io::duplex(16 << 10);
            let connected = connect_to(&connector, far);
            let served = serve(&acceptor, socket);
            pass_on(&mut client, &mut server).await;
            pass_on(&mut server, &mut client).await;
            assert_eq!(places.available_permits(), 2, "{version:?}: who waits for a client takes no place");
            let taken = places.acquire_many(2).await.expect("all of them");
            pass_on(&mut client, &mut server).await;
            sleep(4 * FAREWELL).await;
            assert!(!served.is_finished(), "{version:?}: there is no place");
            drop(taken);
            // TLS 1.2 has an answer yet.
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            served.await.expect("no panic").expect("a connection");
            let _client = connected.await.expect("no panic").expect("it was let in");
            assert_eq!(places.available_permits(), 2, "the place is given back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_in_the_middle_takes_nothing_along() {
        let (acceptor, connector) = setup("places-middle");
        let places = acceptor.places().expect("a limit");
        let (mut client, far) = tokio::io::duplex(16 << 10);
        let (mut server, socket) = tokio::io::duplex(16 << 10);
        let _connected = connect_to(&connector, far);
        let served = serve(&acceptor, socket);
        pass_on(&mut client, &mut server).await;
        pass_on(&mut server, &mut client).await;
        let taken = places.acquire_many(2).await.expect("all of them");
        pass_on(&mut client, &mut server).await;
        sleep(FAREWELL).await;
        served.abort();
        assert!(served.await.is_err(), "it was dropped");
        drop(taken);
        assert_eq!(places.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_takes_no_place() {
        let (acceptor, connector) = setup("places-full");
        let places = acceptor.places().expect("a limit");
        let (mut client, far) = tokio::io::duplex(16 << 10);
        // Less than the answer.
        let (mut server, socket) = tokio::io::duplex(256);
        let _connected = connect_to(&connector, far);
        let served = serve(&acceptor, socket);
        pass_on(&mut client, &mut server).await;
        sleep(FAREWELL).await;
        assert!(!served.is_finished());
        assert_eq!(places.available_permits(), 2);
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
