//! What a request takes along on its way, call → future → body, so that a panic can be answered and reported.

use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use graceful_answer::{Answer, PlainText, without_content};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header::CONNECTION, uri::PathAndQuery};

use crate::{
    Panicked, Place, ResponseBody,
    backtraces::Backtraces,
    cause::{self, Cut},
    layer::{RequestId, Shared},
    report::{Kind, Report},
    section::{self, Caught, Site},
};

pub(crate) struct Watch {
    /// In a box because it goes through many hands, and in one that is used again. `None` when it is being dropped.
    seen: Option<Box<Seen>>,
}

/// What only a panic asks for, and what a report says of the request. Method and path are counts of references: nothing
/// is copied for a request that does not panic.
#[derive(Default)]
struct Seen {
    /// `None` in a box that waits for its next request.
    shared: Option<Arc<Shared<dyn Answer<Panicked>>>>,
    /// It unwound, and that is still to be told.
    cut: Option<Cut>,
    backtraces: Backtraces,
    version: Version,
    method: Method,
    path: Option<PathAndQuery>,
    request_id: Option<HeaderValue>,
}

impl Watch {
    #[inline]
    pub(crate) fn new<B>(
        shared: Arc<Shared<dyn Answer<Panicked>>>,
        backtraces: Backtraces,
        request: Option<&Request<B>>,
    ) -> Self {
        let mut seen = Seen::take();
        seen.shared = Some(shared);
        seen.backtraces = backtraces;
        if let Some(request) = request {
            seen.version = request.version();
            seen.method = request.method().clone();
            seen.path = request.uri().path_and_query().cloned();
        }
        Self { seen: Some(seen) }
    }

    /// The same, for what unwound before there was a future or a body.
    pub(crate) fn cut(mut self, cut: Cut) -> Self {
        self.set_cut(cut);
        self
    }

    #[cold]
    pub(crate) fn set_cut(&mut self, cut: Cut) {
        if let Some(seen) = &mut self.seen {
            seen.cut = Some(cut);
        }
    }

    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.cut.is_some())
    }

    #[inline]
    pub(crate) fn take_cut(&mut self) -> Option<Cut> {
        self.seen.as_mut().and_then(|seen| seen.cut.take())
    }

    fn shared(&self) -> Option<&Shared<dyn Answer<Panicked>>> {
        self.seen.as_ref().and_then(|seen| seen.shared.as_deref())
    }

    fn count(&self, place: Place) {
        if let Some(shared) = self.shared() {
            shared.panics.add(place);
        }
    }

    fn backtraces(&self) -> Backtraces {
        self.seen.as_ref().map_or_else(Backtraces::default, |seen| seen.backtraces)
    }

    /// Asks for the request's id. That is foreign code, so a panic in it is one like any other.
    #[inline(never)]
    pub(crate) fn look_up<B>(&mut self, find: RequestId, request: &mut Option<Request<B>>) -> Result<(), Cut> {
        let Some((head, body)) = request.take().map(Request::into_parts) else { return Ok(()) };
        let mut id = None;
        self.run(Place::Call, || id = find(&head))?;
        if let Some(seen) = &mut self.seen {
            seen.request_id = id;
        }
        *request = Some(Request::from_parts(head, body));
        Ok(())
    }

    /// Runs foreign code. When it unwinds that is reported, and what is left for the response comes back.
    #[inline]
    pub(crate) fn run(&self, place: Place, foreign: impl FnMut()) -> Result<(), Cut> {
        self.run_in(&Cell::new(place), foreign)
    }

    /// The same for code that goes from place to place.
    #[inline]
    pub(crate) fn run_in(&self, place: &Cell<Place>, foreign: impl FnMut()) -> Result<(), Cut> {
        match section::run(self.backtraces().captured(), foreign) {
            None => Ok(()),
            Some(caught) => self.caught(place.get(), caught),
        }
    }

    /// Drops foreign state.
    #[inline]
    pub(crate) fn discard<T>(&self, mut state: Pin<&mut Option<T>>) {
        if state.is_some() {
            // A panic here was reported. An assignment that panics in the drop of the old value has put the new one.
            let _ = self.run(Place::Drop, || state.set(None));
        }
    }

    /// What is answered where the head is not out.
    #[cold]
    pub(crate) fn answer<B>(self, cut: Cut) -> Response<ResponseBody<B>> {
        let answered = match cut {
            Cut::Panicked(cause) => {
                let mut answer = None;
                match self.run(Place::Answer, || answer = self.shared().map(|shared| shared.answer.answer(&cause))) {
                    Err(Cut::Aborted) => Err(Cut::Aborted),
                    _ => Ok(answer.unwrap_or_else(|| PlainText::new().answer(&cause))),
                }
            }
            Cut::Aborted => Err(cut),
        };
        match answered {
            Ok(response) => {
                let is_head = self.seen.as_ref().is_some_and(|seen| seen.method == Method::HEAD);
                let response = if is_head { without_content(response) } else { response };
                response.map(|text: Bytes| ResponseBody::answer(text, self))
            }
            Err(cut) => {
                // A service has to answer something, so it answers what no connection can send: a body that fails before
                // the head is flushed. Where nobody polls it (HEAD) the status and the header say what they can; HTTP/2
                // knows no such header.
                let version = self.seen.as_ref().map_or(Version::HTTP_11, |seen| seen.version);
                let mut response = Response::new(ResponseBody::cut(self.cut(cut)));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                if version <= Version::HTTP_11 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        }
    }

    #[cold]
    fn caught(&self, place: Place, caught: Caught) -> Result<(), Cut> {
        let Caught { payload, mut sites } = caught;
        let Some(payload) = payload else {
            self.handled(place, sites);
            return Ok(());
        };
        let cut = if cause::is_abort(&*payload) {
            self.handled(place, sites);
            self.report(Kind::Abort, place, Site::nowhere("".into()));
            Cut::Aborted
        } else {
            self.count(place);
            let text = cause::text_of(&*payload);
            // Without a site, it came by `resume_unwind` from another thread, or the hook is not ours any more.
            let site = sites.iter().rposition(|site| site.text == text).map(|found| sites.remove(found));
            self.handled(place, sites);
            self.report(Kind::Panic, place, site.unwrap_or_else(|| Site::nowhere(text)));
            Cut::Panicked(Panicked::new(place))
        };
        // The payload is foreign too. If dropping it panics, the payload of *that* panic is never dropped: it has no end.
        let mut payload = Some(payload);
        if let Some(caught) = section::run(self.backtraces().captured(), || drop(payload.take())) {
            self.count(Place::Drop);
            for site in caught.sites {
                self.report(Kind::Panic, Place::Drop, site);
            }
            std::mem::forget(caught.payload);
        }
        Err(cut)
    }

    /// Panics that were diverted from the hook before us and then caught by the application: they shall not vanish.
    fn handled(&self, place: Place, sites: Vec<Site>) {
        for site in sites {
            self.report(Kind::Handled, place, site);
        }
    }

    fn report(&self, kind: Kind, place: Place, site: Site) {
        let Some(seen) = &self.seen else { return };
        Report {
            kind,
            place,
            site,
            whole: seen.backtraces.whole(),
            method: seen.method.clone(),
            path: seen.path.clone(),
            request_id: seen.request_id.clone(),
        }
        .send();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(seen) = self.seen.take() {
            seen.give_back();
        }
    }
}

thread_local! {
    /// The boxes of requests that ended on this thread.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
    static FREE: RefCell<Vec<Box<Seen>>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: 16 KiB.
const FREE_BOXES: usize = 128;

impl Seen {
    /// An empty one.
    fn take() -> Box<Self> {
        FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default()
    }

    /// For the next request; what it holds of this one (a part of the connection's buffer!) goes at once.
    fn give_back(mut self: Box<Self>) {
        let Self { shared, cut, backtraces: _, version: _, method, path, request_id } = &mut *self;
        *method = Method::GET;
        (*shared, *cut, *path, *request_id) = (None, None, None, None);
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_BOXES {
                free.push(self);
            }
        });
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen } = self;
        f.debug_struct("Watch").field("seen", seen).finish()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _, cut, backtraces, version, method, path, request_id } = self;
        f.debug_struct("Seen")
            .field("cut", cut)
            .field("backtraces", backtraces)
            .field("version", version)
            .field("method", method)
            .field("path", path)
            .field("request_id", request_id)
            .finish_non_exhaustive()
    }
}
