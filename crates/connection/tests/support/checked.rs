//! The runtime of these tests: behind each of them it looks that nothing is left. To be had by
//! `#[tokio::test(crate = "crate::checked")]`.

use std::cell::RefCell;

use graceful_connection::Registry;
pub(crate) use tokio::pin;

thread_local! {
    /// The registries of the test that runs on this thread.
    static REGISTRIES: RefCell<Vec<Registry>> = const { RefCell::new(Vec::new()) };
}

/// Every registry of a test goes through here.
pub(crate) fn registered(registry: Registry) -> Registry {
    REGISTRIES.with_borrow_mut(|registries| registries.push(registry.clone()));
    registry
}

/// What `#[tokio::test]` makes of a test, by the names that it uses.
pub(crate) mod runtime {
    use std::{io, time::Duration};

    use graceful_connection::Gauges;

    use super::REGISTRIES;

    #[derive(Debug)]
    pub(crate) struct Builder(tokio::runtime::Builder);

    impl Builder {
        pub(crate) fn new_current_thread() -> Self {
            Self(tokio::runtime::Builder::new_current_thread())
        }

        pub(crate) fn new_multi_thread() -> Self {
            Self(tokio::runtime::Builder::new_multi_thread())
        }

        pub(crate) fn worker_threads(&mut self, threads: usize) -> &mut Self {
            self.0.worker_threads(threads);
            self
        }

        pub(crate) fn enable_all(&mut self) -> &mut Self {
            self.0.enable_all();
            self
        }

        pub(crate) fn start_paused(&mut self, paused: bool) -> &mut Self {
            self.0.start_paused(paused);
            self
        }

        pub(crate) fn build(&mut self) -> io::Result<Runtime> {
            self.0.build().map(Runtime)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Runtime(tokio::runtime::Runtime);

    impl Runtime {
        /// Runs the test, and then ends what it has left open: every socket must be closed, every request over, every
        /// connection counted under one reason, and nothing listed as live work.
        #[track_caller]
        pub(crate) fn block_on<F: Future>(&self, test: F) -> F::Output {
            let work = graceful_tasks::Registry::new();
            let _default = work.set_default();
            let output = self.0.block_on(test);
            self.0.block_on(async {
                for registry in REGISTRIES.take() {
                    registry.force();
                    let closed = tokio::time::timeout(Duration::from_secs(60), registry.closed()).await;
                    assert!(closed.is_ok(), "nothing outlives the force: {:?}", registry.list());
                    assert_eq!(registry.gauges(), Gauges::default(), "every gauge is back at zero");
                    let closed: u64 = registry.closed_by_reason().map(|(_, count)| count).sum();
                    assert_eq!(closed, registry.opened(), "what was opened is closed, once");
                }
                let over = tokio::time::timeout(Duration::from_secs(60), work.idle()).await;
                assert!(over.is_ok(), "no live work is left: {:#}", work.snapshot());
            });
            output
        }
    }
}
