use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::{HandshakeError, TlsError, TlsSettings, TlsStream, handshake, load::Loaded, stamp::Stamps};
use crate::Place;

/// Makes TLS connections out of sockets, with certificates that can be [reloaded](Self::reload). Clones are the same one.
///
/// See the [module docs](super).
#[derive(Clone)]
pub struct Acceptor {
    inner: Arc<Inner>,
}

struct Inner {
    settings: TlsSettings,
    /// Held for as long as it takes to clone the `Arc`.
    loaded: RwLock<Arc<Loaded>>,
    /// One reload at a time, so that an older reading never replaces a newer one.
    reloading: Mutex<()>,
    requested: Notify,
    places: Option<Arc<Semaphore>>,
}

impl Acceptor {
    /// Reads the files. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// What is wrong with them; also if a certificate has expired, since no client would accept it.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&settings, None)?;
        let places = settings.max_handshakes.map(|max| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))));
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                loaded: RwLock::new(Arc::new(loaded)),
                reloading: Mutex::new(()),
                requested: Notify::new(),
                places,
            }),
        })
    }

    /// Does the handshake with a client that was just accepted, in the task of its connection.
    ///
    /// The socket is closed, and the place given back, if that fails or is dropped half-way. A client that speaks plain
    /// HTTP is told so with a 400. A [force](crate::Registry::force) ends it at once; a [drain](crate::Registry::drain) ends
    /// it at once for a client that has not said anything, and gives 1 s to one that has: it believes that it is
    /// connected, and its request comes right behind.
    ///
    /// # Errors
    ///
    /// Why there is no connection. [`HandshakeError::Timeout`] after [`TlsSettings::handshake_timeout`].
    pub async fn accept<T>(&self, io: T, place: Place) -> Result<(TlsStream<T>, Place), HandshakeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        handshake::accept(self, io, place).await
    }

    /// Reads the files again, and serves them from the next handshake on if all of them are good. Connections go on as
    /// they are, and sessions can be resumed as before. Blocks for as long as reading
    /// takes: in a task, call [`request_reload`](Self::request_reload) and let [`watch`](Self::watch) do it.
    ///
    /// # Errors
    ///
    /// What is wrong with the files. What was served before goes on being served. A certificate that has expired is
    /// taken if it is being served already, with a warning in the log: it must not keep the others from being renewed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let inner = &*self.inner;
        let _one_at_a_time = inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = Loaded::read(&inner.settings, Some(&self.loaded()))?;
        *inner.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// Has [`watch`](Self::watch) reload soon. Does not block: for a handler of SIGHUP. Many requests at once are one.
    pub fn request_reload(&self) {
        self.inner.requested.notify_one();
    }

    /// Reloads when asked, and when a file has changed, for ever; `told` hears of each attempt. Only one should run.
    ///
    /// The files are looked at once per `every` (not at all if `None` or zero), and read when they have changed and
    /// then kept still for one `every`: certificate and key are two files, and they are not written at one instant. There is one
    /// attempt a change; but where a file could not be read ([`TlsError::Read`]), which may pass without a change, as when
    /// the process is out of file descriptors, there is one at each look until it can be. `told` hears of a failure
    /// once as long as it stays the same. A panic while reading is a failure too.
    pub async fn watch(&self, every: Option<Duration>, mut told: impl FnMut(Result<(), TlsError>)) -> Infallible {
        let every = every.filter(|every| !every.is_zero());
        let mut read = self.loaded().stamps.clone();
        let mut seen = read.clone();
        // What could not be read at the last attempt, and why.
        let mut unread = None;
        loop {
            let requested = match every {
                Some(every) => timeout(every, self.inner.requested.notified()).await.is_ok(),
                None => {
                    self.inner.requested.notified().await;
                    true
                }
            };
            let acceptor = self.clone();
            // It fails at the end of the runtime only.
            let Ok(now) = spawn_blocking(move || Stamps::of(&acceptor.inner.settings)).await else { continue };
            let settled = std::mem::replace(&mut seen, now.clone()) == now;
            let changed = now != read;
            if !requested && !(settled && (changed || unread.is_some())) {
                continue;
            }
            // What changes from now on is another change.
            read = now;
            let acceptor = self.clone();
            let result = match spawn_blocking(move || acceptor.reload()).await {
                Ok(result) => result,
                Err(error) if error.is_panic() => Err(TlsError::Panicked),
                Err(_) => continue,
            };
            let before = unread.take();
            if let Err(TlsError::Read { path, source, .. }) = &result {
                unread = Some((path.clone(), source.to_string()));
            }
            if requested || changed || unread.is_none() || unread != before {
                told(result);
            }
        }
    }

    /// When the first of the certificates that are served expires.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.loaded().expires
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn settings(&self) -> &TlsSettings {
        &self.inner.settings
    }

    /// Where handshakes get their places; `None` if there is no limit.
    pub(super) fn places(&self) -> Option<&Arc<Semaphore>> {
        self.inner.places.as_ref()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner } = self;
        let Inner { settings, loaded: _, reloading: _, requested: _, places: _ } = &**inner;
        f.debug_struct("Acceptor").field("settings", settings).finish_non_exhaustive()
    }
}
