//! The same service on actix-web, with its `Logger` and what else it has on the shelf or takes a function: request id,
//! recovery, a limit with a bounded wait, a timeout. As every contender: one worker, the log on standard output, the
//! address on standard error, the end with standard input.
#![forbid(unsafe_code)]

use std::{
    io::{self, LineWriter, Read, Write, stdin, stdout},
    panic::AssertUnwindSafe,
    process, thread,
    time::Duration,
};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorInternalServerError, ErrorServiceUnavailable},
    http::header::{HeaderName, HeaderValue},
    middleware::{Logger, Next, from_fn},
    web,
};
use benches::{BODY, Options, PATH};
use clap::Parser;
use futures_util::FutureExt;
use log::{LevelFilter, Log, Metadata, Record};
use tokio::{sync::Semaphore, time::timeout};
use uuid::Uuid;

/// A service on actix-web, to be measured.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> io::Result<()> {
    let options = Arguments::parse().options;
    thread::spawn(|| {
        // Nothing is ever written there.
        let _ = stdin().read(&mut [0]);
        process::exit(0);
    });
    log::set_boxed_logger(Box::new(Lines)).map_err(io::Error::other)?;
    log::set_max_level(LevelFilter::Info);
    actix_web::rt::System::new().block_on(serve(options))
}

async fn serve(options: Options) -> io::Result<()> {
    let limit = web::Data::new(Semaphore::new(options.max_in_flight));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(limit.clone())
            .wrap(from_fn(guarded))
            .wrap(Logger::new(LINE))
            .wrap(from_fn(request_id))
            .route(PATH, web::get().to(work))
            .route("/slow", web::get().to(slow))
    })
    .workers(options.workers)
    .client_request_timeout(Duration::from_secs(5))
    .keep_alive(Duration::from_secs(120))
    .bind_auto_h2c(("127.0.0.1", 0))?;
    #[expect(clippy::print_stderr, reason = "standard output is for the log")]
    for address in server.addrs() {
        eprintln!("{address}");
    }
    server.run().await
}

async fn request_id<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    const NAME: HeaderName = HeaderName::from_static("x-request-id");
    let id = HeaderValue::try_from(Uuid::new_v4().to_string()).map_err(ErrorInternalServerError)?;
    request.headers_mut().insert(NAME, id.clone());
    let mut response = next.call(request).await?;
    response.headers_mut().insert(NAME, id);
    Ok(response)
}

/// The limit, the timeout and the recovery.
async fn guarded(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let limit =
        request.app_data::<web::Data<Semaphore>>().cloned().ok_or_else(|| ErrorInternalServerError("no limit"))?;
    let _permit = match limit.try_acquire() {
        Ok(permit) => permit,
        Err(_) => match timeout(Duration::from_millis(100), limit.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(ErrorServiceUnavailable("server busy")),
        },
    };
    match AssertUnwindSafe(timeout(Duration::from_secs(30), next.call(request))).catch_unwind().await {
        Ok(Ok(response)) => response.map(ServiceResponse::map_into_boxed_body),
        Ok(Err(_)) => Err(ErrorServiceUnavailable("handler timed out")),
        Err(_) => Err(ErrorInternalServerError("internal error")),
    }
}

async fn work() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(BODY)
}

async fn slow(query: web::Query<Slow>) -> HttpResponse {
    tokio::time::sleep(Duration::from_millis(query.ms)).await;
    work().await
}

#[derive(serde::Deserialize)]
struct Slow {
    ms: u64,
}

/// The least that a logger does: each line to standard output.
struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = writeln!(LineWriter::new(stdout().lock()), "{}", record.args());
        }
    }

    fn flush(&self) {}
}

const LINE: &str = r#"{"timestamp":"%t","level":"INFO","message":"access","request":"%r","status":%s,"duration_ms":%D,"bytes":%b,"request_id":"%{x-request-id}i"}"#;
