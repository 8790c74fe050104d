//! The access log's line is the same by both ways, whatever the request and its end.

use std::{
    cell::Cell,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use graceful_access_log::{AccessLogLayer, RequestBody, tell_route};
use graceful_json_log::{JsonSubscriber, LiveFilter, LogConfig, LogWriter, Output};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use tokio::{sync::Notify, time::advance};
use tower::{Layer, ServiceExt, service_fn};
use tracing::{Dispatch, Instrument, Span, dispatcher, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::write_access;

thread_local! {
    /// How many lines were written without an event.
    static DIRECT: Cell<usize> = const { Cell::new(0) };
}

/// As the stack's.
fn direct_or_not() -> AccessLogLayer {
    AccessLogLayer::new().writer(|event| {
        let written = write_access(event);
        DIRECT.set(DIRECT.get() + usize::from(written));
        written
    })
}

type Body = BoxBody<Bytes, io::Error>;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same numbers on every machine (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % bound
    }

    fn of<T: Clone>(&mut self, these: &[T]) -> T {
        let at = self.below(these.len() as u64);
        these.iter().cycle().nth(usize::try_from(at).expect("small")).expect("some").clone()
    }

    /// Bytes that may stand in a path and in a header.
    fn text(&mut self) -> Vec<u8> {
        let length = self.of(&[0, 1, 3, 7, 8, 9, 16, 17, 40, 120, 129, 255, 256, 300, 1_023, 1_024, 5_000]);
        let odd = self.of(&[&b"a"[..], b"b", b"c", b"d", b"\"", b"\\", b"\t", b"\xc3\xa9", b"\xff", b"\xc2\x9b2J"]);
        let mut text = vec![b'x'; length];
        if length > 0 {
            let at = usize::try_from(self.below(length as u64)).expect("small");
            text.splice(at..=at, odd.iter().copied());
        }
        text
    }
}

/// A request, and what becomes of it.
#[derive(Clone, Debug)]
struct Case {
    method: Method,
    uri: String,
    version: Version,
    user_agent: Option<HeaderValue>,
    peer: Option<SocketAddr>,
    route: Option<String>,
    sent: usize,
    status: StatusCode,
    length: Option<HeaderValue>,
    body: usize,
    end: End,
    waits: [u64; 2],
    in_span: bool,
    query: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Whole,
    ClientGone,
    BodyDropped,
    BodyFails,
    Panics,
}

impl Case {
    fn any(random: &mut Random) -> Self {
        let tokens =
            |text: Vec<u8>| text.into_iter().filter(u8::is_ascii_alphanumeric).map(char::from).collect::<String>();
        let path =
            random.text().into_iter().filter(|byte| !b"\"\\\t".contains(byte)).map(char::from).collect::<String>();
        let (text, agent, route) = (tokens(random.text()), random.text(), random.text());
        Self {
            method: random.of(&[
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::CONNECT,
                Method::from_bytes(format!("M{text}").as_bytes()).expect("a method"),
            ]),
            uri: random.of(&[format!("/{path}"), format!("/{path}?query={text}"), "*".into(), "/api/work".into()]),
            version: random.of(&[
                Version::HTTP_09,
                Version::HTTP_10,
                Version::HTTP_11,
                Version::HTTP_2,
                Version::HTTP_3,
            ]),
            user_agent: random.of(&[None, HeaderValue::from_bytes(&agent).ok()]),
            peer: random
                .of(&[None, Some("127.0.0.1:54321"), Some("[2001:db8::1]:9"), Some("255.255.255.255:65535")])
                .map(|peer| peer.parse().expect("an address")),
            route: random.of(&[None, Some("/users/{id}".into()), Some(String::from_utf8_lossy(&route).into())]),
            sent: random.of(&[0, 1, 5_000]),
            status: random.of(&[200, 101, 204, 304, 404, 500, 503, 999]).try_into().expect("a status"),
            length: random
                .of(&[None, None, Some("13"), Some("99999999999"), Some("no number")])
                .map(HeaderValue::from_static),
            body: random.of(&[0, 13, 100_000]),
            end: random.of(&[End::Whole, End::Whole, End::ClientGone, End::BodyDropped, End::BodyFails, End::Panics]),
            waits: [random.below(3_000_000_000), random.below(100) * 1_000_000_000_000],
            in_span: random.below(3) > 0,
            query: random.below(2) == 0,
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(vec![b'i'; self.sent]));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = match self.method {
            Method::CONNECT => "example.com:443".parse().expect("an authority"),
            _ => self.uri.parse().expect("a uri"),
        };
        *request.version_mut() = self.version;
        request.headers_mut().extend(self.user_agent.iter().map(|agent| (header::USER_AGENT, agent.clone())));
        self.peer.map(|peer| request.extensions_mut().insert(peer));
        request
    }

    async fn handle(
        self,
        request: Request<RequestBody<Full<Bytes>>>,
        leave: Arc<Notify>,
    ) -> Result<Response<Body>, Infallible> {
        if let Some(route) = &self.route {
            tell_route(route.as_str());
        }
        drop(request.into_body().collect().await);
        advance(Duration::from_nanos(self.waits[0])).await;
        match self.end {
            End::ClientGone => {
                leave.notify_one();
                std::future::pending::<()>().await;
            }
            End::Panics => panic::resume_unwind(Box::new("a panic without a report")),
            _ => {}
        }
        let body: Body = if self.end == End::BodyFails {
            let frames = [Ok(Frame::data(Bytes::from_static(b"some"))), Err(io::Error::other("no more"))];
            BoxBody::new(StreamBody::new(stream::iter(frames)))
        } else {
            BoxBody::new(Full::from(vec![b'o'; self.body]).map_err(|never| match never {}))
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.length.iter().map(|length| (header::CONTENT_LENGTH, length.clone())));
        Ok(response)
    }

    async fn run(&self, layer: AccessLogLayer) {
        let layer = layer.query(self.query).peer(|extensions| extensions.get::<SocketAddr>().copied());
        let span = if self.in_span {
            // As the request logger's, and around it one with a key of the line.
            let around = info_span!("around", status = 7, user = "ada");
            around.in_scope(|| info_span!("request", method = "GET", path = "/", request_id = "7f3c"))
        } else {
            Span::none()
        };
        let gone = Arc::<Notify>::default();
        let (case, leave) = (self.clone(), Arc::clone(&gone));
        let service = layer.layer(service_fn(move |request| case.clone().handle(request, Arc::clone(&leave))));
        let answer = AssertUnwindSafe(service.oneshot(self.request()).instrument(span)).catch_unwind();
        let answered = tokio::select! {
            biased;
            answer = answer => answer,
            () = gone.notified() => return,
        };
        let Ok(Ok(response)) = answered else { return };
        advance(Duration::from_nanos(self.waits[1])).await;
        if self.end != End::BodyDropped {
            drop(response.into_body().collect().await);
        }
    }
}

/// The lines of `case`, without their times.
async fn logged(case: &Case, layer: AccessLogLayer, dispatch: impl FnOnce(LogWriter) -> Dispatch) -> Vec<String> {
    let captured = Captured::default();
    let log = LogConfig::new().output(Output::Writer(Box::new(captured.clone()))).open().expect("a thread starts");
    let guard = dispatcher::set_default(&dispatch(log.clone()));
    case.run(layer).await;
    drop(guard);
    log.flush(Duration::from_secs(60)).expect("memory takes it all");
    let text = String::from_utf8(captured.0.lock().expect("no writer panics").clone()).expect("JSON is UTF-8");
    let start = r#"{"timestamp":"2006-01-02T15:04:05.123456Z","#.len();
    text.lines().map(|line| line.split_at(start).1.to_owned()).collect()
}

fn whole(log: LogWriter) -> Dispatch {
    JsonSubscriber::new(log).into_dispatch(LiveFilter::new("info").expect("a level"))
}

#[tokio::test(start_paused = true)]
async fn the_line_is_the_same_with_an_event_and_without() {
    let mut random = Random(7);
    for direct_ones in 1..=2_000 {
        let case = Case::any(&mut random);
        let event = logged(&case, AccessLogLayer::new(), whole).await;
        let direct = logged(&case, direct_or_not(), whole).await;
        assert_eq!(event, direct, "{case:?}");
        assert_eq!((direct.len(), DIRECT.get()), (1, direct_ones), "{case:?}");
        serde_json::from_str::<serde_json::Value>(&format!("{{{}", direct[0])).expect(&direct[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_around_the_log_has_its_event() {
    let mut case = Case::any(&mut Random(7));
    (case.end, case.in_span) = (End::Whole, true);
    let seen = Captured::default();
    let make = seen.clone();
    let writer = tracing_subscriber::fmt::layer().with_writer(move || make.clone());
    let with_layer = |log: LogWriter| {
        Dispatch::new(tracing_subscriber::registry().with(graceful_json_log::JsonLayer::new(log)).with(writer))
    };
    let direct = logged(&case, direct_or_not(), with_layer).await;
    let event = logged(&case, AccessLogLayer::new(), whole).await;
    assert_eq!(direct, event, "and the line is as ever");
    assert_eq!(DIRECT.get(), 0, "by an event");
    assert!(!seen.0.lock().expect("no writer panics").is_empty(), "it misses nothing");
}
