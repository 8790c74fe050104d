use clap::Args;

/// What a contender is told on its command line, besides its name.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Routes in the router, of which the one that is asked for is the last.
    #[arg(long, default_value_t = 1)]
    pub routes: usize,
    /// Requests at work at once, where there is a limit.
    #[arg(long, default_value_t = 1024)]
    pub max_in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 1, routes: 1, max_in_flight: 1024 }
    }
}
