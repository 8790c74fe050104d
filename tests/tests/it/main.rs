//! What needs two crates or a socket: real processes, real sockets, clients that know nothing of the server.

mod accept_queue;
mod access_log;
mod command_line;
mod descriptors;
mod drain;
mod ends;
mod events;
mod extensions;
mod floods;
mod forced;
mod half_a_head;
mod heads;
mod hooks;
mod http2;
mod independent;
mod internal_port;
mod late;
mod layers_on_axum;
mod layers_on_hyper;
mod limits;
mod long_streams;
mod messages;
mod overload;
mod panics;
mod playground;
mod production;
mod public;
mod readme;
mod refusals;
mod request_ids;
mod rolling_restart;
mod slowloris;
mod spawn;
mod systemd;
mod tls;
mod transport;
mod watchdog;
mod websocket;

use tests::Program;

async fn playground(args: &[&str]) -> Program {
    playground_with(args, &[]).await
}

/// With an environment. Its own lines are there from `debug` on: they say when a handler has begun.
async fn playground_with(args: &[&str], env: &[(&str, &str)]) -> Program {
    let args = [&["--log-level", "info,tested_playground=debug"], args].concat();
    Program::start_with(PLAYGROUND, &args, env).await
}

async fn production(args: &[&str]) -> Program {
    Program::start(PRODUCTION, args).await
}

const PLAYGROUND: &str = env!("CARGO_BIN_EXE_tested-playground");
const PRODUCTION: &str = env!("CARGO_BIN_EXE_tested-production");
