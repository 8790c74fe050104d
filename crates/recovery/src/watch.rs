//! What a request takes along on its way, call → future → body, so that a panic can be answered and reported.

use std::{fmt, pin::Pin, sync::Arc};

use bytes::Bytes;
use graceful_answer::{Answer, PlainText};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header::CONNECTION, uri::PathAndQuery};

use crate::{
    Panicked, Place, ResponseBody,
    backtraces::Backtraces,
    cause::{self, Cut},
    layer::Shared,
    report::{Kind, Report},
    section::{self, Caught, Site},
};

pub(crate) struct Watch {
    shared: Arc<Shared<dyn Answer<Panicked>>>,
    backtraces: Backtraces,
    version: Version,
    /// As the path, a count of references: nothing is copied for a request that does not panic.
    method: Method,
    path: Option<PathAndQuery>,
    /// In a box because few layers look for it, and all of this moves from the future to the body.
    pub(crate) request_id: Option<Box<HeaderValue>>,
}

impl Watch {
    pub(crate) fn new<B>(
        shared: Arc<Shared<dyn Answer<Panicked>>>,
        backtraces: Backtraces,
        request: &Request<B>,
    ) -> Self {
        Self {
            shared,
            backtraces,
            version: request.version(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            request_id: None,
        }
    }

    /// Runs foreign code. When it unwinds that is reported, and what is left for the response comes back.
    #[inline]
    pub(crate) fn run(&self, place: Place, foreign: impl FnOnce()) -> Result<(), Cut> {
        match section::run(self.backtraces.captured(), foreign) {
            None => Ok(()),
            Some(caught) => self.caught(place, caught),
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
                match self.run(Place::Answer, || answer = Some(self.shared.answer.answer(&cause))) {
                    Err(Cut::Aborted) => Err(Cut::Aborted),
                    _ => Ok(answer.unwrap_or_else(|| PlainText::new().answer(&cause))),
                }
            }
            Cut::Aborted => Err(cut),
        };
        match answered {
            Ok(response) => response.map(|text: Bytes| ResponseBody::answer(text, self)),
            Err(cut) => {
                // A service has to answer something, so it answers what no connection can send: a body that fails before
                // the head is flushed. Where nobody polls it (HEAD) the status and the header say what they can; HTTP/2
                // knows no such header.
                let version = self.version;
                let mut response = Response::new(ResponseBody::cut(cut, self));
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
            self.shared.panics.add(place);
            let text = cause::text_of(&*payload);
            // Without a site, it came by `resume_unwind` from another thread, or the hook is not ours any more.
            let site = sites.iter().rposition(|site| site.text == text).map(|found| sites.remove(found));
            self.handled(place, sites);
            self.report(Kind::Panic, place, site.unwrap_or_else(|| Site::nowhere(text)));
            Cut::Panicked(Panicked::new(place))
        };
        // The payload is foreign too. If dropping it panics, the payload of *that* panic is never dropped: it has no end.
        if let Some(caught) = section::run(self.backtraces.captured(), || drop(payload)) {
            self.shared.panics.add(Place::Drop);
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
        Report {
            kind,
            place,
            site,
            whole: self.backtraces.whole(),
            method: self.method.clone(),
            path: self.path.clone(),
            request_id: self.request_id.as_deref().cloned(),
        }
        .send();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _, backtraces: _, version: _, method, path, request_id } = self;
        f.debug_struct("Watch")
            .field("method", method)
            .field("path", &path.as_ref().map(PathAndQuery::path))
            .field("request_id", request_id)
            .finish_non_exhaustive()
    }
}
